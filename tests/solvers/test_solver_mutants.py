"""Planted bugs, each with the check that must reject it. A check that no bug can fail proves nothing."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff import interop, solvers
from fkdiff.core import Transition
from fkdiff.solvers import Solver, State, integrate, likelihood
from fkdiff.solvers._ddim import Ddim
from fkdiff.solvers._euler import Euler
from fkdiff.solvers._exponential import Exponential
from fkdiff.solvers._heun import Heun
from fkdiff.solvers.base import diffusion
from fkdiff.solvers.dpmpp import Dpmpp2M
from fkdiff.targets import gaussian_mixture
from tests.solvers import flow_density, flow_orders, mixture_law, recursions

pytestmark = pytest.mark.slow


def rescaled(base, factor):
    """A solver whose noise has the wrong size."""

    class Mutant(base):
        def step(self, pred, state, t0, t1):
            transition, state = super().step(pred, state, t0, t1)
            return transition._replace(scale=factor * transition.scale), state

    return Mutant


class WrongSign(Euler):
    """velocity − νκ score."""

    def step(self, pred, state, t0, t1):
        transition, state = super().step(pred, state, t0, t1)
        twice = 2 * self.noise * diffusion(pred.path, jnp.asarray(t0), jnp.asarray(t1)) * state.prediction.score
        return transition._replace(mean=transition.mean - twice), state


class LateTime(Euler):
    """The prediction of x taken at the end of the step."""

    def step(self, pred, state, t0, t1):
        return super().step(pred, state._replace(prediction=pred(state.x, t1)), t0, t1)[0], state


class FixedRate(Heun):
    """Heun that takes κ at one time for every stage."""

    def _drift(self, pred, prediction, t):
        return super()._drift(pred, prediction, 0 * t + 0.5)


class NoHalf(Dpmpp2M):
    """The slope of 2M without its ½."""

    def step(self, pred, state, t0, t1):
        memory = state.memory._replace(gap=state.memory.gap / 2)
        return super().step(pred, state._replace(memory=memory), t0, t1)


class Forgetful(Dpmpp2M):
    """2M that keeps no history."""

    def step(self, pred, state, t0, t1):
        transition, _ = super().step(pred, state, t0, t1)
        return transition, state


class BadReference(Exponential):
    """f without its y."""

    def step(self, pred, state, t0, t1):
        score = state.prediction.score
        bad = state.prediction._replace(clean=state.prediction.clean - 0.5 * state.x, score=score)
        return super().step(pred, state._replace(prediction=bad), t0, t1)


NU, ETA = recursions.NU, recursions.ETA
STEPS = {
    "euler, √h for √(2h)": ("euler", lambda: rescaled(Euler, 0.5**0.5)(jnp.asarray(NU))),
    "euler, sign of the score": ("euler", lambda: WrongSign(jnp.asarray(NU))),
    "euler, time one step late": ("euler", lambda: LateTime(jnp.asarray(NU))),
    "euler, ν forgotten": ("euler", lambda: solvers.euler(0.0)),
    "heun, √h for √(2h)": ("heun", lambda: rescaled(Heun, 0.5**0.5)(jnp.asarray(NU))),
    "heun, κ at a fixed time": ("heun", lambda: FixedRate(jnp.asarray(NU))),
    "ddim, η²": ("ddim", lambda: solvers.ddim(ETA**2)),
    "ddim, scale without mean": ("ddim", lambda: rescaled(Ddim, 1.1)(jnp.asarray(ETA))),
    "ddpm, β in place of the posterior variance": ("ddpm", lambda: rescaled(Ddim, 1.2)(jnp.asarray(1.0))),
    "exponential, no reference": ("exponential", lambda: solvers.exponential(NU)),
    "exponential, f without y": (
        "exponential",
        lambda: BadReference(jnp.asarray(NU), (jnp.asarray(0.3), jnp.asarray(2.0))),
    ),
}


@pytest.mark.x64
@pytest.mark.parametrize("bug", STEPS)
def test_the_recursion_rejects(bug):
    row, make = STEPS[bug]
    error = recursions.recursion_error(make(), recursions.ROWS[row][1])
    assert error > 1e-3  # the check allows 1e-10


@pytest.mark.x64
@pytest.mark.parametrize("mutant", [NoHalf, Forgetful])
def test_the_order_rejects_a_broken_history(mutant):
    measured = flow_orders.measured_orders(mutant(jnp.zeros(())), "linear", flow_orders.true_ends(["linear"]))
    print(mutant.__name__, measured)
    assert not np.all((measured >= 1.8) & (measured <= 2.2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: rescaled(Euler, 0.5**0.5)(jnp.asarray(1.0)),
        lambda: WrongSign(jnp.asarray(1.0)),
        lambda: rescaled(Exponential, 2**0.5)(jnp.asarray(1.0), (jnp.asarray(0.45), jnp.asarray(3.0955))),
        lambda: rescaled(Ddim, 2**0.5)(jnp.asarray(1.0)),
    ],
)
def test_the_law_at_the_last_time_rejects(make):
    path = paths.variance_preserving()
    samples = integrate(jax.random.key(30), mixture_law.predictor(path), make(), paths.grid(400, path), 2**14)
    assert not mixture_law.dkwm(samples, *mixture_law.ends(path)) <= 1


class SquareRoot(paths.schedules.VariancePreserving):
    """√b for b."""

    def _integral(self, t):
        return jnp.sqrt(super()._integral(t))


@pytest.mark.x64
def test_the_path_formulas_reject_root_b_for_b():
    whole = paths.variance_preserving()
    wrong = SquareRoot(whole.beta_min, whole.beta_max, whole.t_min, whole.t_max)
    alpha = np.exp(-(0.1 * 0.5 + 19.9 * 0.125) / 2)
    assert abs(whole.alpha(0.5) - alpha) <= 1e-11
    assert abs(wrong.alpha(0.5) - alpha) > 1e-2


@pytest.mark.x64
@pytest.mark.parametrize("bug", ["velocity of the SDE", "density of another time"])
def test_the_continuity_equation_rejects(bug):
    path = paths.linear()
    pred = gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)
    x, t = jnp.array([0.4]), jnp.asarray(0.6)

    def velocity(x):
        value = pred(x, t if bug == "velocity of the SDE" else t + 0.01)
        twice = path.kappa(t) * value.score if bug == "velocity of the SDE" else 0.0
        return (value.velocity + twice)[0]

    log_rate = jax.grad(pred.log_prob, argnums=1)(x, t)
    balance = log_rate + jax.grad(velocity)(x)[0] + velocity(x) * pred(x, t).score[0]
    assert abs(balance) > 1e-3  # the check allows 1e-10


@pytest.mark.x64
@pytest.mark.parametrize("bug", ["no divergence", "half of it"])
def test_the_likelihood_rejects(bug, monkeypatch):
    basis = likelihood.DIVERGENCES["exact"]
    share = 0.0 if bug == "no divergence" else 0.5**0.5
    monkeypatch.setitem(likelihood.DIVERGENCES, "exact", lambda *arguments: share * basis(*arguments))
    jax.clear_caches()
    pred = flow_density.mixture().predictor(flow_density.PATHS["linear"]())
    values = likelihood.log_prob(pred, flow_density.POSITIONS)
    error = jnp.abs(values - flow_density.exact(pred, flow_density.POSITIONS)).max()
    jax.clear_caches()
    assert error > 1e-2  # the check allows 1e-6


@pytest.mark.x64
def test_parity_rejects_an_index_off_by_one():
    size = 1000
    table = np.cumprod(1 - np.linspace(1e-4, 0.02, size))

    def noise(x, k, shift):
        share = jnp.asarray(table)[jnp.round(k).astype(int) + shift]
        return jnp.sqrt(1 - share) * x / (share * 0.5 + 1 - share)  # data N(0, ½)

    for shift in (0, 1):
        pred = interop.ddpm(lambda x, k, shift=shift: noise(x, k, shift), table, (1,))
        exact = gaussian_mixture([[0.0]], [0.5]).predictor(pred.path)
        error = jnp.abs(pred(jnp.ones(1), 0.7).noise - exact(jnp.ones(1), 0.7).noise).max()
        assert (error > 1e-4) if shift else (error <= 1e-8)


class OneKey(Solver):
    """A walk that draws the same noise at every step."""

    noise: jax.Array
    evaluations: ClassVar[int] = 1

    def step(self, pred, state, t0, t1):
        drawn = jax.random.normal(jax.random.key(0), state.x.shape)
        return Transition(state.x + drawn, jnp.zeros(())), state


def test_the_correlation_of_steps_rejects_one_key():
    path = paths.linear()
    last, track = integrate(
        jax.random.key(34),
        mixture_law.predictor(path),
        OneKey(jnp.zeros(())),
        paths.grid(30, path),
        initial=jnp.zeros((40, 1)),
        collect=position,
    )
    increments = np.diff(np.concatenate([track[..., 0], last], axis=1), axis=1)
    assert np.unique(np.round(increments, 5)).size < 0.99 * increments.size


def position(state: State):
    return state.x
