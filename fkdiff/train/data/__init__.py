"""Data: what comes with Python's scientific libraries, and a person's own files.

- `dataset`: `Dataset`, and how every source parts its rows
- `handwriting`, `toys`, `characters`, `textures`, `tables`: sources that need no network
- `arrays`: numbers in .npy, .npz and .csv files, in memory or on disk
- `images`: folders of pictures
- `places`: what may be read, and how
- `sources`: `read_data`, `resolve`, `load_data`, `held_out`: from a config's `data:` section to a data set
- `batches`: `Batches`: which examples a step sees
"""

from fkdiff.train.data.batches import Batches as Batches
from fkdiff.train.data.batches import batch_indices as batch_indices
from fkdiff.train.data.dataset import Dataset as Dataset
from fkdiff.train.data.handwriting import digits as digits
from fkdiff.train.data.handwriting import pixels as pixels
from fkdiff.train.data.sources import Report as Report
from fkdiff.train.data.sources import data_facts as data_facts
from fkdiff.train.data.sources import example_shape as example_shape
from fkdiff.train.data.sources import held_out as held_out
from fkdiff.train.data.sources import load_data as load_data
from fkdiff.train.data.sources import read_data as read_data
from fkdiff.train.data.sources import resolve as resolve
from fkdiff.train.data.toys import toy2d as toy2d
