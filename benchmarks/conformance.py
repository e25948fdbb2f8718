"""Does everything compose? Every source of models under every combinator, and every driver on every hook.

    python -m benchmarks.conformance            three rewards on every source, everything on two of them; committed
    python -m benchmarks.conformance --all      everything on every source, an hour
    python -m benchmarks.conformance --quick    a few cells

A source comes with its law as a table (points, log-masses): by quadrature in one dimension, by enumeration for tokens.
A cell runs `replicate` and holds log Z and two expectations against that table times e^{r}. It counts only if its
populations were resampled, and under an adaptive ramp only if the ramp of one run differs from that of another.

The second table holds drivers against `run_smc`: host = compiled, chunked = whole, row i = run i.
The third asks for what cannot be had, and follows the sentence that comes back.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk
from benchmarks.common import arguments, folder, save
from fkdiff import correctors, discrete, mcmc, smc
from fkdiff.smc.drivers.run import unchecked

KEY = jax.random.key(20)
PATH = fk.paths.variance_preserving()
A = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
C = fk.targets.gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4])
GAUSS = fk.targets.gaussian([0.4], 0.6)
LINE = np.linspace(-12.0, 12.0, 4801)
SOLVER = fk.solvers.ddim(eta=1.0)
STEPS, FINE = 16, 48
RULE = smc.adaptive(smc.systematic, 0.98)


class Source(NamedTuple):
    """A model, its grid and its law.

    Attributes:
        model: `model()`.
        grid: Times.
        points: All of them, (M, d).
        log_masses: Of the points, (M,); their log-sum-exp is log Z.
        step_error: How far log Z may be off by the time steps alone.
        kernel: `kernel(t)`, invariant for the law at t; None where no density is known.
    """

    model: Callable[[], Any]
    grid: Any
    points: np.ndarray
    log_masses: np.ndarray
    step_error: float = 0.0
    kernel: Any = None


def on_line(log_density: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Points and log-masses of a density in one dimension."""
    return LINE[:, None], np.asarray(log_density(LINE), np.float64) + np.log(LINE[1] - LINE[0])


def log_q(target, t) -> np.ndarray:
    """log q_t of a mixture on the line."""
    law = target.at(PATH, t)
    return np.asarray(jax.vmap(lambda x: law.log_prob(x[None]))(jnp.asarray(LINE, jnp.float32)), np.float64)


def normal(x, mean, variance):
    """log N(x; mean, variance)."""
    return -0.5 * (x - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)


def chain_law(pred, grid) -> tuple[float, float]:
    """Mean and variance of the last position of a solver's chain on a Gaussian model, whose steps are affine."""
    t = float(grid[0])
    mean, variance = 0.0, float(PATH.alpha(t) ** 2 + PATH.sigma(t) ** 2)
    for t0, t1 in itertools.pairwise(grid):
        zero, one = (SOLVER.step(pred, SOLVER.init(pred, jnp.array([x]), t0), t0, t1)[0] for x in (0.0, 1.0))
        gain = float(one.mean[0] - zero.mean[0])
        mean, variance = gain * mean + float(zero.mean[0]), gain**2 * variance + float(zero.scale) ** 2
    return mean, variance


def corrected(target, log_law, noise=0.0, frozen=False) -> Source:
    """A corrector's target; its law at the last time."""
    grid = target.grid(FINE)

    def model():
        made = target.feynman_kac("heun", noise)
        return smc.freeze(jax.random.key(3), made, grid, 1024) if frozen else made

    kernel = lambda t: mcmc.mala(lambda x: target.log_density(x, t), 0.3 * PATH.sigma(t) ** 2 + 0.02)  # noqa: E731
    return Source(model, grid, *on_line(lambda x: log_law(float(grid[-1]))), 0.02 if noise == 0 else 0.05, kernel)


