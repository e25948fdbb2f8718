"""Token models against laws that are listed whole: every expectation here is a sum over all V^L sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import discrete
from fkdiff.discrete import correctors

KEY = jax.random.key(0)
V, L = 3, 3
RNG = np.random.default_rng(5)
TABLES = {name: RNG.normal(size=V**L) * scale for name, scale in {"q": 1.3, "other": 1.0}.items()}
LAW, OTHER = (discrete.enumerated(TABLES[name], V, L) for name in TABLES)
MASKED, UNIFORM = discrete.masked(V), discrete.uniform(V)
PRED, PRED_OTHER = LAW.predictor(MASKED), OTHER.predictor(MASKED)
GRID = jnp.linspace(0.0, 1.0, L + 1)
STATES = np.array(list(itertools.product(range(V), repeat=L)))


def log_softmax(values):
    return values - np.log(np.exp(values - values.max()).sum()) - values.max()


Q, OTHER_Q = (log_softmax(TABLES[name]) for name in TABLES)


def reward(tokens):
    return jnp.where(tokens[0] == tokens[2], 1.5, 0.0) - 0.8 * jnp.abs(tokens[1].astype(jnp.float32) - 1)


def host_reward(states):
    return 1.5 * (states[:, 0] == states[:, 2]) - 0.8 * np.abs(states[:, 1] - 1)


# name: (model builder, log-masses of the law)
LAWS = {
    "anneal": (lambda: discrete.anneal(PRED, 2.3), 2.3 * Q),
    "flatten": (lambda: discrete.anneal(PRED, 0.4), 0.4 * Q),
    "product": (lambda: discrete.product([PRED, PRED_OTHER], [0.7, 1.6]), 0.7 * Q + 1.6 * OTHER_Q),
    "guidance": (lambda: discrete.guidance(PRED_OTHER, PRED, 1.8), -0.8 * Q + 1.8 * OTHER_Q),
    "annealed product": (lambda: discrete.anneal(discrete.product([PRED, PRED_OTHER]), 1.4), 1.4 * (Q + OTHER_Q)),
}


def check_law(model, log_masses, grid=GRID, count=4096, populations=4, law=LAW):
    """Total variation at most 3/√N of all particles together, and log Z in its own standard errors."""
    many = fk.replicate(KEY, populations, model, grid, count)
    n = law.sequences.shape[0]
    rows = law.index(many.runs.particles)
    found = _masses(many, rows, n)
    truth = np.exp(log_softmax(np.asarray(log_masses, np.float64)))
    assert 0.5 * np.abs(found - truth).sum() <= 3 / np.sqrt(count * populations)
    log_z = log_masses.max() + np.log(np.exp(log_masses - log_masses.max()).sum())
    evidence = many.evidence
    # Three degrees of freedom: one false alarm in 10⁴ at 16 errors; 0.03 nats bound how wide they may be.
    assert abs(float(evidence.value) - log_z) <= 16 * float(evidence.standard_error) + 1e-5
    assert float(evidence.standard_error) <= 0.03


def _masses(many, rows, n):
    within = np.asarray(jax.nn.softmax(many.runs.log_weights, axis=1), np.float64)
    shares = np.exp(np.asarray(many.runs.log_normalizer, np.float64) - float(many.runs.log_normalizer.max()))
    weights = within * (shares / shares.sum())[:, None]
    return np.bincount(np.asarray(rows).reshape(-1), weights=weights.reshape(-1), minlength=n)


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["masked", "uniform"])
def test_the_exact_denoiser_is_bayes(process):
    """Against a sum over all clean sequences in plain NumPy."""
    t = 0.35
    noisy = np.array([V, 1, V]) if process is MASKED else np.array([2, 1, 0])
    same = noisy[None, :] == STATES
    if process is MASKED:
        likelihood = np.where(same, t, np.where(noisy == V, 1 - t, 0.0)).prod(axis=1)
    else:
        likelihood = (t * same + (1 - t) / V).prod(axis=1)
    joint = np.exp(Q) * likelihood
    truth = np.array([[joint[STATES[:, l] == v].sum() for v in range(V)] for l in range(L)]) / joint.sum()
    found = np.exp(LAW.predictor(process)(jnp.asarray(noisy, jnp.int32), t))
    np.testing.assert_allclose(found, truth, atol=1e-5)


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["masked", "uniform"])
def test_a_step_is_bayes_for_one_token(process):
    """L = 1: the factorised step is exact, so p(x₁ | x₀) = Σ_clean q(x₀ | x₁) q(x₁ | clean) p(clean) / p(x₀)."""
    t0, t1 = 0.2, 0.65
    clean = np.array([0.5, 0.2, 0.3])
    states = V + 1 if process is MASKED else V
    noise = np.eye(states)[V] if process is MASKED else np.full(V, 1 / V)

    def kept(a):
        return a * np.eye(states) + (1 - a) * noise[None, :]

    prior = np.append(clean, 0.0)[:states]
    later = prior @ kept(t1)
    back = kept(t0 / t1)  # from x₁ to x₀
    law = discrete.enumerated(np.log(clean), V, 1)
    for x0 in range(states):
        truth = later * back[:, x0] / (later @ back)[x0]
        step = discrete.transition(law.predictor(process), jnp.array([x0], jnp.int32), jnp.array(t0), jnp.array(t1))
        np.testing.assert_allclose(np.exp(step.log_probs[0])[:states], truth, atol=1e-5)
        assert abs(np.exp(step.log_probs[0]).sum() - 1) <= 1e-5


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["masked", "uniform"])
def test_plain_samples_follow_the_law_as_steps_grow(process):
    def distance(steps):
        draws = discrete.sample(KEY, LAW.predictor(process), jnp.linspace(0.0, 1.0, steps + 1), 4096)
        found = np.bincount(np.asarray(LAW.index(draws)), minlength=V**L) / 4096
        return 0.5 * np.abs(found - np.exp(Q)).sum()

    assert distance(64) <= 3 / np.sqrt(4096)
    assert distance(1) > 0.1  # tokens drawn at once, as if independent, do not


def named():
    """Every law in every order; the fast tier takes one order of each law and every order of one."""
    for name in LAWS:
        for order in ("random", "left-to-right", "confidence"):
            marks = () if order == "random" or name == "anneal" else pytest.mark.slow
            yield pytest.param(name, order, marks=marks, id=f"{name}-{order}")


@pytest.mark.parametrize("name, order", list(named()))
def test_targets_are_the_laws_they_name(name, order):
    build, log_masses = LAWS[name]
    check_law(build().feynman_kac(order), log_masses)


BUGS = {
    "mass forgotten": lambda right: lambda self, *a: right(self, *a)._replace(log_mass=jnp.zeros(())),
    "position lost": lambda right: lambda self, *a: _without_last(right(self, *a)),
}


def _without_last(state):
    return state._replace(tokens=state.tokens.at[-1].set(0))


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["mass forgotten", pytest.param("position lost", marks=pytest.mark.slow)])
def test_planted_bugs_are_found(monkeypatch, bug):
    monkeypatch.setattr(correctors.DiscreteTarget, "reveal", BUGS[bug](correctors.DiscreteTarget.reveal))
    jax.clear_caches()
    with pytest.raises(AssertionError):
        check_law(discrete.anneal(PRED, 2.3).feynman_kac(), 2.3 * Q)
    jax.clear_caches()


@pytest.mark.slow
def test_an_exponent_that_is_off_is_found():
    with pytest.raises(AssertionError):
        check_law(discrete.anneal(PRED, 2.3).feynman_kac(), 2.1 * Q)


def test_the_evidence_is_unbiased_for_four_particles():
    many = fk.replicate(KEY, 2**13, discrete.anneal(PRED, 1.7).feynman_kac(), GRID, 4, resample=fk.smc.systematic)
    relative = np.exp(np.asarray(many.runs.log_normalizer, np.float64) - np.log(np.exp(1.7 * Q).sum()))
    assert abs(relative.mean() - 1) <= 6 * relative.std() / np.sqrt(len(relative))
    assert relative.std() > 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    "potential",
    ["difference", pytest.param("terminal", marks=pytest.mark.slow), pytest.param("max", marks=pytest.mark.slow)],
)
def test_steered_sequences(potential):
    model = fk.steer(PRED, discrete.unmask(), reward, potential=potential, strength=1.3, estimate="draws")
    check_law(model, Q + 1.3 * host_reward(STATES))


@pytest.mark.slow
def test_a_target_can_be_steered():
    target = discrete.guidance(PRED_OTHER, PRED, 1.8)
    check_law(fk.steer(target, discrete.unmask("confidence"), reward), LAWS["guidance"][1] + host_reward(STATES))


def test_what_one_factor_forbids_is_forbidden():
    holes = TABLES["q"].copy()
    holes[::4] = -np.inf
    pred = discrete.enumerated(holes, V, L).predictor(MASKED)
    finite = np.where(np.isfinite(holes), log_softmax(holes), -1e9)
    # Nested models: both forbid the same, and the negative power must not bring it back.
    check_law(discrete.product([pred, PRED], [1.5, 0.5]).feynman_kac(), 1.5 * finite + 0.5 * Q)
    check_law(discrete.guidance(pred, pred, 1.7).feynman_kac(), finite)


# Ising -----------------------------------------------------------------------------------------------------

CRITICAL = float(np.log(1 + np.sqrt(2)) / 2)
LOG_Z = 15.5219


@pytest.fixture(scope="module")
def energies():
    spins = 2 * np.array(list(itertools.product((0, 1), repeat=16)), np.int8).reshape(-1, 4, 4) - 1
    return (spins * (np.roll(spins, 1, 1).astype(int) + np.roll(spins, 1, 2))).sum(axis=(1, 2)).astype(float)


def test_ising_by_enumeration(energies):
    log_z = np.log(np.exp(CRITICAL * (energies - energies.max())).sum()) + CRITICAL * energies.max()
    assert abs(log_z - LOG_Z) <= 5e-5
    law = discrete.ising(CRITICAL)
    np.testing.assert_allclose(law.log_masses, CRITICAL * energies - log_z, atol=1e-4)


def bonds(tokens):
    spins = 2.0 * tokens.astype(jnp.float32).reshape(4, 4) - 1
    return jnp.sum(spins * (jnp.roll(spins, 1, 0) + jnp.roll(spins, 1, 1)))


@pytest.mark.slow
def test_ising_from_coin_flips():
    """16 log 2 + log E e^{βE} over independent fair spins, steered one spin at a time."""
    process = discrete.masked(2)
    coins = discrete.denoiser(process, lambda params, tokens, t, cond: jnp.zeros((16, 2)), (), 16)
    model = fk.steer(
        coins, discrete.unmask("left-to-right"), bonds, strength=CRITICAL, estimate=fk.steering.clean_draws(32)
    )
    many = fk.replicate(KEY, 8, model, jnp.linspace(0.0, 1.0, 17), 4096)
    evidence = many.evidence
    assert float(evidence.standard_error) <= 0.03
    assert abs(float(evidence.value) + 16 * np.log(2) - LOG_Z) <= 8 * float(evidence.standard_error)


@pytest.mark.slow
def test_ising_cooled_from_a_hotter_one(energies):
    """q hot; q^{β_c/β_hot} has log Z_c − (β_c/β_hot) log Z_hot."""
    hot = 0.6 * CRITICAL
    log_z_hot = np.log(np.exp(hot * (energies - energies.max())).sum()) + hot * energies.max()
    model = discrete.anneal(discrete.ising(hot).predictor(discrete.masked(2)), CRITICAL / hot).feynman_kac()
    many = fk.replicate(KEY, 4, model, jnp.linspace(0.0, 1.0, 17), 256, chunk=32)
    evidence = many.evidence
    log_z = float(evidence.value) + CRITICAL / hot * log_z_hot
    assert float(evidence.standard_error) <= 0.2
    assert abs(log_z - LOG_Z) <= 16 * float(evidence.standard_error)


WRONG = {
    "cold to negative": (lambda: discrete.anneal(PRED, -1.0), "must be"),
    "not a model": (lambda: discrete.anneal(LAW, 2.0), "pass a DiscretePredictor"),
    "nothing": (lambda: discrete.product([]), "at least one denoiser"),
    "exponents": (lambda: discrete.product([PRED], [1.0, 2.0]), "one exponent per denoiser"),
    "vocabularies": (
        lambda: discrete.product([PRED, discrete.enumerated(np.zeros(8), 2, 3).predictor(discrete.masked(2))]),
        "one space of sequences",
    ),
    "process of another vocabulary": (lambda: LAW.predictor(discrete.masked(4)), "they must agree"),
    "one token": (lambda: discrete.masked(1), "vocab_size=1"),
    "table of another size": (lambda: discrete.enumerated(np.zeros(5), 3, 3), "one for each"),
    "too many": (lambda: discrete.enumerated(np.zeros(5), 10, 10), "too many for a table"),
    "order": (lambda: discrete.anneal(PRED, 2.0).feynman_kac("randm"), 'did you mean "random"'),
    "solver of the plane": (lambda: fk.steer(PRED, fk.solvers.ddim(eta=1.0), reward), "fkdiff.discrete.unmask"),
    "gradient": (lambda: fk.steer(PRED, discrete.unmask(), reward, proposal="twisted"), "tokens do not have"),
    "vector reward": (
        lambda: fk.run_smc(KEY, fk.steer(PRED, discrete.unmask(), lambda x: x), GRID, 8),
        "one number in nats",
    ),
    "wrong logits": (
        lambda: discrete.sample(KEY, discrete.denoiser(MASKED, lambda p, x, t, c: jnp.zeros((2, 9)), (), L), GRID, 4),
        "one logit per position and token",
    ),
    "grid": (lambda: discrete.sample(KEY, PRED, jnp.array([0.2, 1.0]), 4), "from 0 (noise) to 1"),
    "floats": (lambda: PRED(jnp.zeros(L), 0.5), "int32 tokens"),
    "batch": (lambda: PRED(jnp.zeros((2, L), jnp.int32), 0.5), "jax.vmap over many"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError) as raised:
        wrong()
    assert words in str(raised.value)
