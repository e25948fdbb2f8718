"""Samples to look at: a grid of digits with a class per row or points in the plane as PNG, or a page of text."""

from __future__ import annotations

import io
from pathlib import Path

import jax
import numpy as np

from fkdiff.core import Array, Key, PyTree, particle_keys
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.paths import grid
from fkdiff.prediction import Predictor, guide
from fkdiff.solvers import Solver, ddim, euler, heun, integrate
from fkdiff.train.data import load_data, pixels
from fkdiff.train.files import write_file
from fkdiff.train.objectives.masked import unmask
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


def draw_samples(run: LoadedRun, folder: Path) -> None:
    """Draws what a trained model generates into its folder: samples.png, or samples.txt for text."""
    if run.config.is_text:
        sampling = run.config.sampling
        tokens = sample_text(stream(seed_key(run.config.seed), Use.NOISE), run, sampling.num_samples)
        write_file(folder / "samples.txt", text_page(tokens).encode())
    else:
        sample_picture(run, folder / "samples.png")


def sample_text(key: Key, run: LoadedRun, num_samples: int) -> np.ndarray:
    """Tokens of `num_samples` texts by ancestral unmasking with the config's number of steps, (n, L)."""
    (length,), steps = run.shape, run.config.sampling.num_steps

    def draw(params: PyTree, keys: Array) -> Array:
        one = lambda key: unmask(key, run.masking, run.apply, params, length, steps)  # noqa: E731
        return jax.lax.map(one, keys, batch_size=min(num_samples, 64))

    return np.asarray(jax.jit(draw)(run.params, particle_keys(key, num_samples)))


def text_page(tokens: np.ndarray) -> str:
    """Texts under each other with a rule between them."""
    rule = "\n" + "─" * 72 + "\n"
    return rule.join(decode(row) for row in tokens) + "\n"


def sample_picture(run: LoadedRun, file: Path) -> None:
    """Draws what a trained model generates into a PNG file."""
    key = stream(seed_key(run.config.seed), Use.NOISE)
    wanted = run.config.sampling.num_samples
    if run.config.data.kind == "digits":
        rows = sample_classes(key, run, list(range(run.num_classes)), max(1, wanted // run.num_classes))
        write_file(file, digits_png(rows.reshape(-1, 64), columns=rows.shape[1]))
    else:
        points = sample_classes(key, run, [None], max(wanted, 1000))[0]
        write_file(file, points_png(points, load_data(run.config).examples[:2000]))


def digits_png(examples: np.ndarray, columns: int, zoom: int = 8) -> bytes:
    """Digits, shape (n, 64) or (n, 8, 8, 1), in a grid with `columns` columns, as PNG bytes."""
    from matplotlib.image import imsave

    tiles = np.pad(pixels(examples), ((0, 0), (0, 1), (0, 1)), constant_values=0.25)
    missing = -len(tiles) % columns
    tiles = np.concatenate([tiles, np.zeros((missing, 9, 9), tiles.dtype)])
    rows = tiles.reshape(-1, columns, 9, 9).transpose(0, 2, 1, 3).reshape(-1, columns * 9)
    buffer = io.BytesIO()
    imsave(buffer, np.kron(rows, np.ones((zoom, zoom))), cmap="gray", vmin=0, vmax=1, format="png")
    return buffer.getvalue()


def points_png(points: np.ndarray, data: np.ndarray | None = None) -> bytes:
    """Points in the plane, over the data they should resemble, as PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    if data is not None:
        axes.scatter(*data.T, s=3, color="0.75", label="data")
    axes.scatter(*np.asarray(points).T, s=3, color="tab:blue", label="samples")
    axes.set_aspect("equal")
    axes.legend(loc="upper right")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
