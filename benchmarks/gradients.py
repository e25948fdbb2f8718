"""Derivatives through samplers: what automatic differentiation says, what the identities say, and the truth.

Four cases with closed forms. log Z and a posterior mean by tempered SMC, differentiated in the likelihood; E x² of
N(0, σ²) by HMC and by MALA, differentiated in σ. *Naive* is plain automatic differentiation of the sampler, which
fkdiff refuses: the resampler `detached` stands for it, and for the two kernels an accept-reject step written out here.

Then two things learned through samplers. The step sizes of unadjusted annealing, by climbing the annealed bound; and
the twist of a linear-Gaussian model, by climbing E log w, which should arrive at the exact one, where w is constant.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save, table
from fkdiff import gradients, mcmc, smc

Y, NOISE, SLOPE = 1.3, 0.5, 0.8  # x ~ N(0, 1), y | x ~ N(slope x, noise²)


def log_prior(x):
    return -0.5 * (x**2 + jnp.log(2 * jnp.pi))


def log_likelihood(x, slope):
    return -0.5 * ((Y - slope * x) / NOISE) ** 2 - 0.5 * jnp.log(2 * jnp.pi * NOISE**2)


def truths() -> dict[str, float]:
    """d log Z and dE x in the slope; dE x² in σ at 1."""
    variance = SLOPE**2 + NOISE**2
    return {
        "log Z": -SLOPE / variance + SLOPE * Y**2 / variance**2,
        "E x": Y / variance - 2 * SLOPE**2 * Y / variance**2,
        "E x² by HMC": 2.0,
        "E x² by MALA": 2.0,
    }


def tempered(slope, move):
    return smc.tempering(log_prior, lambda x: log_likelihood(x, slope), jax.random.normal, move, num_moves=2)


def naive_smc(statistic: str, count: int, runs: int) -> np.ndarray:
    """Derivatives of runs whose resampling and moves are differentiated as they stand."""
    grid = jnp.linspace(0.0, 1.0, 9)
    resample = smc.detached(smc.adaptive(smc.systematic, 0.9))

    def value(slope, key):
        out = fk.run_smc(key, tempered(slope, lambda f: mcmc.ula(f, 0.02)), grid, count, resample=resample)
        if statistic == "log Z":
            return out.log_normalizer
        return jnp.sum(jax.nn.softmax(out.log_weights) * out.particles)

    keys = jax.random.split(jax.random.key(0), runs)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(lambda k: jax.grad(value)(jnp.float32(SLOPE), k), keys))(keys))


def identity_smc(statistic: str, count: int) -> smc.Estimate:
    """The same from the draws of 16 exact runs."""
    model = tempered(SLOPE, lambda f: mcmc.random_walk(f, 0.8))
    many = smc.replicate(jax.random.key(1), 16, model, jnp.linspace(0.0, 1.0, 9), count)

    def density(x, slope):
        return log_prior(x) + log_likelihood(x, slope)

    if statistic == "log Z":
        return gradients.log_normalizer(many, density, jnp.float32(SLOPE))
    return gradients.expectation(many, lambda x, slope: x, density, jnp.float32(SLOPE))


def accept(key, x, new, log_ratio):
    """Accept or reject, as a derivative that goes through it sees it."""
    return jnp.where(jnp.log1p(-jax.random.uniform(key, x.shape)) < log_ratio, new, x)


def naive_chain(kind: str, sigma, key, chains: int, num_steps: int = 10):
    """E x² after a few steps of chains that start in the exact law N(0, σ²) with x = σξ held fixed at σ = 1."""
    start, rest = jax.random.split(key)

    def log_density(x):
        return -0.5 * x**2 / sigma**2

    slope = jax.vmap(jax.grad(log_density))

    def hmc(x, k):
        one, two = jax.random.split(k)
        p = first = jax.random.normal(one, x.shape)
        new, h = x, 0.9
        for _ in range(3):
            p = p + 0.5 * h * slope(new)
            new = new + h * p
            p = p + 0.5 * h * slope(new)
        return accept(two, x, new, log_density(new) - log_density(x) + 0.5 * (first**2 - p**2))

    def mala(x, k):
        one, two = jax.random.split(k)
        h = 0.5
        new = x + h * slope(x) + jnp.sqrt(2 * h) * jax.random.normal(one, x.shape)
        forth, back = (new - x - h * slope(x)) ** 2, (x - new - h * slope(new)) ** 2
        return accept(two, x, new, log_density(new) - log_density(x) + (forth - back) / (4 * h))

    step = hmc if kind == "HMC" else mala
    x = jax.random.normal(start, (chains,))
    x, _ = jax.lax.scan(lambda x, k: (step(x, k), None), x, jax.random.split(rest, num_steps))
    return jnp.mean(x**2)


def identity_chain(kind: str, num_steps: int) -> smc.Estimate:
    """Cov(x², ∂ log γ) over the draws of 64 exact chains."""
    make = {"HMC": lambda f: mcmc.hmc(f, 0.9, 3), "MALA": lambda f: mcmc.mala(f, 0.5)}[kind]
    kernel = make(lambda x: -0.5 * x**2)
    run = fk.run_chain(
        jax.random.key(2),
        kernel,
        jax.random.normal(jax.random.key(3), (64,)),
        num_steps,
        collect=lambda state, info: state.position,
        num_chains=64,
    )
    return gradients.expectation(
        run.collected, lambda x, sigma: x**2, lambda x, sigma: -0.5 * x**2 / sigma**2, jnp.float32(1.0)
    )


def refuses(kind: str) -> bool:
    """Whether differentiating the library's own kernel raises."""

    def last(sigma):
        make = {"HMC": lambda f: mcmc.hmc(f, 0.9, 3), "MALA": lambda f: mcmc.mala(f, 0.5)}[kind]
        return fk.run_chain(jax.random.key(0), make(lambda x: -0.5 * x**2 / sigma**2), jnp.float32(0.3), 3).position

    try:
        jax.grad(last)(1.0)
    except fk.FkdiffError:
        return True
    return False