def walk() -> Source:
    """A random walk with potentials, whose law follows by a matrix per step."""
    grid, gain, scale = jnp.linspace(0.0, 1.0, 6), 0.9, 0.6
    start = lambda key: (jax.random.normal(key, (1,)), jnp.zeros(()))  # noqa: E731
    move = lambda key, x, t0, t1: gain * x + scale * jax.random.normal(key, (1,))  # noqa: E731
    weigh = lambda a, b, t0, t1: -0.3 * jnp.sum((b - t1) ** 2)  # noqa: E731
    times = (jnp.zeros(()), jnp.ones(()))
    mass, h = np.exp(normal(LINE, 0.0, 1.0)), LINE[1] - LINE[0]
    step = np.exp(normal(LINE[:, None], gain * LINE[None, :], scale**2)) * h
    for t in np.asarray(grid[1:]):
        mass = (step @ mass) * np.exp(-0.3 * (LINE - t) ** 2)
    estimate = lambda key, x, t: gain ** (5 * (1 - t)) * x  # noqa: E731
    build = lambda: fk.FeynmanKac(start, move, weigh, time_range=times, estimate=estimate)  # noqa: E731
    with np.errstate(divide="ignore"):
        return Source(build, grid, *on_line(lambda x: np.log(mass)))


def as_population() -> Source:
    """The walk, given as functions of the population."""
    inner = walk()
    m = inner.model()
    build = lambda: fk.Population(  # noqa: E731
        m.initial, m.move, estimate=m.estimate, time_range=m.time_range, independent=True
    )
    return inner._replace(model=build)


def posterior(proposal) -> Source:
    """y = 1.5 x + noise, on a Gaussian model's chain."""
    pred, grid = GAUSS.predictor(PATH), fk.grid(STEPS, PATH)
    mean, variance = chain_law(pred, grid)
    operator, y, tau = fk.inverse_problems.matrix([[1.5]]), jnp.array([1.2]), 0.5
    build = lambda: fk.inverse(pred, SOLVER, operator, y, tau, proposal=proposal)  # noqa: E731
    return Source(build, grid, *on_line(lambda x: normal(x, mean, variance) + normal(1.2, 1.5 * x, tau**2)))


def chain(**options) -> Source:
    """The ancestral chain of a Gaussian model; options make it a steered one with a reward of its own."""
    pred, grid = GAUSS.predictor(PATH), fk.grid(STEPS, PATH)
    mean, variance = chain_law(pred, grid)
    if not options:
        return Source(lambda: fk.steering.chain(pred, SOLVER), grid, *on_line(lambda x: normal(x, mean, variance)))
    build = lambda: fk.steer(pred, SOLVER, lambda x: 0.5 * x[0], **options)  # noqa: E731
    return Source(build, grid, *on_line(lambda x: normal(x, mean, variance) + 0.5 * x))


def tempered(**options) -> Source:
    """N(0, 1) to N(0, 1) e^{−2(x−1)²}, by MALA."""
    prior, likelihood = lambda x: -0.5 * jnp.sum(x**2), lambda x: -2 * jnp.sum((x - 1) ** 2)
    sample = lambda key: jax.random.normal(key, (1,))  # noqa: E731
    build = lambda: smc.tempering(prior, likelihood, sample, lambda f: mcmc.mala(f, 0.2), **options)  # noqa: E731
    kernel = lambda t: mcmc.mala(lambda x: prior(x) + t * likelihood(x), 0.2)  # noqa: E731
    law = on_line(lambda x: -0.5 * x**2 - 2 * (x - 1) ** 2 - 0.5 * np.log(2 * np.pi))
    return Source(build, jnp.linspace(0.0, 1.0, 9), *law, 0.0, kernel)


def unadjusted() -> Source:
    """The same by unadjusted Langevin steps with exact weights."""
    prior, likelihood = lambda x: -0.5 * jnp.sum(x**2), lambda x: -2 * jnp.sum((x - 1) ** 2)
    build = lambda: smc.unadjusted(prior, likelihood, lambda key: jax.random.normal(key, (1,)), 0.05)  # noqa: E731
    return tempered()._replace(model=build, kernel=None)


