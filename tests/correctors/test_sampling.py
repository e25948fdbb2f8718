"""Answers against quadrature, and what planted bugs do to them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
import fkdiff.correctors as fkc
from fkdiff.correctors import population, refresh, steps

PATH = fk.paths.linear()
MIXTURE = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
A = MIXTURE.predictor(PATH)
C = fk.targets.gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4]).predictor(PATH)


def hill(x):
    return -0.75 * (x[0] - 1.0) ** 2


# Mean, P(x < 0) and log Z by quadrature, as in maths: never equal to those of the models themselves.
GOLDEN = {
    "A²": (lambda: fkc.anneal(A, 2.0), (0.7036, 0.2308, -1.4973)),
    "A^½": (lambda: fkc.anneal(A, 0.5), (0.3346, 0.3876, 0.9095)),
    "A⁻¹C²": (lambda: fkc.guidance(C, A, 2.0), (-0.6657, 0.8631, 0.8997)),
    "(AC)²": (lambda: fkc.anneal(fkc.product([A, C]), 2.0), (0.4437, 0.3771, -4.6907)),
    "A·tilt": (lambda: fkc.tilt(A, hill), (1.2450, 0.0181, -0.7847)),
}
# Eight standard deviations of one run at N = 4,096, rounded up, and the step's own error.
BOUNDS = np.array([0.2, 0.07, 0.06])


def answers(out):
    weights = jax.nn.softmax(out.log_weights)
    x = out.particles[:, 0]
    return np.array([weights @ x, weights @ (x < 0).astype(x.dtype), out.log_normalizer])


@pytest.mark.parametrize("name", [n if n == "A·tilt" else pytest.param(n, marks=pytest.mark.slow) for n in GOLDEN])
def test_controlled_flow_agrees_with_quadrature(name):
    build, truth = GOLDEN[name]
    out = fk.check(fk.run_smc(jax.random.key(0), build().feynman_kac(), fk.grid(24, PATH), 4096))
    assert np.all(np.abs(answers(out) - truth) <= BOUNDS)
    assert float(jnp.min(out.info.ess)) >= 0.6 * 4096


@pytest.mark.parametrize("name", ["A²", pytest.param("A⁻¹C²", marks=pytest.mark.slow)])
def test_exponential_step_agrees_with_quadrature(name):
    build, truth = GOLDEN[name]
    model = build().feynman_kac("exponential", 2.0)
    out = fk.check(fk.run_smc(jax.random.key(0), model, fk.grid(96, PATH), 4096))
    assert np.all(np.abs(answers(out) - truth) <= BOUNDS + 0.1 * (np.arange(3) == 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A²", pytest.param("A·tilt", marks=pytest.mark.slow)])
def test_resampling_and_refresh_change_no_answer(name):
    """A threshold that forces resampling at every step, with Langevin moves after each."""
    build, truth = GOLDEN[name]
    rule = fk.smc.adaptive(fk.smc.systematic, 1.0)
    out = fk.run_smc(
        jax.random.key(0), build().feynman_kac(refresh=3), fk.grid(24, PATH), 4096, resample=rule, safety=False
    )
    assert int(out.info.resamplings) >= 15
    assert np.all(np.abs(answers(out) - truth) <= BOUNDS)
    # Duplicates of a deterministic flow are identical for ever; refreshed ones are not.
    assert len(np.unique(out.particles)) >= 3900


@pytest.mark.slow
def test_models_on_two_paths_multiply():
    other = fk.paths.cosine()
    far = fk.targets.gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4]).predictor(other)
    target = fkc.product([A, far])
    times = jnp.linspace(0.011, 0.989, 65)
    out = fk.check(fk.run_smc(jax.random.key(0), target.feynman_kac(), times, 4096))
    assert np.all(np.abs(answers(out) - np.array([0.2891, 0.4210, -1.7601])) <= BOUNDS)


@pytest.mark.slow
def test_tilt_on_the_clean_estimate_has_the_same_end():
    out = fk.run_smc(jax.random.key(0), fkc.tilt(A, hill, on="clean").feynman_kac(), fk.grid(24, PATH), 4096)
    assert np.all(np.abs(answers(fk.check(out)) - GOLDEN["A·tilt"][1]) <= BOUNDS)


def squared_mixture(t, count, seed):
    """Exact draws and the CDF of q_t², a mixture of products of pairs."""
    law = MIXTURE.at(PATH, t)
    m, v, w = (np.asarray(a, np.float64).reshape(-1) for a in (law.means, law.variances, law.weights))
    i, j = (a.reshape(-1) for a in np.meshgrid(range(2), range(2), indexing="ij"))
    total = v[i] + v[j]
    weight = w[i] * w[j] * np.exp(-0.5 * (m[i] - m[j]) ** 2 / total) / np.sqrt(2 * np.pi * total)
    mean, variance = (m[i] * v[j] + m[j] * v[i]) / total, v[i] * v[j] / total
    weight = weight / weight.sum()
    rng = np.random.default_rng(seed)
    pick = rng.choice(4, size=count, p=weight)
    from scipy.stats import norm

    draws = mean[pick] + np.sqrt(variance[pick]) * rng.normal(size=count)
    return draws, lambda x: (weight * norm.cdf((x[:, None] - mean) / np.sqrt(variance))).sum(axis=1)


def departure(log_snr, known=True, count=2**14, seed=0):
    """Kolmogorov distance after six refreshing moves from the exact law, and the mean squared jump."""
    t = PATH.time(jnp.asarray(log_snr))
    pred = A if known else fk.Predictor(path=PATH, rule=A.rule, shape=A.shape)
    model = fkc.anneal(pred, 2.0).feynman_kac()
    draws, cdf = squared_mixture(t, count, seed)
    x = jnp.asarray(draws[:, None], jnp.float32)
    moved = np.asarray(eqx.filter_jit(model.refresh)(jax.random.key(seed), x, t), np.float64)[:, 0]
    u = np.sort(cdf(moved))
    grid = np.arange(1, count + 1) / count
    distance = max(np.max(grid - u), np.max(u - grid + 1 / count))
    return distance, np.mean((moved - draws) ** 2) / np.var(draws)


DKWM = np.sqrt(np.log(2 / 1e-8) / (2 * 2**14))  # rejects a true law once in 1e8 tests


@pytest.mark.parametrize("log_snr", [-1.0, 2.0, 6.0])
def test_refresh_leaves_the_law_alone_and_moves(log_snr):
    distance, jump = departure(log_snr)
    assert distance <= DKWM
    assert jump >= 0.005


def test_refresh_without_densities_is_close():
    assert departure(0.0, known=False)[0] <= DKWM + 0.01


def test_refresh_that_ignores_the_force_of_the_proposal_is_caught(monkeypatch):
    """Planted bug: the drift of the proposal is left out of the ratio."""
    plain = refresh.dot
    monkeypatch.setattr(refresh, "ETA", 0.3)
    assert departure(1.0)[0] <= DKWM
    monkeypatch.setattr(refresh, "dot", lambda a, b: 0 * plain(a, b))
    jax.clear_caches()
    assert not departure(1.0)[0] <= DKWM
    jax.clear_caches()


@pytest.mark.slow
def test_probe_kept_along_a_trajectory_is_caught(monkeypatch):
    """Planted bug: one probe per particle for all steps biases log Z; fresh probes do not."""
    path = fk.paths.linear()
    mixture = fk.targets.gaussian_mixture([[-2.0, 0.5], [1.5, -0.5]], [[0.05, 0.9], [0.9, 0.05]], [0.4, 0.6])
    target = fkc.anneal(mixture.predictor(path), 3.0)

    def log_z(divergence, seeds=3):
        model = target.feynman_kac("heun", divergence=divergence)
        outs = [fk.run_smc(jax.random.key(s), model, fk.grid(64, path), 4096, safety=False) for s in range(seeds)]
        return np.mean([float(out.log_normalizer) for out in outs])

    exact, fresh = log_z("exact"), log_z("probe")
    assert abs(fresh - exact) <= 0.05
    original = population.Corrector.fields

    def kept(self, key, x, log_weights, t):
        return original(self, jax.random.key(5), x, log_weights, t)

    monkeypatch.setattr(population.Corrector, "fields", kept)
    jax.clear_caches()
    assert not abs(log_z("probe") - exact) <= 0.05


MUTANTS = {
    "no weights from control": lambda mp: mp.setattr(
        steps, "controlled", lambda m, f, w, t, c=steps.controlled: c(m, f, w, t)._replace(rates=f.rate)
    ),
    "control drift forgotten": lambda mp: mp.setattr(
        steps, "controlled", lambda m, f, w, t, c=steps.controlled: c(m, f, w, t)._replace(velocity=f.velocity)
    ),
    "constants forgotten": lambda mp: mp.setattr(population.gaussian, "log_growth", lambda *a: jnp.zeros(())),
    "start forgotten": lambda mp: mp.setattr(population.gaussian, "log_start", lambda *a: jnp.ones(())),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_planted_bugs_are_caught(name, monkeypatch):
    # Constants grow on a variance-exploding path; on the linear one they end where they began.
    path = fk.paths.variance_exploding() if name == "constants forgotten" else PATH
    pred = MIXTURE.predictor(path)
    if name == "start forgotten":  # the exact start corrects itself, whatever constant it is given
        pred = fk.Predictor(path=path, rule=pred.rule, shape=pred.shape)

    def found():
        jax.clear_caches()
        return answers(fk.run_smc(jax.random.key(0), fkc.anneal(pred, 2.0).feynman_kac(), fk.grid(32, path), 4096))

    truth = GOLDEN["A²"][1]
    assert np.all(np.abs(found() - truth) <= BOUNDS)
    MUTANTS[name](monkeypatch)
    assert not np.all(np.abs(found() - truth) <= BOUNDS)
    jax.clear_caches()


def replicated_bias(model, path, count=32, runs=2048):
    """Mean error of log Z of A² over many small populations, with its standard error."""
    runs = fk.replicate(jax.random.key(2), runs, model, fk.grid(24, path), count, safety=False).runs
    # The truth of the law that is reached: 7e-5 below that of the data.
    errors = np.asarray(runs.log_normalizer, np.float64) - (-1.4973 - 7e-5)
    return errors.mean(), errors.std() / np.sqrt(len(errors))


@pytest.mark.slow
def test_frozen_control_is_unbiased_where_fitted_control_is_not():
    path = fk.paths.variance_preserving()
    fitted = fkc.anneal(MIXTURE.predictor(path), 2.0).feynman_kac("rk4")
    frozen = fk.smc.freeze(jax.random.key(1), fitted, fk.grid(24, path), 1024)
    bias, error = replicated_bias(frozen, path)
    # E log Ẑ lies half a variance, 1e-3, below log E Ẑ.
    assert abs(bias) <= 5 * error + 2e-3
    assert error <= 1.5e-3
    bias, error = replicated_bias(fitted, path)
    assert not abs(bias) <= 5 * error + 2e-3


@pytest.mark.slow
def test_frozen_control_serves_any_grid_and_step():
    truth = GOLDEN["A⁻¹C²"][1]
    fitted = fkc.guidance(C, A, 2.0).feynman_kac()
    frozen = fk.smc.freeze(jax.random.key(1), fitted, fk.grid(16, PATH), 512)
    assert frozen.schedule is not None
    assert fitted.schedule is None
    out = fk.check(fk.run_smc(jax.random.key(0), frozen, fk.grid(24, PATH), 4096, safety=False))
    assert np.all(np.abs(answers(out) - truth) <= BOUNDS)
    assert float(jnp.min(out.info.ess)) >= 0.6 * 4096
