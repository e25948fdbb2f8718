"""Samples to look at: grids of pictures with a class per row, curves, points, histograms, or a page of text."""

from __future__ import annotations

import io
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import discrete
from fkdiff.core import Key
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.paths import grid
from fkdiff.prediction import Predictor, guide
from fkdiff.solvers import Solver, ddim, euler, heun, integrate
from fkdiff.train.config import Digits, Images, Textures, TrainConfig
from fkdiff.train.config.data import TEXTURE_MEAN, TEXTURE_SCALE
from fkdiff.train.data import load_data, pixels
from fkdiff.train.files import write_file
from fkdiff.train.run import LoadedRun
from fkdiff.train.text import decode

SOLVERS = {"heun": heun, "euler": euler, "ddim": ddim}


def guided(run: LoadedRun, label: int | None, scale: float) -> Predictor:
    """The model of one class, pushed away from the unconditional one when the scale is not 1."""
    pred = run.given(label)
    return pred if label is None or scale == 1 else guide(pred, run.predictor, scale)


def sample_classes(key: Key, run: LoadedRun, labels: list[int | None], num_samples: int) -> np.ndarray:
    """`num_samples` samples of each label with the config's sampling section, shape (len(labels), n, *shape)."""
    options = run.config.sampling
    times = grid(options.num_steps, run.predictor.path)
    solver: Solver = SOLVERS[options.solver]()
    rows = []
    for row, label in enumerate(labels):
        pred = guided(run, label, options.guidance)
        rows.append(integrate(jax.random.fold_in(key, row), pred, solver, times, num_samples))
    return np.stack([np.asarray(row) for row in rows])


def draw_samples(run: LoadedRun, folder: Path, name: str = "samples") -> None:
    """Draws what a trained model generates into a folder: NAME.png, or NAME.txt for text."""
    if run.config.is_text:
        sampling = run.config.sampling
        tokens = sample_text(stream(seed_key(run.config.seed), Use.NOISE), run, sampling.num_samples)
        write_file(folder / f"{name}.txt", text_page(tokens).encode())
    else:
        sample_picture(run, folder / f"{name}.png")


def sample_text(key: Key, run: LoadedRun, num_samples: int) -> np.ndarray:
    """Tokens of `num_samples` texts by ancestral unmasking with the config's number of steps, (n, L)."""
    times = jnp.linspace(0.0, 1.0, run.config.sampling.num_steps + 1)
    return np.asarray(discrete.sample(key, run.denoiser, times, num_samples, chunk=min(num_samples, 64)))


def text_page(tokens: np.ndarray) -> str:
    """Texts under each other with a rule between them."""
    rule = "\n" + "─" * 72 + "\n"
    return rule.join(decode(row) for row in tokens) + "\n"


