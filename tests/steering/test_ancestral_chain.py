"""Chains of the ancestral step: every proposal accepts every scale, the evidence is unbiased, passes are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import inverse_problems
from fkdiff.inverse_problems.bases import basis
from fkdiff.inverse_problems.posterior import GUIDANCE
from fkdiff.inverse_problems.problem import Likelihood, Problem
from fkdiff.smc.combinators.values import as_estimate
from fkdiff.solvers import ancestral
from fkdiff.steering.guidance import Unguided
from fkdiff.steering.twisted import Twisted
from tests.solvers import chain_quadrature, mixture_law

PATH = fk.paths.variance_preserving()
SIZE = 6  # above what is read in full, so that there is a probe
VARIANCES = ("model", "diagonal", "reference")


def correlated():
    mixing = np.random.default_rng(0).normal(size=(SIZE, SIZE))
    covariance = mixing @ mixing.T / SIZE + 0.05 * np.eye(SIZE)
    return fk.targets.gaussian(np.full(SIZE, 0.3), covariance).predictor(PATH), covariance


def guidances(covariance):
    operator = inverse_problems.matrix(np.random.default_rng(1).normal(size=(2, SIZE)))
    likelihood = Likelihood(operator, jnp.array([0.5, -0.2]), jnp.asarray(0.7))
    plain, informed = (Problem(likelihood, basis(operator, (0.3, v))) for v in (1.0, covariance.astype(np.float32)))
    found = {f"{name}, {kind}": make(problem) for name, make in GUIDANCE.items()
             for kind, problem in (("plain", plain), ("informed", informed))}  # fmt: skip
    reward = lambda x: -jnp.sum((x - 0.5) ** 2)  # noqa: E731
    return found | {"twisted": Twisted(reward, jnp.asarray(1.0), as_estimate("clean")), "none": Unguided()}


NAMES = [f"{name}, {kind}" for name in GUIDANCE for kind in ("plain", "informed")] + ["twisted", "none"]
FAST = {("adapted, informed", "diagonal"), ("adapted, plain", "model"), ("twisted", "diagonal")}


def one_step_gap(name, variance, other_probe=False, draws=2**15):
    """E over M̃ of e^{log M − log M̃} cos(a·x) against its closed form under M, in standard errors: the largest of four.

    M is what the solver says at ONE particle, its probe included; a proposal that saw another one is another's.
    """
    pred, covariance = correlated()
    chain = fk.steering.chain(pred, ancestral(variance, (0.3, 1.0)), guidances(covariance)[name])
    t0, t1 = jnp.asarray(0.45), jnp.asarray(0.6)
    x = jnp.asarray(np.random.default_rng(2).normal(size=SIZE) * 0.7, jnp.float32)

    @jax.jit
    def run(key):
        key_look, key_other, key_draws = jax.random.split(key, 3)

        def particle(key):
            start, _ = chain.draw(key)
            state, value, hint = chain.guidance.look(key, chain, x, t0, start.state.memory)
            share = () if isinstance(start.share, tuple) else jnp.ones(())
            return start._replace(state=state, value=value, hint=hint, share=share)

        mine, other = particle(key_look), particle(key_other)
        law, _ = chain.solver.step(pred, mine.state, t0, t1)
        taken, _ = chain.solver.step(pred, other.state if other_probe else mine.state, t0, t1)
        draw = lambda k: chain.guidance.step(k, chain, mine, taken, t0, t1)  # noqa: E731
        ends, ratios = jax.vmap(draw)(jax.random.split(key_draws, draws))
        return law, ends, ratios

    (mean, scale), ends, ratios = (jax.tree.map(lambda a: np.asarray(a, np.float64), r) for r in run(jax.random.key(5)))
    ratios = np.zeros(draws) if name == "none" else ratios
    scale = np.broadcast_to(scale, mean.shape)
    gaps = [np.abs((np.exp(ratios) - 1).mean()) / max(np.exp(ratios).std() / np.sqrt(draws), 1e-6)]
    for seed in range(3):
        a = np.random.default_rng(seed).normal(size=SIZE) * 0.5 / np.sqrt((scale**2).mean())
        values = np.exp(ratios) * np.cos((ends - mean) @ a)
        expected = np.exp(-0.5 * np.sum((a * scale) ** 2))
        gaps.append(np.abs(values.mean() - expected) / (values.std() / np.sqrt(draws)))
    return max(gaps)


@pytest.mark.parametrize(
    ("name", "variance"),
    [pytest.param(name, variance, marks=() if (name, variance) in FAST else pytest.mark.slow)
     for name in NAMES for variance in VARIANCES],
)  # fmt: skip
def test_one_step_of_a_proposal_has_the_ratio_of_the_solvers_step(name, variance):
    gap = one_step_gap(name, variance)
    print(name, variance, gap)
    assert gap <= 6.0  # four checks of about 2e-9 each


def test_a_step_through_another_probe_is_seen():
    assert one_step_gap("twisted", "model", other_probe=True) >= 8.0


# Evidence ----------------------------------------------------------------------------------------------------


def reward(x):
    return -0.75 * (x[0] - 1.0) ** 2


OPERATOR = inverse_problems.matrix([[2.0]], shape=(1,))
PRED = mixture_law.predictor(PATH)
STEERED = {
    "base": lambda solver: fk.steer(PRED, solver, reward),
    "twisted": lambda solver: fk.steer(PRED, solver, reward, proposal="twisted"),
    "adapted": lambda solver: fk.inverse(PRED, solver, OPERATOR, jnp.array([1.0]), 0.5),
    "pigdm": lambda solver: fk.inverse(PRED, solver, OPERATOR, jnp.array([1.0]), 0.5, proposal="pigdm"),
}
TERMINAL = {
    "reward": lambda x: np.exp(-0.75 * (x - 1) ** 2),
    "likelihood": lambda x: np.exp(-0.5 * ((1 - 2 * x) / 0.5) ** 2) / np.sqrt(2 * np.pi * 0.25),
}


def evidence_gap(name, model, solver, replicates=2**13):
    """E Ẑ of runs of 8 particles in 4 steps, against the chain's own evidence by quadrature, in standard errors."""
    grid = fk.grid(4, PATH)
    f = TERMINAL["reward" if name in ("base", "twisted") else "likelihood"]
    exact = chain_quadrature.expectations(PRED, solver, grid, [f])[0]
    run = jax.jit(jax.vmap(lambda key: fk.run_smc(key, model, grid, 8).log_normalizer))
    z = np.exp(np.asarray(run(jax.random.split(jax.random.key(3), replicates)), np.float64)) / exact
    print(name, "E Ẑ/Z", z.mean(), "±", z.std() / np.sqrt(replicates))
    return abs(z.mean() - 1) / (z.std() / np.sqrt(replicates))


