"""On Gaussian data every step is affine: its law is a recursion, written out here in NumPy.

Nothing is sampled: the slope and the offset of a step are read off its mean at two positions.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import fkdiff.paths as paths
from fkdiff import solvers
from fkdiff.targets import gaussian
from tests.solvers.solver_walks import vp

MEAN, VARIANCE = 0.8, 0.36
NU, ETA = 0.7, 0.4


def score(x, t):
    alpha, sigma, _, _ = vp(t)
    return -(x - alpha * MEAN) / (alpha**2 * VARIANCE + sigma**2)


def velocity(x, t):
    rate = vp(t)[2]
    return rate * x + rate * score(x, t)


def clean(x, t):
    alpha, sigma, _, _ = vp(t)
    return (x + sigma**2 * score(x, t)) / alpha


def euler(x, t0, t1):
    integral = (vp(t0)[3] - vp(t1)[3]) / 2  # ∫κ dt
    return x + (t1 - t0) * velocity(x, t0) + NU * integral * score(x, t0), np.sqrt(2 * NU * integral)


def heun(x, t0, t1):
    drift = lambda x, t: velocity(x, t) + NU * vp(t)[2] * score(x, t)  # noqa: E731
    first = drift(x, t0)
    second = drift(x + (t1 - t0) * first, t1)
    return x + (t1 - t0) * (first + second) / 2, np.sqrt(NU * (vp(t0)[3] - vp(t1)[3]))


def ddpm(x, t0, t1):
    """Ho, Jain and Abbeel (2020), eqs. 6 and 7: ᾱ' the cleaner level, a = ᾱ/ᾱ', β = 1 − a."""
    bar, bar_next = vp(t0)[0] ** 2, vp(t1)[0] ** 2
    a = bar / bar_next
    mean = np.sqrt(bar_next) * (1 - a) / (1 - bar) * clean(x, t0) + np.sqrt(a) * (1 - bar_next) / (1 - bar) * x
    return mean, np.sqrt((1 - bar_next) / (1 - bar) * (1 - a))


def ddim(x, t0, t1):
    """Song, Meng and Ermon (2021), eqs. 12 and 16."""
    bar, bar_next = vp(t0)[0] ** 2, vp(t1)[0] ** 2
    scale = ETA * np.sqrt((1 - bar_next) / (1 - bar)) * np.sqrt(1 - bar / bar_next)
    noise = (x - np.sqrt(bar) * clean(x, t0)) / np.sqrt(1 - bar)
    return np.sqrt(bar_next) * clean(x, t0) + np.sqrt(1 - bar_next - scale**2) * noise, scale


def exponential(x, t0, t1, reference=(0.3, 2.0), nu=NU):
    (a0, s0), (a1, s1) = vp(t0)[:2], vp(t1)[:2]
    v0, v1 = a0**2 * reference[1] + s0**2, a1**2 * reference[1] + s1**2
    gap = np.log(a1 / np.sqrt(v1)) - np.log(a0 / np.sqrt(v0))
    phi = lambda a: gap if a == 0 else (1 - np.exp(-a * gap)) / a  # noqa: E731
    y = (x - a0 * reference[0]) / np.sqrt(v0)
    f = np.sqrt(v0) * score(x, t0) + y
    y = np.exp(-nu * gap) * y + phi(nu) * (1 + nu) * f
    return a1 * reference[0] + np.sqrt(v1) * y, np.sqrt(v1 * 2 * nu * phi(2 * nu))


ROWS = {
    "euler": (lambda: solvers.euler(NU), euler),
    "heun": (lambda: solvers.heun(NU), heun),
    "ddim": (lambda: solvers.ddim(ETA), ddim),
    "ddpm": (lambda: solvers.ddim(1.0), ddpm),
    "exponential": (lambda: solvers.exponential(NU, (0.3, 2.0)), exponential),
}


def law(step, times):
    """Mean and variance after a walk, from N(α m, v) at the first time (the exact law there)."""
    alpha, sigma, _, _ = vp(times[0])
    mean, variance = alpha * MEAN, alpha**2 * VARIANCE + sigma**2
    for t0, t1 in itertools.pairwise(times):
        offset, scale = step(np.zeros(()), t0, t1)
        slope = step(np.ones(()), t0, t1)[0] - offset
        mean, variance = slope * mean + offset, slope**2 * variance + scale**2
    return mean, variance


def stepper(solver):
    """The solver's own step as (x, t0, t1) -> (mean, scale), compiled once."""
    pred = gaussian([MEAN], VARIANCE).predictor(paths.variance_preserving())

    @jax.jit
    def one(x, t0, t1):
        transition, _ = solver.step(pred, solver.init(pred, x[None], t0), t0, t1)
        return transition.mean[0], transition.scale

    return lambda x, t0, t1: tuple(float(value) for value in one(jnp.asarray(x), t0, t1))


def recursion_error(solver, expected):
    """Largest gap in mean or scale of any of five steps, and in the law after them."""
    step = stepper(solver)
    times = np.asarray(paths.grid(5, paths.variance_preserving()))
    gaps = [
        np.subtract(step(x, t0, t1), expected(x, t0, t1)) for t0, t1 in itertools.pairwise(times) for x in (-1.3, 0.6)
    ]
    return np.abs([*gaps, np.subtract(law(step, times), law(expected, times))]).max()