def tokens() -> Source:
    """A law on 27 sequences to the power 1.5, unmasked one token per step."""
    law = discrete.enumerated(np.random.default_rng(3).normal(size=27), 3, 3)
    target = discrete.anneal(law.predictor(discrete.masked(3)), 1.5)
    return Source(
        target.feynman_kac, jnp.linspace(0.0, 1.0, 4), np.asarray(law.sequences), 1.5 * np.asarray(law.log_masses)
    )


def finite() -> Source:
    """A² by exact weights at finite steps."""
    target = correctors.anneal(A.predictor(PATH), 2.0)
    grid = fk.grid(STEPS, PATH)
    law = on_line(lambda x: 2 * log_q(A, float(grid[-1])))
    return Source(lambda: correctors.finite_steps(target), grid, *law)


def sources() -> dict[str, Source]:
    """Every way to make a model."""
    a, c = A.predictor(PATH), C.predictor(PATH)
    hill = lambda x: -0.75 * jnp.sum((x - 1) ** 2)  # noqa: E731
    squared = correctors.anneal(a, 2.0)
    return {
        "FeynmanKac": walk(),
        "Population": as_population(),
        "chain": chain(),
        "steered": chain(ramp=smc.adaptive_ramp(0.9)),
        "twisted": chain(proposal="twisted"),
        "inverse, adapted": posterior("adapted"),
        "inverse, dps": posterior("dps"),
        "anneal": corrected(squared, lambda t: 2 * log_q(A, t)),
        "anneal, noise 1": corrected(squared, lambda t: 2 * log_q(A, t), 1.0),
        "anneal, frozen": corrected(squared, lambda t: 2 * log_q(A, t), 1.0, frozen=True),
        "product": corrected(correctors.product([a, c]), lambda t: log_q(A, t) + log_q(C, t), 1.0),
        "guidance": corrected(correctors.guidance(c, a, 1.5), lambda t: 1.5 * log_q(C, t) - 0.5 * log_q(A, t), 1.0),
        "tilt": corrected(correctors.tilt(a, hill), lambda t: log_q(A, t) - 0.75 * (LINE - 1) ** 2, 1.0),
        "finite steps": finite(),
        "tempering": tempered(),
        "tempering, adaptive": tempered(ess=0.8),
        "tempering, waste-free": tempered(waste_free=4),
        "unadjusted": unadjusted(),
        "tokens": tokens(),
    }


# Rewards take one example of any source, (1,) or (3,): a jump and a kink, and a wall.


def jump(x):
    """Neither smooth nor concave."""
    z = jnp.asarray(x, jnp.float32)[0]
    return jnp.where(z > 0.5, 0.8, 0.0) - 0.3 * jnp.abs(z - 1.0)


def wall(x):
    """−∞ on one side."""
    z = jnp.asarray(x, jnp.float32)[0]
    return jnp.where(z < 0.2, -jnp.inf, 0.4 * z)


def nothing(x):
    """No reward."""
    return jnp.zeros(())


FULL = smc.adaptive_ramp(0.99, lambda s: jnp.minimum(2 * s, 1.0))  # the ESS binds before the cap does
# name: (reward of the cell, source -> model)
COMBINATORS: dict[str, tuple[Any, Callable[[Source], Any]]] = {
    "as it is": (nothing, lambda s: s.model()),
    "rewarded": (jump, lambda s: smc.rewarded(s.model(), jump)),
    "terminal": (jump, lambda s: smc.rewarded(s.model(), jump, potential="terminal")),
    "max": (jump, lambda s: smc.rewarded(s.model(), jump, potential="max")),
    "adaptive ramp": (jump, lambda s: smc.rewarded(s.model(), jump, ramp=FULL, potential="difference")),
    "draws": (jump, lambda s: smc.rewarded(s.model(), jump, estimate="draws")),
    "wall": (wall, lambda s: smc.rewarded(s.model(), wall, potential="difference")),
    "twice": (
        lambda x: jump(x) + 0.5 * jump(x),
        lambda s: smc.rewarded(smc.rewarded(s.model(), jump), jump, ramp=FULL, potential="sum", strength=0.5),
    ),
    "frozen": (
        jump,
        lambda s: smc.freeze(
            jax.random.key(9), smc.rewarded(s.model(), jump, ramp=FULL, potential="difference"), s.grid, 1024
        ),
    ),
    "rejuvenated, rewarded": (jump, lambda s: smc.rewarded(smc.rejuvenated(s.model(), s.kernel, num_moves=2), jump)),
    "rewarded, rejuvenated": (jump, lambda s: smc.rejuvenated(smc.rewarded(s.model(), jump), s.kernel, num_moves=2)),
    "always rejuvenated": (
        jump,
        lambda s: smc.rejuvenated(smc.rewarded(s.model(), jump), s.kernel, num_moves=1, when="always"),
    ),
}