def refuses_smc() -> bool:
    """Whether differentiating a run with plain resampling raises."""

    def value(slope):
        model = tempered(slope, lambda f: mcmc.ula(f, 0.02))
        return fk.run_smc(jax.random.key(0), model, jnp.linspace(0.0, 1.0, 9), 8).log_normalizer

    try:
        jax.grad(value)(SLOPE)
    except fk.FkdiffError:
        return True
    return False


def case_rows(quick: bool) -> list[dict]:
    """The four cases."""
    count, runs, chains, steps = (500, 8, 2000, 500) if quick else (2000, 64, 20_000, 5000)
    rows = []
    for name, truth in truths().items():
        kind = name.rsplit(" ", 1)[-1]
        if kind in ("HMC", "MALA"):
            keys = jax.random.split(jax.random.key(4), 8)
            slope = jax.jit(jax.vmap(jax.grad(lambda s, k, kind=kind: naive_chain(kind, s, k, chains)), (None, 0)))
            naive, found, refused = (
                np.asarray(slope(jnp.float32(1.0), keys)),
                identity_chain(kind, steps),
                refuses(kind),
            )
        else:
            naive, found, refused = naive_smc(name, count, runs), identity_smc(name, count), True
        row = {
            "derivative of": name,
            "truth": truth,
            "naive": naive.mean(),
            "naive se": naive.std() / len(naive) ** 0.5,
        }
        value, error = float(found.value), float(found.standard_error)
        rows.append(row | {"identity": value, "se": error, "z": (value - truth) / error, "naive refused": refused})
    print(table(rows), flush=True)
    return rows


