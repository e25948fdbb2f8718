"""Steering by a reward: is the law right for every potential, what does a particle buy, how rare may an event be?

1. Golden A, exact reverse kernel in 40 steps, r = 0.3x and −(x−1)²/4 + 5: mean, P(x < 0) and log Z of every potential,
   resampling at ESS < 0.9 N and at every step, in standard errors from 8 populations.
2. Reward attained by one draw out of k particles, k = 1 … 16, at equal model calls per draw: a mixture in 8 dimensions
   whose reward asks for a corner that few draws are near. Beside it best-of-k, which follows no law.
3. P(x > a) ≈ 1e-5 of a discretised chain, guided towards it: relative error of 50 runs of 1e5 particle-steps.
"""

from __future__ import annotations

import time
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import A, arguments, save, table
from fkdiff.solvers import Solver

TRUTH = {"0.3x": (1.2274, 0.1434, 0.2596), "-(x-1)²/4+5": (1.1906, 0.0842, 4.5210)}
REWARDS = {"0.3x": lambda x: 0.3 * x[0], "-(x-1)²/4+5": lambda x: -((x[0] - 1) ** 2) / 4 + 5}
POTENTIALS = ("difference", "max", "sum", "terminal")


class MixtureTransition(NamedTuple):
    """The law of x at t1 given x at t0 under a noised mixture: a mixture itself."""

    weights: jax.Array
    means: jax.Array
    scales: jax.Array

    def sample(self, key):
        key_component, key_noise = jax.random.split(key)
        k = jax.random.categorical(key_component, jnp.log(self.weights))
        return self.means[k] + self.scales[k] * jax.random.normal(key_noise, self.means.shape[1:], self.means.dtype)


class ExactKernel(Solver):
    """The reverse of the noising chain of an isotropic mixture, without discretisation error."""

    mixture: fk.targets.GaussianMixture
    noise: jax.Array
    evaluations: ClassVar[int] = 1

    def step(self, pred, state, t0, t1):
        path, mixture = pred.path, self.mixture
        gain = path.alpha(t0) / path.alpha(t1)
        fresh = path.sigma(t0) ** 2 - gain**2 * path.sigma(t1) ** 2
        later = mixture.at(path, t1)
        variances = 1 / (1 / later.variances + gain**2 / fresh)
        means = variances[:, None] * (later.means / later.variances[:, None] + gain * state.x[None, :] / fresh)
        weights = mixture.at(path, t0).responsibilities(state.x)
        return MixtureTransition(weights, means, jnp.sqrt(variances)), state


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    laws = golden_laws(args.quick)
    print(table(laws))
    attained = particles_at_equal_calls(args.quick)
    print(table(attained))
    rare = rare_event(args.quick)
    print(table(rare))
    worst = max(row[f"{name} in errors"] for row in laws for name in ("mean", "P(x<0)", "log Z"))
    print(f"worst distance from the truth: {worst:.2f} standard errors")
    save(args, "steering", laws, draw(laws, attained, rare), worst_in_errors=worst, attained=attained, rare_event=rare)


def golden_laws(quick: bool) -> list[dict]:
    """Every potential on both rewards, at thresholds 0.9 (adaptive) and 1 (always)."""
    path = fk.paths.variance_preserving()
    mixture = fk.targets.gaussian_mixture(*A)
    pred, solver = mixture.predictor(path), ExactKernel(mixture=mixture, noise=jnp.ones(()))
    grid, count = fk.grid(40, path), 512 if quick else 16384
    rows = []
    for name, reward in REWARDS.items():
        for potential in POTENTIALS:
            for threshold in (0.9, 1.0):
                model = fk.steer(pred, solver, reward, potential=potential)
                rule = fk.smc.adaptive(fk.smc.systematic, threshold)
                many = fk.replicate(jax.random.key(5), 8, model, grid, count, resample=rule)
                rows.append({"reward": name, "potential": potential, "threshold": threshold, **held(many, TRUTH[name])})
                print(table(rows[-1:]).splitlines()[1], flush=True)
    return rows


def held(many, truth) -> dict:
    """Estimates, their errors, and distances from the truth in standard errors."""
    both = many.expectation(lambda x: jnp.stack([x[0], (x[0] < 0).astype(x.dtype)]))
    values = [*np.asarray(both.value, np.float64), float(many.evidence.value)]
    errors = [*np.asarray(both.standard_error, np.float64), float(many.evidence.standard_error)]
    found = {}
    for name, value, error, exact in zip(("mean", "P(x<0)", "log Z"), values, errors, truth, strict=True):
        found |= {name: value, f"{name} error": error, f"{name} in errors": abs(value - exact) / error}
    return found