def applies(source: Source, combinator: str) -> bool:
    """Moves need a density."""
    return source.kernel is not None or "rejuvenated" not in combinator


ON_ALL = ("rewarded", "adaptive ramp", "wall")
WHOLLY = ("FeynmanKac", "anneal, noise 1")  # sources that get every combinator and every driver


def truth(source: Source, reward) -> tuple[float, np.ndarray]:
    """log Z, and the expectations of the first coordinate and of its sign."""
    dtype = jnp.int32 if np.issubdtype(source.points.dtype, np.integer) else jnp.float32
    points = jnp.asarray(source.points, dtype)
    log_mass = source.log_masses + np.asarray(jax.vmap(reward)(points), np.float64)
    top = log_mass.max()
    mass = np.exp(log_mass - top)
    first = np.asarray(source.points[:, 0], np.float64)
    values = np.stack([first, first > 0.7])
    return float(top + np.log(mass.sum())), (values @ mass) / mass.sum()


def observe(x):
    """What the expectations are of."""
    z = jnp.asarray(x, jnp.float32)[0]
    return jnp.stack([z, (z > 0.7).astype(jnp.float32)])


def ramp_varies(model, grid, num_particles: int) -> bool:
    """Whether the ramp of one run differs from that of another on the way."""
    step = eqx.filter_jit(smc.step)

    def ramps(key):
        state, seen = eqx.filter_jit(smc.init)(key, model, num_particles, grid[0]), []
        for t0, t1 in itertools.pairwise(grid):
            state, _ = step(key, model, state, t0, t1, model.resampler or RULE)
            seen.append(float(state.particles.ramp[0]))
        return np.array(seen)

    first, second = ramps(jax.random.key(1)), ramps(jax.random.key(2))
    return bool(np.abs(first - second).max() > 1e-4)


def cell(source: Source, combinator: str, num_particles: int = 1024, populations: int = 8) -> dict[str, Any]:
    """One cell: gaps to the truth in standard errors, after the steps' own error is granted."""
    reward, build = COMBINATORS[combinator]
    model = build(source)
    rule = None if model.resampler is not None else RULE
    many = fk.replicate(KEY, populations, model, source.grid, num_particles, resample=rule, safety=False)
    log_z, means = truth(source, reward)
    estimate = many.expectation(observe)
    found = np.append(float(many.evidence.value), np.asarray(estimate.value))
    errors = np.append(float(many.evidence.standard_error), np.asarray(estimate.standard_error))
    gaps = np.abs(found - np.append(log_z, means))
    beyond = np.maximum(gaps - source.step_error, 0.0) / np.maximum(errors, 1e-6)
    resampled = int(many.runs.info.resamplings.min())
    varied = ramp_varies(model, source.grid, 256) if combinator == "adaptive ramp" else None
    # Seven degrees of freedom: P(|T| > 9) is 4e-5 in one of three figures.
    right = not many.problems()[0] and bool(np.all(beyond <= 9.0)) and bool(np.all(errors < 0.08))
    return {
        "log_z": found[0], "truth": log_z, "error": errors[0], "largest_gap_in_errors": float(beyond.max()),
        "resamplings": resampled, "ramp_varied": varied, "right": right,
        "counts": (resampled > 0 or combinator == "as it is") and varied is not False,
    }  # fmt: skip


# Drivers ------------------------------------------------------------------------------------------------------