def learn(loss, params, steps: int, rate: float) -> tuple:
    """Adam on a loss of (params, key); the history of its values and the last parameters."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    optimiser = optax.adam(schedule)

    @jax.jit
    def update(carry, key):
        params, state = carry
        value, slope = jax.value_and_grad(loss)(params, key)
        change, state = optimiser.update(slope, state, params)
        return (optax.apply_updates(params, change), state), value

    keys = jax.random.split(jax.random.key(5), steps)
    (params, _), values = jax.lax.scan(update, (params, optimiser.init(params)), keys)
    return np.asarray(values), params


def annealed(quick: bool) -> tuple[dict, np.ndarray]:
    """Step sizes at 9 knots for 16 unadjusted steps from N(0, I) to a narrow normal law; bounds before and after."""
    target = fk.targets.gaussian(jnp.array([1.5, -0.5]), jnp.diag(jnp.array([0.02, 0.05])))
    grid = jnp.linspace(0.0, 1.0, 17)

    def prior(x):
        return -0.5 * jnp.sum(x**2) - jnp.log(2 * jnp.pi)

    def run(log_steps, key, count):
        draw = lambda k: jax.random.normal(k, (2,))  # noqa: E731
        model = smc.unadjusted(prior, lambda x: target.log_prob(x) - prior(x), draw, jnp.exp(log_steps))
        return fk.run_smc(key, model, grid, count, resample=smc.never)

    def loss(log_steps, key):
        return -run(log_steps, key, 256).log_weights.mean()

    best = max(
        (float(-loss_at), h)
        for h in (0.003, 0.005, 0.007, 0.01, 0.014, 0.02, 0.03, 0.05)
        for loss_at in [-run(jnp.full(9, np.log(h)), jax.random.key(9), 20_000).log_weights.mean()]
    )
    history, learned = learn(loss, jnp.full(9, np.log(0.01)), 30 if quick else 1000, 0.03)
    after = run(learned, jax.random.key(9), 20_000)
    row = {
        "best constant step": best[1],
        "bound, best constant step": best[0],
        "bound, learned schedule": float(after.log_weights.mean()),
        "log Ẑ, learned": float(after.log_normalizer),
        "step sizes": [float(h) for h in np.exp(learned)],
        "log Z": 0.0,
    }
    return row, -history


A, B, S, K = 0.9, 0.6, 0.5, 8  # x' = A x + B ξ, y = x + S η
DATA = np.random.default_rng(3).normal(size=K + 1).cumsum() * 0.7


def exact_twists() -> np.ndarray:
    """(p_k, q_k/p_k) of ψ_k(x) = p(y_k, …, y_K | x) ∝ exp(−½ p x² + q x), by the backward recursion, in NumPy."""
    twists = [(1 / S**2, DATA[K] / S**2)]
    for k in range(K - 1, -1, -1):
        p, q = twists[0]
        width = 1 + p * B**2
        twists.insert(0, (1 / S**2 + p * A**2 / width, DATA[k] / S**2 + q * A / width))
    return np.array([(p, q / p) for p, q in twists])


def kalman() -> float:
    """log p(y), in NumPy."""
    mean, variance, total = 0.0, 1.0, 0.0
    for k, y in enumerate(DATA):
        if k:
            mean, variance = A * mean, A**2 * variance + B**2
        spread = variance + S**2
        total += -0.5 * (np.log(2 * np.pi * spread) + (y - mean) ** 2 / spread)
        mean, variance = mean + variance / spread * (y - mean), variance * S**2 / spread
    return total


def twisted(params):
    """The model whose moves are M ψ_k, normalised, with potentials that make up for it; twists (K + 1, 2)."""
    p, data = jax.nn.softplus(params[:, 0]), jnp.asarray(DATA, jnp.float32)
    q = p * params[:, 1]

    def moved(mean, variance, k):
        """The normal law ∝ N(x; mean, variance) ψ_k(x): its mean, variance and log-normaliser."""
        precise = 1 / variance + p[k]
        centre = (mean / variance + q[k]) / precise
        gain = 0.5 * (centre**2 * precise - mean**2 / variance) - 0.5 * jnp.log(variance * precise)
        return centre, 1 / precise, gain

    def log_g(x, k):
        """Observation over twist, times what the next move will be short of."""
        log_y = -0.5 * (jnp.log(2 * jnp.pi * S**2) + (data[k] - x) ** 2 / S**2)
        ahead = moved(A * x, B**2, jnp.minimum(k + 1, K))[2]
        return log_y - (q[k] * x - 0.5 * p[k] * x**2) + jnp.where(k < K, ahead, 0.0)

    def initial(key):
        mean, variance, gain = moved(jnp.zeros(()), jnp.ones(()), 0)
        x = mean + jnp.sqrt(variance) * jax.random.normal(key)
        return x, gain + log_g(x, 0)

    def propose(key, x, t0, t1):
        mean, variance, _ = moved(A * x, B**2, jnp.round(t1).astype(jnp.int32))
        return mean + jnp.sqrt(variance) * jax.random.normal(key)

    def log_potential(before, x, t0, t1):
        return log_g(x, jnp.round(t1).astype(jnp.int32))

    return fk.FeynmanKac(initial, propose, log_potential)


def learned_twist(quick: bool) -> tuple[dict, np.ndarray]:
    """A twist from nothing, by climbing E log w of single particles; compared with the exact one.

    Of many particles together, log Ẑ is a tighter bound whose derivative says less about each (Rainforth et al., 2018):
    the same steps with 32 stop short.
    """
    grid = jnp.arange(K + 1.0)

    def loss(params, key):
        return -fk.run_smc(key, twisted(params), grid, 64, resample=smc.never).log_weights.mean()

    history, params = learn(loss, jnp.zeros((K + 1, 2)), 60 if quick else 3000, 0.1)

    def spread(params):
        keys = jax.random.split(jax.random.key(11), 200)
        run = jax.jit(lambda keys: jax.lax.map(lambda k: fk.run_smc(k, twisted(params), grid, 32).log_normalizer, keys))
        values = np.asarray(run(keys), np.float64)
        return float(values.std()), float(values.mean())

    found = np.stack([np.log1p(np.exp(params[:, 0])), params[:, 1]], axis=1)
    before, after = spread(jnp.zeros((K + 1, 2))), spread(params)
    row = {
        "log p(y)": kalman(),
        "sd of log Ẑ before": before[0],
        "sd of log Ẑ after": after[0],
        "mean of log Ẑ after": after[1],
        "largest error of a precision": float(np.abs(found - exact_twists())[:, 0].max()),
        "largest precision": float(exact_twists()[:, 0].max()),
        "largest error of a centre": float(np.abs(found - exact_twists())[:, 1].max()),
    }
    return row, -history


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    cases = case_rows(args.quick)
    (schedule, climbs), (twist, approaches) = annealed(args.quick), learned_twist(args.quick)
    print(schedule, twist, sep="\n")
    save(args, "gradients", cases, draw(cases, climbs, schedule, approaches), schedule=schedule, twist=twist)


def smooth(values: np.ndarray, width: int = 25) -> np.ndarray:
    """Means over a moving window, for the eye."""
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def draw(cases, climbs, schedule, approaches) -> Figure:
    """The four cases, and both climbs."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    one, two, three = figure.subplots(1, 3)
    places = np.arange(len(cases))
    one.bar(places - 0.2, [row["naive"] for row in cases], 0.4, label="naive", color="#c0692f")
    one.errorbar(
        places + 0.2,
        [row["identity"] for row in cases],
        yerr=[4 * row["se"] for row in cases],
        fmt="o",
        color="#1f6f8b",
        label="identity ± 4 se",
    )
    one.plot(places, [row["truth"] for row in cases], "k_", ms=22, label="truth")
    one.axhline(0.0, color="0.7", lw=0.6)
    one.set_xticks(places, [row["derivative of"].replace(" by ", "\n") for row in cases], fontsize=8)
    one.set_title("derivatives", fontsize=9)
    one.legend(fontsize=7, loc="upper left")
    two.plot(smooth(climbs), lw=0.8, color="#1f6f8b")
    two.axhline(schedule["bound, best constant step"], color="0.5", ls=":")
    two.set_title("annealed bound; dotted: best constant step", fontsize=9)
    three.plot(np.abs(kalman() - smooth(approaches)), lw=0.8, color="#1f6f8b")
    three.set_yscale("log")
    three.set_title("|log p(y) − E log w| of a learned twist", fontsize=9)
    for axes in (two, three):
        axes.set_xlabel("step of Adam")
    return figure


if __name__ == "__main__":
    main()
