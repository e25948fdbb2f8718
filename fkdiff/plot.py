"""Pictures of a run: is the answer worth trusting, and what does it look like?

Figures are made without a window or a global state; save them with `figure.savefig(path)`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fkdiff.errors import FkdiffError, require
from fkdiff.smc import SMCResult

INK, ACCENT, ALARM, PALE = "#22303c", "#1f6f8b", "#c8553d", "#9fb8c4"


def report(out: SMCResult, samples: Any = None, title: str = "") -> Figure:
    """One figure that says how a run went: ESS, R, log-weights, ancestors, samples.

    Args:
        out: What `run_smc` returned.
        samples: What to draw as samples; by default `out.particles` with their weights. Shape (N,), (N, d), or
            (N, h, w) for pictures.
        title: A line above.

    Returns:
        A matplotlib `Figure` with five panels.
    """
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, 5, width_ratios=[1.2, 1, 1, 1, 1.3])
    _ess(axes[0], out)
    _starvation(axes[1], out)
    _log_weights(axes[2], out)
    _ancestors(axes[3], out)
    log_weights = np.asarray(out.log_weights, np.float64)
    _samples(axes[4], np.asarray(out.particles if samples is None else samples), _normalised(log_weights))
    if title:
        figure.suptitle(title, color=INK, fontsize=11)
    return figure


def pictures(images: Any, columns: int = 10, title: str = "", limits: tuple[float, float] | None = None) -> Figure:
    """A grid of grey pictures, one per row of `images`.

    Args:
        images: Shape (N, h, w) or (N, h, w, 1); or (N, d) with d a square number.
        columns: Pictures per row.
        title: A line above.
        limits: Values drawn as black and white; the range of the data by default.
    """
    return panels({title: images}, columns, limits)


def panels(groups: dict[str, Any], columns: int = 10, limits: tuple[float, float] | None = None) -> Figure:
    """Grids of grey pictures, one under the other, each under its title.

    Args:
        groups: Title -> images, as in `pictures`.
        columns: Pictures per row.
        limits: Values drawn as black and white; the range of all images by default.
    """
    tiles = {title: as_pictures(np.asarray(images)) for title, images in groups.items()}
    rows = [math.ceil(len(group) / columns) for group in tiles.values()]
    if limits is None:
        limits = (min(float(g.min()) for g in tiles.values()), max(float(g.max()) for g in tiles.values()))
    titles = 0.4 * sum(bool(title) for title in tiles)
    figure = Figure(figsize=(0.75 * columns, 0.75 * sum(rows) + titles), layout="constrained")
    axes = figure.subplots(len(tiles), 1, squeeze=False, height_ratios=rows)[:, 0]
    for panel, (title, group) in zip(axes, tiles.items(), strict=True):
        panel.imshow(
            _sheet(group, columns, limits), cmap="gray", interpolation="nearest", vmin=limits[0], vmax=limits[1]
        )
        panel.set_axis_off()
        if title:
            panel.set_title(title, color=INK, fontsize=11, loc="left")
    return figure


def clouds(groups: dict[str, Any], columns: int = 2, most: int = 2000) -> Figure:
    """Scatter plots of points in the plane, one panel per group, all on one scale.

    Args:
        groups: Title -> points, (N, d) with d ≥ 2; the first two axes are drawn.
        columns: Panels per row.
        most: At most this many points of each group.
    """
    points = {title: np.asarray(group)[:most] for title, group in groups.items()}
    require(
        all(p.ndim == 2 and p.shape[1] >= 2 for p in points.values()),
        "groups must hold points of two or more axes, (N, d); for pictures use fkdiff.plot.panels.",
    )
    rows = math.ceil(len(points) / columns)
    figure = Figure(figsize=(3.6 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).reshape(-1)
    for panel, (title, group) in zip(axes, points.items(), strict=False):
        panel.scatter(group[:, 0], group[:, 1], s=4, color=ACCENT, alpha=0.5, lw=0)
        panel.set_aspect("equal")
        _dress(panel, title, "")
    for panel in axes[len(points) :]:
        panel.set_axis_off()
    return figure


def _sheet(tiles: np.ndarray, columns: int, limits: tuple[float, float]) -> np.ndarray:
    """Pictures side by side, a grey line between any two."""
    rows, (height, width) = math.ceil(len(tiles) / columns), tiles.shape[1:]
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), 0.5 * sum(limits))
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = tile
    return sheet


def as_pictures(values: np.ndarray) -> np.ndarray:
    """(N, h, w) from (N, h, w), (N, h, w, 1) or (N, d) with d a square number.

    Raises:
        FkdiffError: The rows are not pictures.
    """
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    side = math.isqrt(values.shape[1]) if values.ndim == 2 else 0
    if values.ndim == 2 and side * side == values.shape[1] and side > 2:
        values = values.reshape(-1, side, side)
    require(
        values.ndim == 3 and len(values) > 0,
        f"images has shape {values.shape}; pass (N, h, w), or (N, d) with d a square number.",
    )
    return values


def _normalised(log_weights: np.ndarray) -> np.ndarray:
    alive = np.isfinite(log_weights)
    if not alive.any():
        raise FkdiffError("every particle has weight zero, so there is nothing to draw; see fkdiff.check(out).")
    weights = np.where(alive, np.exp(np.where(alive, log_weights, 0) - log_weights[alive].max()), 0)
    return weights / weights.sum()


def _dress(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_xlabel(label, fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _ess(axes: Axes, out: SMCResult) -> None:
    ess = np.asarray(out.info.ess, np.float64) / len(out.log_weights)
    axes.plot(np.arange(len(ess)), ess, color=ACCENT, lw=1.6)
    for step in np.flatnonzero(np.asarray(out.info.resampled)):
        axes.axvline(int(step), color=PALE, lw=0.8, zorder=0)
    axes.axhline(0.05, color=ALARM, lw=0.8, ls=":")
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    resamplings = int(np.sum(np.asarray(out.info.resampled)))
    _dress(axes, f"ESS / N, min {ess.min():.2f}; {resamplings} resamplings", "step")


def _starvation(axes: Axes, out: SMCResult) -> None:
    total = np.cumsum(np.asarray(out.info.residual, np.float64))
    if np.isnan(total).any():
        axes.set_axis_off()
        _dress(axes, "starvation R: not measured", "")
        return
    axes.plot(np.arange(1, len(total) + 1), total, color=ACCENT, lw=1.6)
    axes.axhline(2, color=ALARM, lw=0.8, ls=":")
    axes.set_ylim(0, max(2.2, 1.1 * float(np.nanmax(total, initial=0.0))))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axes, f"starvation R = {total[-1]:.2f} (doubt above 2)", "step")


def _log_weights(axes: Axes, out: SMCResult) -> None:
    values = np.asarray(out.log_weights, np.float64)
    alive = values[np.isfinite(values)]
    centred = alive - alive.max() if len(alive) else np.zeros(1)
    axes.hist(centred, bins=40, color=ACCENT)
    dead = len(values) - len(alive)
    _dress(axes, "final log-weights" + (f", {dead} dead" if dead else ""), "nats below the largest")


def _ancestors(axes: Axes, out: SMCResult) -> None:
    ancestors = np.asarray(out.info.ancestors)
    weights = _normalised(np.asarray(out.log_weights, np.float64))
    mass = np.bincount(ancestors, weights=weights, minlength=int(ancestors.max()) + 1)
    mass = np.sort(mass[mass > 0])[::-1]
    axes.plot(np.arange(1, len(mass) + 1), np.cumsum(mass), color=ACCENT, lw=1.6)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.03)
    _dress(axes, f"{len(mass)} distinct ancestors", "ancestors, heaviest first")
    axes.set_ylabel("share of the weight", fontsize=8, color=INK)


def _samples(axes: Axes, values: np.ndarray, weights: np.ndarray) -> None:
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        axes.hist(values.reshape(-1), bins=60, weights=weights, density=True, color=ACCENT)
        _dress(axes, "samples, weighted", "x")
    elif values.ndim == 2 and values.shape[1] <= 8:
        axes.scatter(
            values[:, 0], values[:, 1], s=2000 * weights / (weights.max() * 400), color=ACCENT, alpha=0.5, lw=0
        )
        _dress(axes, "samples, weighted" if values.shape[1] == 2 else "samples, first two axes", "x")
    else:
        try:
            tiles = as_pictures(values)
        except FkdiffError:
            axes.hist(values.reshape(len(values), -1).mean(axis=1), bins=60, weights=weights, color=ACCENT)
            _dress(axes, "means of the samples, weighted", "mean")
            return
        # Residual picks would hide the weights; systematic picks show what a draw from the result looks like.
        picks = np.searchsorted(np.cumsum(weights), (np.arange(25) + 0.5) / 25).clip(max=len(weights) - 1)
        limits = (float(tiles.min()), float(tiles.max()))
        axes.imshow(_sheet(tiles[picks], 5, limits), cmap="gray", interpolation="nearest")
        _dress(axes, "samples, resampled", "")
        axes.set_xticks([])
        axes.set_yticks([])