def close(a, b) -> bool:
    """The same run up to rounding: ancestors equal, numbers near."""
    same = np.array_equal(np.asarray(a.info.ancestors), np.asarray(b.info.ancestors))
    near = np.allclose(np.asarray(a.log_weights), np.asarray(b.log_weights), atol=2e-4)
    return bool(same and near and np.allclose(float(a.log_normalizer), float(b.log_normalizer), atol=2e-4))


def drivers(model, grid, num_particles: int = 96, chunks: bool = True) -> dict[str, bool]:
    """Every driver against `run_smc`; functions of a whole population cannot be given it in chunks."""
    rule = None if model.resampler is not None else RULE
    options = {"num_particles": num_particles, "resample": rule, "collect": lambda x, w, t: w}
    driven = fk.drive(KEY, model, grid, show=False, **options)
    options["safety"] = False  # drive makes no runs beside its own
    here = fk.run_smc(KEY, model, grid, **options)
    many = fk.replicate(KEY, 2, model, grid, **options)
    each = smc.run_each(KEY, lambda c: model, jnp.zeros(2), grid, **options)
    row = fk.run_smc(jax.random.fold_in(KEY, 1), model, grid, **options)
    found = {
        "drive": close(here, driven) and np.allclose(here.collected, driven.collected, atol=2e-4),
        "replicate": close(many.population(1), row),
        "run_each": close(jax.tree.map(lambda leaf: leaf[1], each), row),
    }
    if chunks:
        found["chunk"] = close(here, fk.run_smc(KEY, model, grid, chunk=20, **options))
    return found


def on_host(model, grid, num_particles: int = 96) -> bool:
    """A host reward against the same reward compiled, under an adaptive ramp."""
    compiled = jax.jit(jax.vmap(jump))
    hosted = smc.rewarded(model, smc.host(lambda batch: np.asarray(compiled(batch))), ramp=FULL, potential="difference")
    here = smc.rewarded(model, jump, ramp=FULL, potential="difference")
    rule = None if model.resampler is not None else RULE
    options = {"num_particles": num_particles, "resample": rule}
    return close(fk.drive(KEY, hosted, grid, show=False, **options), fk.run_smc(KEY, here, grid, **options))