@pytest.mark.parametrize(
    ("name", "variance"),
    [("base", "model"), *(pytest.param(name, variance, marks=pytest.mark.slow)
      for name in STEERED for variance in ("model", "diagonal", "reference") if (name, variance) != ("base", "model"))],
)  # fmt: skip
def test_evidence_is_that_of_the_chain_by_quadrature(name, variance):
    solver = ancestral(variance)
    assert evidence_gap(name, STEERED[name](solver), solver) <= 6.0


def test_the_evidence_of_another_chain_is_seen():
    """c²v forgotten in what runs: that is the chain of `ddim(eta=1)`."""
    assert evidence_gap("base", STEERED["base"](fk.solvers.ddim(1.0)), ancestral()) >= 10.0


# Defaults and costs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [
    lambda: fk.steering.chain(PRED), lambda: fk.steer(PRED, reward=reward).inner,
    lambda: fk.steer(PRED, None, reward, proposal="twisted").inner,
    lambda: fk.inverse(PRED, None, OPERATOR, jnp.array([1.0]), 0.5).inner,
])  # fmt: skip
def test_a_solver_that_is_left_out_is_the_ancestral_one(build):
    assert build().solver == ancestral()


COSTS = {  # jvps of one step in 6 dimensions: by ddim, by the reference's v, by the model's
    "none": (0, 0, 1), "twisted": (1, 1, 2), "adapted, informed": (0, 0, 1), "pigdm, plain": (1, 1, 2),
    "tmpd, plain": (2, 2, 3), "dps, plain": (1, 1, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTS)
def test_passes_do_not_grow_where_the_reference_gives_the_variance(name):
    """What is reported; and evaluations, counted where the model is called: one in a step, whatever the solver."""
    pred, covariance = correlated()
    calls = []

    def rule(x, t, cond):
        calls.append(1)
        return pred.rule(x, t, cond)

    spied = fk.prediction.Predictor(PATH, rule, pred.shape)
    costs = []
    for solver in (fk.solvers.ddim(1.0), ancestral("reference"), ancestral("model")):
        chain = fk.steering.chain(spied, solver, guidances(covariance)[name])
        particle = jax.eval_shape(lambda k, chain=chain: chain.draw(k)[0], jax.random.key(0))
        calls.clear()
        step = lambda k, p, chain=chain: chain.propose(k, p, jnp.asarray(0.4), jnp.asarray(0.5))  # noqa: E731
        jax.eval_shape(step, jax.random.key(0), particle)
        assert len(calls) == 1
        costs.append(chain.cost)
    assert [evaluations for evaluations, _ in costs] == [1, 1, 1]
    assert tuple(jvps for _, jvps in costs) == COSTS[name]