def sample_picture(run: LoadedRun, file: Path) -> None:
    """Draws what a trained model generates into a PNG file: classes are rows, where there are any."""
    key = stream(seed_key(run.config.seed), Use.NOISE)
    wanted, classes = run.config.sampling.num_samples, run.num_classes
    if len(run.config.data.natural_shape) > 1 and classes:
        rows = sample_classes(key, run, list(range(classes)), max(1, wanted // classes))
        # A class fills whole rows, of at most 16 pictures.
        columns = max(k for k in range(1, 17) if rows.shape[1] % k == 0)
        write_file(file, examples_png(run, rows.reshape(-1, *rows.shape[2:]), columns))
    else:
        write_file(file, examples_png(run, sample_classes(key, run, [None], max(wanted, 1000))[0]))


def examples_png(run: LoadedRun, examples: np.ndarray, columns: int | None = None) -> bytes:
    """Examples of a run in the way that suits their shape: pictures, curves, points, or histograms.

    Args:
        run: Says what the examples are.
        examples: Shape (n, *run.shape), in the model's units.
        columns: Of a grid of pictures; about √n by default.
    """
    shape = run.config.data.natural_shape
    if len(shape) == 3:
        shown = examples if columns else examples[:100]
        columns = columns or math.ceil(math.sqrt(len(shown)))
        return tiles_png(grey_levels(run.config, shown.reshape(-1, *shape)), columns)
    if len(shape) == 2:
        return curves_png(examples.reshape(-1, *shape))
    known = _training_examples(run)
    return points_png(examples, known) if shape == (2,) else columns_png(examples, known)


def _training_examples(run: LoadedRun) -> np.ndarray | None:
    """Some of them, to draw beside the samples; None where a person's files are not at hand."""
    if getattr(run.config.data, "facts", None) is not None:
        return None
    return np.asarray(load_data(run.config).examples[:2000])


def grey_levels(config: TrainConfig, examples: np.ndarray) -> np.ndarray:
    """Pictures (n, height, width, channels) in the model's units as levels in [0, 1], clipped."""
    data = config.data
    if isinstance(data, Digits):
        return pixels(examples)[..., None]
    if isinstance(data, Textures):
        return np.clip((examples * TEXTURE_SCALE + TEXTURE_MEAN) / 255, 0, 1)
    if isinstance(data, Images):
        return np.clip((examples * data.known.scale[0] + data.known.mean[0]) / 255, 0, 1)
    low, high = np.quantile(examples, [0.005, 0.995])  # whatever a person's numbers mean
    return np.clip((examples - low) / max(high - low, 1e-12), 0, 1)


def tiles_png(levels: np.ndarray, columns: int, around: int = 64) -> bytes:
    """Pictures (n, height, width, channels) of levels in [0, 1] in a grid, as PNG bytes; small ones are enlarged."""
    from matplotlib.image import imsave

    count, height, width, channels = levels.shape
    levels = levels if channels == 3 else np.repeat(levels[..., :1], 3, axis=-1)
    tiles = np.pad(levels, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=0.25)
    tiles = np.concatenate([tiles, np.zeros((-count % columns, *tiles.shape[1:]), tiles.dtype)])
    rows = tiles.reshape(-1, columns, height + 1, width + 1, 3).transpose(0, 2, 1, 3, 4)
    sheet = rows.reshape(-1, columns * (width + 1), 3)
    zoom = max(1, round(around / max(height, width)))
    buffer = io.BytesIO()
    imsave(buffer, sheet.repeat(zoom, axis=0).repeat(zoom, axis=1), format="png")
    return buffer.getvalue()


def curves_png(signals: np.ndarray, most: int = 24) -> bytes:
    """Signals (n, length, channels), a panel for each of the first few, as PNG bytes."""
    from matplotlib.figure import Figure

    shown = signals[:most]
    figure = Figure(figsize=(8, 1.1 * math.ceil(len(shown) / 4)), layout="constrained")
    panels = figure.subplots(math.ceil(len(shown) / 4), 4, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, signal in zip(panels, shown, strict=False):
        panel.plot(signal, lw=0.8)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    return _png(figure)


def columns_png(samples: np.ndarray, data: np.ndarray | None, most: int = 16) -> bytes:
    """Histograms of the first few features, over those of the data where they are at hand, as PNG bytes."""
    from matplotlib.figure import Figure

    count = min(most, samples.shape[1])
    rows = math.ceil(count / 4)
    figure = Figure(figsize=(8, 1.6 * rows), layout="constrained")
    panels = figure.subplots(rows, min(4, count), squeeze=False).ravel()
    for k, panel in zip(range(count), panels, strict=False):
        bins = np.histogram_bin_edges(samples[:, k] if data is None else data[:, k], 30)
        if data is not None:
            panel.hist(data[:, k], bins, density=True, color="0.8", label="data")
        panel.hist(samples[:, k], bins, density=True, histtype="step", color="tab:blue", label="samples")
        panel.set_yticks([])
        panel.set_title(f"feature {k}", fontsize=8)
    panels[0].legend(fontsize=7)
    for panel in panels[count:]:
        panel.set_axis_off()
    return _png(figure)


def _png(figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def digits_png(examples: np.ndarray, columns: int) -> bytes:
    """Digits, shape (n, 64) or (n, 8, 8, 1), in a grid with `columns` columns, as PNG bytes."""
    return tiles_png(pixels(examples)[..., None], columns)


def points_png(points: np.ndarray, data: np.ndarray | None = None) -> bytes:
    """Points in the plane, over the data they should resemble, as PNG bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    if data is not None:
        axes.scatter(*data.T, s=3, color="0.75", label="data")
    axes.scatter(*np.asarray(points).T, s=3, color="tab:blue", label="samples")
    axes.set_aspect("equal")
    axes.legend(loc="upper right")
    return _png(figure)