def conditional(source: Source, sweeps: int = 400, num_particles: int = 32) -> dict[str, Any]:
    """The last position of a chain of conditional sweeps of a rewarded model, against the truth."""
    model = smc.rewarded(source.model(), jump)
    kernel = smc.conditional(model, source.grid, num_particles)
    starts = jax.vmap(lambda k: smc.trajectory(k, model, source.grid, num_particles))(jax.random.split(KEY, 16))

    @eqx.filter_jit
    def run(starts):
        def one(key, start):
            def sweep(state, k):
                state, info = kernel.step(jax.random.fold_in(key, k), state)
                last = jax.tree.map(lambda leaf: leaf[-1:], state.position.particles)
                return state, (observe(model.extract(last, source.grid[-1])[0]), info.status)

            return jax.lax.scan(sweep, kernel.init(key, start), jnp.arange(sweeps))[1]

        return jax.vmap(one)(jax.random.split(jax.random.key(4), 16), starts)

    values, codes = run(starts)
    each = np.asarray(values)[:, sweeps // 10 :].mean(axis=1)
    gaps = np.abs(each.mean(axis=0) - truth(source, jump)[1]) - source.step_error
    errors = each.std(axis=0, ddof=1) / 4
    beyond = float((np.maximum(gaps, 0) / errors).max())
    return {"largest_gap_in_errors": beyond, "right": bool(beyond <= 7 and not np.asarray(codes).any())}


# Refusals -----------------------------------------------------------------------------------------------------


def refusals() -> dict[str, tuple[Callable[[], Any], str, Callable[[], Any]]]:
    """name: (what cannot be had, words of the sentence, what the sentence says to do)."""
    grid, pred = fk.grid(4, PATH), A.predictor(PATH)
    fitted = correctors.anneal(pred, 2.0).feynman_kac()
    hosted = fk.steer(pred, SOLVER, smc.host(lambda batch: batch[:, 0]))
    operator, y = fk.inverse_problems.matrix([[1.0]]), jnp.ones(1)
    likelihood = fk.inverse_problems.Likelihood(operator, y, jnp.float32(0.5))
    blind = fk.FeynmanKac(
        lambda key: (jax.random.normal(key, (1,)), jnp.zeros(())),
        lambda key, x, t0, t1: x,
        lambda a, b, t0, t1: 0.0 * b[0],
    )
    unit = jnp.linspace(0.0, 1.0, 4)
    plain = fk.steer(pred, SOLVER, lambda x: x[0])
    run = lambda model, where=grid, **options: fk.run_smc(KEY, model, where, num_particles=32, **options)  # noqa: E731
    return {
        "host reward compiled": (
            lambda: run(hosted), "use fkdiff.drive", lambda: fk.drive(KEY, hosted, grid, num_particles=32, show=False)
        ),
        "conditional on fitted control": (
            lambda: smc.conditional(fitted, grid, 8), "fkdiff.smc.freeze",
            lambda: smc.conditional(smc.freeze(KEY, fitted, grid, 64), grid, 8),
        ),
        "reward without an estimate": (
            lambda: run(smc.rewarded(blind, lambda x: x[0], ramp=lambda s: s), unit), 'potential="terminal"',
            lambda: run(smc.rewarded(blind, lambda x: x[0], potential="terminal"), unit),
        ),
        "chunk of a Population": (
            lambda: run(as_population().model(), unit, chunk=8), "leave it out",
            lambda: run(as_population().model(), unit),
        ),
        "resampler beside waste-free moves": (
            lambda: smc.run_each(
                KEY, lambda c: tempered(waste_free=4).model(), jnp.zeros(2), unit, num_particles=32, resample=RULE
            ),
            "leave it out",
            lambda: smc.run_each(KEY, lambda c: tempered(waste_free=4).model(), jnp.zeros(2), unit, num_particles=32),
        ),
        "transport of cumulative potentials": (
            lambda: run(plain, resample=smc.optimal_transport(0.5)), "fkdiff.smc.systematic",
            lambda: run(plain, resample=smc.systematic),
        ),
        "inverse on a corrector, adapted": (
            lambda: fk.inverse(fitted, None, operator, y, 0.5, proposal="adapted"),
            'tilt(target, log_likelihood, on="clean")',
            lambda: run(correctors.tilt(pred, likelihood, on="clean").feynman_kac()),
        ),
        "steer a target": (
            lambda: fk.steer(correctors.anneal(pred, 2.0), SOLVER, lambda x: x[0]), "target.feynman_kac()",
            lambda: run(fk.steer(correctors.anneal(pred, 2.0).feynman_kac(), reward=lambda x: x[0])),
        ),
        "solver beside a model": (
            lambda: fk.steer(fitted, SOLVER, lambda x: x[0]), "fkdiff.steer(model, reward=reward)",
            lambda: run(fk.steer(fitted, reward=lambda x: x[0])),
        ),
        "new ancestors under a reward": (
            lambda: smc.conditional(plain, grid, 8, log_transition=lambda a, b, t0, t1: 0.0), 'renew="trace"',
            lambda: smc.conditional(plain, grid, 8, renew="trace"),
        ),
        "nothing to freeze": (
            lambda: smc.freeze(KEY, blind, unit, 32), "run it as it stands", lambda: run(blind, unit)
        ),
    }  # fmt: skip


def refused(case) -> bool:
    """Whether the sentence comes, and following it works."""
    wrong, words, right = case
    try:
        wrong()
    except fk.FkdiffError as error:
        said = words in str(error)
    else:
        return False
    right()
    return said


def four_particles(runs: int = 2**14) -> dict[str, Any]:
    """E Ẑ = Z at N = 4 for a rewarded walk under an adaptive ramp: no asymptotics hide here."""
    source = walk()
    model = smc.rewarded(source.model(), jump, ramp=FULL, potential="difference")
    rule = smc.adaptive(smc.multinomial, 0.9)
    one = lambda key: unchecked(key, model, source.grid, 4, rule, None, "error").log_normalizer  # noqa: E731
    found = np.exp(np.asarray(eqx.filter_jit(jax.vmap(one))(jax.random.split(KEY, runs)), np.float64))
    ratio, error = (
        found.mean() / np.exp(truth(source, jump)[0]),
        found.std() / np.exp(truth(source, jump)[0]) / runs**0.5,
    )
    return {"ratio": ratio, "error": error, "right": bool(abs(ratio - 1) <= 4 * error)}


def rows_of(name: str, wholly: bool) -> list[dict[str, Any]]:
    """The rows of one source."""
    source, rows = sources()[name], []
    for combinator in COMBINATORS if wholly else ON_ALL:
        if applies(source, combinator):
            rows.append({"table": "law", "source": name, "combinator": combinator, **cell(source, combinator)})
            _say(rows[-1], name, combinator)
    if not wholly:
        return rows
    model, grid = source.model(), source.grid
    for driver, fine in drivers(smc.rewarded(model, jump), grid, chunks=name != "Population").items():
        rows.append({"table": "driver", "source": name, "driver": driver, "right": fine, "counts": True})
    rows.append({"table": "driver", "source": name, "driver": "host", "right": on_host(model, grid), "counts": True})
    if model.independent and model.resampler is None:
        rows.append({"table": "driver", "source": name, "driver": "conditional", "counts": True, **conditional(source)})
    for row in rows:
        if row["table"] == "driver":
            _say(row, name, row["driver"])
    return rows


def the_rest() -> list[dict[str, Any]]:
    """Refusals, and four particles."""
    rows = []
    for name, case in refusals().items():
        rows.append({"table": "refusal", "source": name, "right": refused(case), "counts": True})
        _say(rows[-1], name, "refused, and the way out works")
    few = {"table": "law", "source": "FeynmanKac", "combinator": "N = 4, E Ẑ = Z", "counts": True}
    rows.append(few | four_particles())
    _say(rows[-1], "FeynmanKac", "E Ẑ/Z at N = 4")
    return rows


def _kept(args) -> list[dict[str, Any]]:
    """Rows of the sources that an interrupted run has finished."""
    file = folder(args) / "conformance.json"
    return json.loads(file.read_text())["rows"] if args.resume and file.exists() else []


def _add(parser) -> None:
    parser.add_argument("--resume", action="store_true", help="keep the sources that the results file holds")
    parser.add_argument("--all", action="store_true", help="every combinator and driver on every source")


def main() -> None:
    args = arguments("Every source under every combinator, every driver on every hook.", _add)
    args.started = time.time()
    names = ["FeynmanKac", "tokens"] if args.quick else sorted(sources(), key=lambda name: name in WHOLLY)
    # Compiling takes most of the time, and one source's programs are of no use to another: a process for each.
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as pool:
        rows: list[dict[str, Any]] = _kept(args)
        done = {row["source"] for row in rows}
        wanted = [name for name in names if name not in done]
        parts = [pool.submit(rows_of, name, args.all or (name in WHOLLY and not args.quick)) for name in wanted]
        for number, part in enumerate(as_completed([*parts, pool.submit(the_rest)]), 1 + len(names) - len(wanted)):
            rows += part.result()
            counted = [row for row in rows if row["counts"]]
            wrong = [row for row in counted if not row["right"]]
            facts = {"cells": len(counted), "wrong": len(wrong), "not_counted": len(rows) - len(counted)}
            save(args, "conformance", rows, parts_done=number, parts=len(names) + 1, **facts)
    print(f"{len(counted)} cells count, {len(wrong)} wrong, {len(rows) - len(counted)} do not count")
    sys.exit(bool(wrong))


def _say(row: dict, *names: str) -> None:
    figures = {k: round(v, 4) for k, v in row.items() if isinstance(v, float)}
    verdict = "right" if row["right"] else "WRONG"
    print(f"{' | '.join(names):60s} {verdict if row['counts'] else verdict + ', does not count'} {figures}", flush=True)


if __name__ == "__main__":
    main()
