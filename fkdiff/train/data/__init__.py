"""Data: what comes with Python's scientific libraries, and a person's own files.

- `dataset`: `Dataset`, and how every source parts its rows
- `handwriting`, `toys`, `characters`, `textures`, `tables`: sources that need no network
- `arrays`: numbers in .npy, .npz and .csv files, in memory or on disk
- `images`: folders of pictures
- `places`: what may be read, and how
- `sources`: `read_data`, `resolve`, `load_data`, `held_out`: from a config's `data:` section to a data set
- `batches`: `Batches`: which examples a step sees
"""

from fkdiff.train.data.batches import Batches, batch_indices
from fkdiff.train.data.dataset import Dataset
from fkdiff.train.data.handwriting import digits, pixels
from fkdiff.train.data.sources import Report, data_facts, example_shape, held_out, load_data, read_data, resolve
from fkdiff.train.data.toys import toy2d

__all__ = [
    "batch_indices", "Batches", "data_facts", "Dataset", "digits", "example_shape", "held_out", "load_data",
    "pixels", "read_data", "Report", "resolve", "toy2d",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
