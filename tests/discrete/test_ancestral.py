"""Correctors in time against enumeration: whole laws, computed state by state in double precision."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import discrete
from fkdiff.discrete import ancestral

V, L = 3, 2
STATES = np.array(list(itertools.product(range(V), repeat=L)), np.int32)
LOG_A, LOG_C = np.linspace(0.0, 2.0, V**L) ** 2 / 2, np.cos(np.arange(V**L))
UNIFORM, MASKED = discrete.uniform(V), discrete.masked(V)


def law(log_masses, length=L):
    """Made where it is used: in the precision that holds there."""
    return discrete.enumerated(log_masses, V, length)


def denoisers(process):
    return law(LOG_A).predictor(process), law(LOG_C).predictor(process)


TARGETS = {
    "power 1.7": (lambda p: discrete.anneal(denoisers(p)[0], 1.7), (1.7, 0.0)),
    "product": (lambda p: discrete.product(denoisers(p), [0.8, 0.6]), (0.8, 0.6)),
    "guidance 2.3": (lambda p: discrete.guidance(*denoisers(p), 2.3), (2.3, -1.3)),
}


def truth(exponents):
    """(law, log Z) of A^a C^c."""
    normal = [each - np.logaddexp.reduce(each) for each in (LOG_A, LOG_C)]
    log_mass = exponents[0] * normal[0] + exponents[1] * normal[1]
    return np.exp(log_mass) / np.exp(log_mass).sum(), float(np.log(np.exp(log_mass).sum()))


def chain(target, steps, process, masses=ancestral.step_masses):
    """(law, log Z) of the discretised chain: every transition between all states, and its weight."""
    count = V + isinstance(process, discrete.Masked)
    states = np.array(list(itertools.product(range(count), repeat=target.length)), np.int32)
    start = ancestral.begin(target.factors, jax.random.key(0))
    noise = np.all(states == V, axis=1) if count > V else np.ones(len(states), bool)
    mass = np.exp(float(start.log_mass)) * noise / noise.sum()

    @jax.jit
    def step(t0, t1):
        def rows(tokens):
            state = ancestral.Moving(tokens, jnp.stack([pred(tokens, t0) for _, pred in target.factors]), t0)
            log_w = masses(target.factors, state, t0, t1)  # normalisers are the weights: M(x, y) G(x) = Π w
            return jnp.exp(sum(log_w[i, states[:, i]] for i in range(target.length)))

        return jax.vmap(rows)(jnp.asarray(states))

    grid = np.linspace(0.0, 1.0, steps + 1)
    for t0, t1 in itertools.pairwise(grid):
        rows = np.asarray(step(jnp.asarray(t0), jnp.asarray(t1)))
        mass = mass @ np.where(mass[:, None] > 0, rows, 0)  # nobody is where the mass is 0, and its row means nothing
    clean = np.array(
        [mass[np.all(states == x, axis=1)].sum() for x in itertools.product(range(V), repeat=target.length)]
    )
    assert abs(clean.sum() - mass.sum()) <= 1e-9 * mass.sum()
    return clean / clean.sum(), float(np.log(clean.sum()))


def variation(a, b):
    return 0.5 * np.abs(a - b).sum()


@pytest.mark.x64
@pytest.mark.parametrize("process", [UNIFORM, MASKED], ids=["uniform", "masked"])
def test_one_token_is_exact_in_any_number_of_steps(process):
    one = law(np.array([0.3, 1.4, -0.5]), 1)
    other = law(np.array([-0.2, 0.1, 0.9]), 1)
    target = discrete.guidance(one.predictor(process), other.predictor(process), 2.3)
    mass = np.exp(2.3 * np.asarray(one.log_masses, float) - 1.3 * np.asarray(other.log_masses, float))
    for steps in (1, 3):
        got, log_z = chain(target, steps, process)
        assert variation(got, mass / mass.sum()) <= 1e-12
        assert abs(log_z - np.log(mass.sum())) <= 1e-12

    def without_backward(factors, state, t0, t1):
        """The surplus exponent forgotten: no Q(x | y)^{1−B}."""
        moves = [process.posterior(said, state.tokens, t0, t1) for said in state.said]
        return discrete.powers.power_product([beta for beta, _ in factors], moves)

    squared = discrete.anneal(one.predictor(process), 1.7)
    mass = np.exp(1.7 * np.asarray(one.log_masses, float))
    assert variation(chain(squared, 3, process)[0], mass / mass.sum()) <= 1e-12
    # By symmetry the law of one token does not feel it; its mass does.
    assert abs(chain(squared, 3, process, without_backward)[1] - np.log(mass.sum())) > 1e-2


@pytest.mark.x64
@pytest.mark.parametrize("name", ["guidance 2.3", *(pytest.param(n, marks=pytest.mark.slow) for n in TARGETS)])
@pytest.mark.parametrize("process", [UNIFORM, pytest.param(MASKED, marks=pytest.mark.slow)], ids=["uniform", "masked"])
def test_several_tokens_have_an_error_of_first_order(name, process):
    make, exponents = TARGETS[name]
    right, log_z = truth(exponents)
    errors = []
    for steps in (32, 64):
        got, got_z = chain(make(process), steps, process)
        errors.append((variation(got, right), abs(got_z - log_z)))
    (coarse, coarse_z), (fine, fine_z) = errors
    assert fine <= 0.02
    assert 0.8 <= np.log2(coarse / fine) <= 1.2
    assert 0.8 <= np.log2(coarse_z / fine_z) <= 1.2


@pytest.mark.x64
@pytest.mark.parametrize("exponents", [(1.7, 0.0), (2.3, -0.6)])
def test_rates_and_weights_solve_the_master_equation(exponents):
    """∂_t π̃ = L*π̃ + g π̃ of the limit, with the ratios that denoisers give; and one small step is that limit."""
    t, preds = 0.6, denoisers(UNIFORM)
    noised = lambda log_p, t: np.exp(log_p - np.logaddexp.reduce(log_p)) @ noise(t)  # noqa: E731

    def noise(t):
        """q_t(x | clean), [clean, x]."""
        one = t * np.eye(V) + (1 - t) / V
        return np.kron(one, one)

    def ratios(pred):
        """s(x, y) = q(y)/q(x) between neighbours by the denoiser: Σ_c p(c | x) q(y_l | c)/q(x_l | c)."""
        one = t * np.eye(V) + (1 - t) / V
        table = np.zeros((V**L, V**L))
        for i, x in enumerate(STATES):
            clean = np.exp(np.asarray(pred(jnp.asarray(x), t), float))
            for j, y in enumerate(STATES):
                changed = np.flatnonzero(x != y)
                if len(changed) == 1:
                    (at,) = changed
                    table[i, j] = clean[at] @ (one[:, y[at]] / one[:, x[at]])
        return table

    s = [ratios(pred) for pred in preds]
    neighbours = s[0] > 0
    for log_p, table in zip((LOG_A, LOG_C), s, strict=True):
        q = noised(log_p, t)
        assert np.abs((q[None] / q[:, None] - table)[neighbours]).max() <= 1e-12
    joint = np.where(
        neighbours, np.prod([np.where(neighbours, r, 1.0) ** b for r, b in zip(s, exponents, strict=True)], 0), 0
    )
    rates = joint / (t * V)
    linear = sum(b * (r - 1) for r, b in zip(s, exponents, strict=True))
    g = np.where(neighbours, joint - 1 - linear, 0).sum(1) / (t * V)

    def mass(t):
        return np.prod([noised(log_p, t) ** b for log_p, b in zip((LOG_A, LOG_C), exponents, strict=True)], 0)

    # ∂_t log q = (1/(tV)) Σ_y (1 − s), from the forward process; the product rule does the rest.
    slopes = [np.where(neighbours, 1 - r, 0).sum(1) / (t * V) for r in s]
    change = mass(t) * sum(b * slope for b, slope in zip(exponents, slopes, strict=True))
    check = (mass(t + 1e-5) - mass(t - 1e-5)) / 2e-5
    assert np.abs(change - check).max() <= 1e-7

    def residual(rates, g):
        inflow = mass(t) @ rates - mass(t) * rates.sum(1)
        return np.abs(change - inflow - g * mass(t)).max() / np.abs(change).max()

    assert residual(rates, g) <= 1e-10
    for bug in (residual(1.3 * rates, g), residual(rates, np.where(neighbours, joint - 1, 0).sum(1) / (t * V))):
        assert bug > 1e-2

    factors = tuple((jnp.asarray(b), pred) for b, pred in zip(exponents, preds, strict=True))
    dt = 1e-6
    for i in (0, 4, 7):
        tokens = jnp.asarray(STATES[i])
        state = ancestral.Moving(tokens, jnp.stack([pred(tokens, t) for pred in preds]), jnp.asarray(0.0))
        w = np.exp(np.asarray(ancestral.step_masses(factors, state, jnp.asarray(t), jnp.asarray(t + dt)), float))
        assert abs(np.log(w.sum(1)).sum() / dt - g[i]) <= 1e-4 * (1 + abs(g[i]))
        j = int(np.flatnonzero(neighbours[i])[0])
        (at,) = np.flatnonzero(STATES[i] != STATES[j])
        assert abs(w[at, STATES[j][at]] / dt - rates[i, j]) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["guidance 2.3", *(pytest.param(n, marks=pytest.mark.slow) for n in TARGETS)])
def test_populations_reach_the_law(name):
    make, exponents = TARGETS[name]
    right, log_z = truth(exponents)
    target, count = make(UNIFORM), 4096
    out = fk.check(fk.run_smc(jax.random.key(0), target.feynman_kac(), jnp.linspace(0.0, 1.0, 129), count))
    weights = np.asarray(fk.smc.normalized(out.log_weights), float)
    rows = np.asarray(law(LOG_A).index(out.particles))
    assert variation(np.bincount(rows, weights, V**L), right) <= 3 / np.sqrt(count)
    error = float(fk.smc.log_normalizer_error(out).standard_error)
    assert abs(float(out.log_normalizer) - log_z) <= 4 * error + 0.01  # the chain's own error at 128 steps


@pytest.mark.slow
def test_a_population_that_forgets_its_weights_is_found():
    right, _ = truth((2.3, -1.3))
    model = TARGETS["guidance 2.3"][0](UNIFORM).feynman_kac()
    forgetful = fk.FeynmanKac(model.draw, model.propose, lambda before, x, t0, t1: jnp.zeros(()), extract=model.shown)
    out = fk.run_smc(jax.random.key(0), forgetful, jnp.linspace(0.0, 1.0, 129), 2**14)
    assert variation(np.bincount(np.asarray(law(LOG_A).index(out.particles)), minlength=V**L) / 2**14, right) > 3 / 2**7


@pytest.mark.slow
@pytest.mark.parametrize("process", [UNIFORM, pytest.param(MASKED, marks=pytest.mark.slow)], ids=["uniform", "masked"])
@pytest.mark.parametrize(
    "potential", ["difference", *(pytest.param(p, marks=pytest.mark.slow) for p in ("max", "terminal"))]
)
def test_steering_tilts_the_law_of_the_chain(process, potential):
    reward = lambda x: jnp.where(x[0] == x[1], 1.5, 0.0) - 0.3 * x[0].astype(float)  # noqa: E731
    base, _ = chain(discrete.anneal(denoisers(process)[0], 1.0), 8, process)
    tilt = np.exp([float(reward(jnp.asarray(x))) for x in STATES])
    right, log_z = base * tilt / (base @ tilt), np.log(base @ tilt)
    count = 4096
    model = fk.steer(denoisers(process)[0], discrete.ancestral_steps(), reward, potential=potential)
    out = fk.check(fk.run_smc(jax.random.key(2), model, jnp.linspace(0.0, 1.0, 9), count))
    weights = np.asarray(fk.smc.normalized(out.log_weights), float)
    assert variation(np.bincount(np.asarray(law(LOG_A).index(out.particles)), weights, V**L), right) <= 3 / np.sqrt(
        count
    )
    error = float(fk.smc.log_normalizer_error(out).standard_error)
    assert abs(float(out.log_normalizer) - log_z) <= 4 * error
    assert variation(right, base) > 6 / np.sqrt(count)  # or an unsteered run would pass


def test_what_does_not_fit_is_refused():
    uniform, masked = denoisers(UNIFORM)[0], denoisers(MASKED)[0]
    with pytest.raises(fk.FkdiffError, match="reveals masked tokens"):
        discrete.anneal(uniform, 2.0).feynman_kac("random")
    with pytest.raises(fk.FkdiffError, match=r"ancestral_steps\(\)"):
        fk.steer(uniform, discrete.unmask(), lambda x: 0.0)
    with pytest.raises(fk.FkdiffError, match="one way to noise them"):
        discrete.product([uniform, masked])
    with pytest.raises(fk.FkdiffError, match="ancestral"):
        discrete.anneal(masked, 2.0).feynman_kac("ancestra")
