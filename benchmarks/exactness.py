"""Two identities without tolerance for error: E[Ẑ φ] = Γ(φ) with four particles, and the residual of the equation.

The first runs a three-state, four-step chain with N = 4 for every resampler and threshold, against matrix products.
The second evaluates g − (∂_t log p̃ + ∇·u + u·∇log p̃ + noise terms) on exact mixtures in double precision, for every
rule, path and noise level; correct formulas leave rounding.
"""

from __future__ import annotations

import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import fkdiff as fk  # noqa: E402
from benchmarks.common import arguments, save, table  # noqa: E402

rng = np.random.default_rng(3)
START = np.array([0.5, 0.3, 0.2])
MOVES = rng.dirichlet(np.ones(3), size=(4, 3))  # MOVES[k, from, to]
LOG_G = rng.normal(scale=1.2, size=(5, 3))  # LOG_G[k, state]
RESAMPLERS = ("multinomial", "stratified", "systematic", "residual")
NOISES = (0.0, 0.5, 1.0, 2.0)


def chain() -> fk.FeynmanKac:
    """The chain, inhomogeneous in both moves and potentials; the state is an integer."""
    moves, log_g, log_start = (jnp.asarray(v) for v in (np.log(MOVES), LOG_G, np.log(START)))

    def initial(key):
        state = jax.random.categorical(key, log_start)
        return state, log_g[0, state]

    return fk.FeynmanKac(
        initial=initial,
        propose=lambda key, s, t0, t1: jax.random.categorical(key, moves[t0.astype(int), s]),
        log_potential=lambda before, s, t0, t1: log_g[t1.astype(int), s],
    )


def truth() -> np.ndarray:
    """Γ(1{state}) by matrix products."""
    mass = START * np.exp(LOG_G[0])
    for k in range(4):
        mass = (mass @ MOVES[k]) * np.exp(LOG_G[k + 1])
    return mass


def unbiasedness(runs: int) -> list[dict]:
    model, grid, exact, rows = chain(), jnp.arange(5.0), truth(), []
    for name in RESAMPLERS:
        for threshold in (0.0, 0.6, 1.0):
            rule = fk.smc.adaptive(getattr(fk.smc, name), threshold)
            outs = fk.replicate(jax.random.key(1), runs, model, grid, 4, resample=rule).runs
            weights = jax.nn.softmax(outs.log_weights, axis=1) * jnp.exp(outs.log_normalizer)[:, None]
            for state in range(3):
                found = np.asarray(jnp.sum(weights * (outs.particles == state), axis=1))
                error = found.std(ddof=1) / np.sqrt(runs)
                rows.append(
                    {
                        "resampler": name,
                        "threshold": threshold,
                        "state": state,
                        "mean / exact": float(found.mean() / exact[state]),
                        "standard errors off": float((found.mean() - exact[state]) / error),
                    }
                )
    return rows


def rules(path, other) -> dict:
    """Every rule, on skewed mixtures in the plane."""
    one = fk.targets.gaussian_mixture([[-2.0, 0.4], [1.5, -0.7]], [[0.25, 0.4], [0.64, 0.9]], [0.3, 0.7])
    two = fk.targets.gaussian_mixture([[-1.5, 1.0], [2.0, 0.2]], [0.5, 0.36], [0.6, 0.4])
    a, b, far = one.predictor(path), two.predictor(path), two.predictor(other)
    fkc = fk.correctors

    def reward(x):
        return -0.4 * (x[0] - 1) ** 2 + 0.3 * jnp.sin(2 * x[1]) * x[0]

    return {
        "anneal 1.7": fkc.anneal(a, 1.7),
        "product": fkc.product([a, b], [1.3, 0.45]),
        "guidance 1.6": fkc.guidance(b, a, 1.6),
        "tilt": fkc.tilt(a, reward, strength=0.8),
        "tilt on clean": fkc.tilt(a, reward, lambda s: s**2, on="clean"),
        "all of them": fkc.tilt(fkc.anneal(fkc.product([a, b], [0.9, 0.5]), 1.3), reward, on="clean"),
        "two paths": fkc.product([a, far], [1.2, 0.7]),
    }


def residuals() -> list[dict]:
    found = []
    names = ("variance_preserving", "cosine", "variance_exploding", "linear")
    for path_name in names:
        path = getattr(fk.paths, path_name)()
        other = fk.paths.cosine() if path_name != "cosine" else fk.paths.linear()
        low, high = path.log_snr(path.t_min), path.log_snr(path.t_max)
        t = path.time(jnp.linspace(low + 2, high - 4, 8))
        spread = jnp.sqrt(4 * jax.vmap(path.alpha)(t) ** 2 + jax.vmap(path.sigma)(t) ** 2)
        x = spread[:, None] * jax.random.normal(jax.random.key(2), (8, 2))
        for rule, target in rules(path, other).items():

            def one(y, s, noise, target=target, path=path):
                log_p, (score, dt) = target.log_density(y, s), jax.grad(target.log_density, (0, 1))(y, s)
                level = noise * path.kappa(s)

                def drift(z):
                    field = target.field(z, s)
                    return field.velocity + level * field.score, field.rate

                jacobian, rate = jax.jacfwd(drift, has_aux=True)(y)
                laplacian = jnp.trace(jax.jacfwd(jax.grad(target.log_density))(y, s))
                transport = jnp.trace(jacobian) + drift(y)[0] @ score - level * (laplacian + score @ score)
                return jnp.abs(rate - dt - transport) / (1 + jnp.abs(rate)) + 0 * log_p

            worst = jax.jit(jax.vmap(jax.vmap(one, (0, 0, None)), (None, None, 0)))(x, t, jnp.asarray(NOISES))
            row = {"path": path_name, "rule": rule}
            found.append(row | {f"ν={n:g}": float(v) for n, v in zip(NOISES, worst.max(axis=1), strict=True)})
            print(table(found[-1:]).splitlines()[1], flush=True)
    return found


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    rows = unbiasedness(2_000 if args.quick else 50_000)
    print(table(rows))
    solved = residuals()
    worst = max(v for row in solved for k, v in row.items() if k.startswith("ν"))
    off = max(abs(row["standard errors off"]) for row in rows)
    print(f"largest residual {worst:.2g}; largest deviation of E[Ẑφ] {off:.2f} standard errors over {len(rows)} checks")
    save(args, "exactness", rows, draw(rows, solved), residuals=solved, largest_residual=worst, largest_deviation=off)


def draw(rows: list[dict], solved: list[dict]) -> Figure:
    """Deviations of E[Ẑφ] in standard errors, and residuals of the equation by rule."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, name in enumerate(RESAMPLERS):
        off = [row["standard errors off"] for row in rows if row["resampler"] == name]
        left.scatter(np.full(len(off), i), off, s=14)
    left.axhspan(-4, 4, color="0.93", zorder=0)
    left.set_xticks(range(len(RESAMPLERS)), RESAMPLERS, fontsize=8)
    left.set_title("E[Ẑφ] − Γ(φ) with four particles, in standard errors", fontsize=9)
    names = list(dict.fromkeys(row["rule"] for row in solved))
    for row in solved:
        values = [max(v, 1e-17) for k, v in row.items() if k.startswith("ν")]
        right.scatter(np.full(len(values), names.index(row["rule"])), values, s=10, color="tab:blue", alpha=0.6)
    right.axhline(1e-8, color="tab:red", lw=0.8, ls=":")
    right.set_yscale("log")
    right.set_xticks(range(len(names)), names, fontsize=7, rotation=20)
    right.set_title("residual of the equation, all paths and noise levels", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