# Particles at equal calls ----------------------------------------------------------------------------------

DIMENSION, STEPS, DRAWS = 8, 32, 512


def crowd():
    """Ten components in 8 dimensions, and a reward for being near a point between two of them."""
    rng = np.random.default_rng(7)
    means = rng.normal(size=(10, DIMENSION)) * 1.2
    mixture = fk.targets.gaussian_mixture(means, np.full(10, 0.2), rng.dirichlet(np.full(10, 3.0)))
    aim = jnp.asarray(0.5 * (means[0] + means[1]), jnp.float32)
    return mixture, lambda x: -1.5 * jnp.sum((x - aim) ** 2)


def particles_at_equal_calls(quick: bool) -> list[dict]:
    """Mean reward of one draw out of k particles; a twisted step counts as two calls, and gets half the steps."""
    path, (mixture, reward) = fk.paths.cosine(), crowd()
    pred, solver, draws = mixture.predictor(path), fk.solvers.ddim(eta=1.0), 64 if quick else DRAWS
    methods = {p: (fk.steer(pred, solver, reward, potential=p), STEPS) for p in POTENTIALS}
    methods["twisted"] = (fk.steer(pred, solver, reward, proposal="twisted"), STEPS // 2)
    rows = []
    for k in (1, 2, 4, 8, 16):
        for name, (model, steps) in methods.items():
            rewards = one_of_k(jax.random.key(k), model, reward, fk.grid(steps, path), draws, k)
            rows.append(attained_row(name, k, rewards, k * STEPS))
        key = jax.random.key(100 + k)
        _, rewards = fk.steering.best_of_n(key, pred, solver, reward, fk.grid(STEPS, path), draws, k)
        rows.append(attained_row("best of k", k, rewards, k * STEPS))
    exact = fk.replicate(jax.random.key(0), 4, methods["twisted"][0], fk.grid(STEPS, path), 1024 if quick else 16384)
    value = exact.expectation(reward)
    rows.append({"method": "the law itself", "k": "∞", "reward": float(value.value),
                 "error": float(value.standard_error), "calls per draw": ""})  # fmt: skip
    return rows


def attained_row(method: str, k: int, rewards, calls: int) -> dict:
    rewards = np.asarray(rewards, np.float64)
    error = rewards.std(ddof=1) / np.sqrt(len(rewards))
    return {"method": method, "k": k, "reward": rewards.mean(), "error": error, "calls per draw": calls}


def one_of_k(key, model, reward, grid, draws: int, k: int):
    """The reward of one weighted draw from each of many populations of k particles (two at least: 1 is plain)."""
    if k == 1:  # one particle cannot be weighed: it is a plain draw
        many = fk.replicate(key, draws, model, grid, 2)
        return jax.vmap(reward)(many.runs.particles[:, 0])
    many = fk.replicate(key, draws, model, grid, k)
    picks = jax.random.categorical(jax.random.fold_in(key, 1), many.runs.log_weights)
    return jax.vmap(reward)(jnp.take_along_axis(many.runs.particles, picks[:, None, None], axis=1)[:, 0])


# A rare event ----------------------------------------------------------------------------------------------

EDGE, RARE_STEPS, RARE_PARTICLES = 4.55, 50, 2000


def rare_event(quick: bool) -> list[dict]:
    """log P(x > a) of golden A's chain, by 50 guided runs, beside quadrature over the same chain."""
    path = fk.paths.variance_preserving()
    mixture, solver = fk.targets.gaussian_mixture(*A), fk.solvers.ddim(eta=1.0)
    pred, grid = mixture.predictor(path), fk.grid(RARE_STEPS, path)
    truth = chain_tail(pred, solver, np.asarray(grid))

    def ahead(x, t):
        """log P(clean > a | x_t) in continuous time: the chain's own twist, up to its steps."""
        alpha, sigma, noised = path.alpha(t), path.sigma(t), mixture.at(path, t)
        share, data = mixture.variances / noised.variances, mixture.means[:, 0]
        means = data + alpha * share * (x[0] - alpha * data)
        tails = jax.scipy.stats.norm.logcdf((means - EDGE) / (sigma * jnp.sqrt(share)))
        return jax.nn.logsumexp(tails + noised.log_joint(x)) - noised.log_prob(x)

    def beyond(x):
        return jnp.where(x[0] > EDGE, 0.0, -jnp.inf)

    rows, runs = [], 10 if quick else 50
    methods = {"guided": {"proposal": "twisted"}, "weighted only": {"proposal": "base"}}
    for name, options in methods.items():
        guess = fk.steering.learned(ahead)
        model = fk.steer(pred, solver, beyond, lambda s: jnp.ones_like(s), estimate=guess, **options)
        many = fk.replicate(jax.random.key(3), runs, model, grid, RARE_PARTICLES)
        found = np.exp(np.asarray(many.runs.log_normalizer, np.float64))
        rows.append(rare_row(name, found, truth))
    plain = fk.steer(pred, solver, beyond, potential="terminal")
    many = fk.replicate(jax.random.key(3), runs, plain, grid, RARE_PARTICLES)
    rows.append(rare_row("plain draws", np.exp(np.asarray(many.runs.log_normalizer, np.float64)), truth))
    return rows


def rare_row(method: str, found, truth: float) -> dict:
    return {
        "method": method,
        "P(x > a)": found.mean(),
        "truth": truth,
        "relative sd of a run": found.std(ddof=1) / truth,
        "bias in errors": abs(found.mean() - truth) / max(found.std(ddof=1) / np.sqrt(len(found)), 1e-300),
        "runs that saw none": float(np.mean(found == 0)),
        "particle-steps": RARE_STEPS * RARE_PARTICLES,
    }


def chain_tail(pred, solver, grid) -> float:
    """P(x_K > a), by quadrature backwards through the chain's own Gaussian steps, in double precision on the host."""
    points = np.linspace(-9.0, 9.0, 6001)
    width = points[1] - points[0]

    def means(t0, t1):
        def one(x):
            transition, _ = solver.step(pred, solver.init(pred, x[None], t0), t0, t1)
            return transition.mean[0], transition.scale

        return jax.jit(jax.vmap(one))(jnp.asarray(points, jnp.float32))

    value = None
    for t0, t1 in zip(grid[-2::-1], grid[:0:-1], strict=True):
        centre, scale = (np.asarray(v, np.float64) for v in means(t0, t1))
        z = (points[None, :] - centre[:, None]) / scale[:, None]
        if value is None:
            from scipy.stats import norm

            value = norm.sf((EDGE - centre) / scale)
            continue
        kernel = np.exp(-0.5 * z**2)
        # Narrow steps are averaged by linear interpolation at their centre, wide ones by the trapezium rule.
        smooth = kernel @ value / kernel.sum(axis=1).clip(1e-300)
        value = np.where(scale > 2 * width, smooth, np.interp(centre, points, value))
    start = np.exp(-0.5 * points**2 / _start_variance(pred))
    return float(start @ value / start.sum())


def _start_variance(pred) -> float:
    t, path = pred.path.t_min, pred.path
    return float(path.alpha(t) ** 2 + path.sigma(t) ** 2)


def draw(laws, attained, rare) -> Figure:
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for i, potential in enumerate(POTENTIALS):
        chosen = [r for r in laws if r["potential"] == potential]
        for j, name in enumerate(("mean", "P(x<0)", "log Z")):
            left.scatter([j + 0.15 * (i - 1.5)] * len(chosen), [r[f"{name} in errors"] for r in chosen], s=14,
                         color=f"C{i}", label=potential if j == 0 else None)  # fmt: skip
    left.axhline(4, color="grey", lw=0.8, ls=":")
    left.set_xticks(range(3), ["mean", "P(x<0)", "log Z"])
    left.set_ylabel("distance from the truth, in standard errors")
    left.set_title("golden A, two rewards, adaptive and always", fontsize=9)
    left.legend(fontsize=7)
    for name in dict.fromkeys(r["method"] for r in attained if r["k"] != "∞"):
        chosen = [r for r in attained if r["method"] == name]
        middle.errorbar([r["k"] for r in chosen], [r["reward"] for r in chosen], [r["error"] for r in chosen],
                        marker="o", ms=3, lw=1, label=name)  # fmt: skip
    middle.axhline(attained[-1]["reward"], color="grey", lw=0.8, ls=":", label="the law itself")
    middle.set_xscale("log", base=2)
    middle.set_xlabel("particles k, at equal calls per draw")
    middle.set_ylabel("mean reward of one draw, nats")
    middle.legend(fontsize=7)
    middle.set_title(f"{DIMENSION}-D mixture", fontsize=9)
    right.bar(range(len(rare)), [r["relative sd of a run"] for r in rare], color="C0")
    right.axhline(0.05, color="grey", lw=0.8, ls=":")
    right.set_yscale("log")
    right.set_xticks(range(len(rare)), [r["method"] for r in rare], fontsize=8)
    right.set_ylabel("relative sd of one run")
    right.set_title(f"P(x > {EDGE}) = {rare[0]['truth']:.2g}, {rare[0]['particle-steps']:,} particle-steps", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
