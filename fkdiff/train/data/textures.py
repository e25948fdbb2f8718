"""Patches of the textures that come with scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np

from fkdiff.train.config.data import TEXTURE_MEAN, TEXTURE_SCALE, TEXTURES
from fkdiff.train.data.dataset import Dataset

_SIDE = 512
_CUT = 384  # rows above it train, rows below it are held out: no patch of one overlaps one of the other


def load(section: Any, part: str, seed: int, root: Any) -> Dataset:
    """Overlapping patches of the upper three quarters to train on; patches side by side of the rest are held out."""
    from skimage import data

    size = section.size
    top, bottom, step = (0, _CUT, section.stride) if part == "train" else (_CUT, _SIDE, size)
    patches, labels = [], []
    for label, name in enumerate(TEXTURES):
        picture = np.asarray(getattr(data, name)(), np.float32)
        views = np.lib.stride_tricks.sliding_window_view(picture[top:bottom], (size, size))[::step, ::step]
        patches.append(views.reshape(-1, size, size, 1))
        labels.append(np.full(len(patches[-1]), label, np.int32))
    grey = np.concatenate(patches)
    return Dataset(((grey - TEXTURE_MEAN) / TEXTURE_SCALE).astype(np.float32), np.concatenate(labels))
