"""Conditional SMC: a Markov kernel on whole trajectories, and with it particle Gibbs.

One sweep runs SMC with N particles, of which slot 0 is held to the trajectory it was given (the reference), and then
draws one trajectory from the final population. Invariant: for every N ≥ 2, with Γ_K as in `feynman_kac`,

    x_{0:K} ~ Γ_K / Γ_K(1)    ⇒    sweep(x_{0:K}) ~ Γ_K / Γ_K(1)        exactly.

All N particles are resampled at every step and the weights are those of one step,

    log w_k^i = log G_k(x_{k−1}^{A_k^i}, x_k^i),     w_0 = G_0,     w_K times the final potential,

where the reference's parent is its own past, unless `renew="ancestor"` draws it another. Why it holds: weigh every run
of plain SMC by its Ẑ and draw a trajectory by the last weights; the trajectory then has law Γ_K/Γ_K(1), its slots are
uniform, and all the rest given the trajectory and its slots is a conditional run. A sweep redraws first the rest, then
the trajectory. That slot 0 may stand for uniform slots is shown in `retained`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx

from fkdiff.core import Array, Kernel, Key, choose, one_key, require
from fkdiff.errors import deprecated
from fkdiff.smc import arguments
from fkdiff.smc.drivers.retained import RETAINING
from fkdiff.smc.drivers.sweep import Sweep, Trajectory
from fkdiff.smc.model import Model
from fkdiff.smc.one_particle import OneParticle

RENEWALS = {"trace": False, "ancestor": True, "backward": True}  # whether a transition density is needed


def conditional(
    model: Model,
    grid: Array,
    num_particles: int,
    *,
    scheme: str = "multinomial",
    log_transition: Callable[..., Any] | None = None,
    renew: str | None = None,
    chunk: int | None = None,
    resample: str | None = None,
) -> Kernel:
    """Conditional SMC as a kernel that leaves the law of the whole trajectory, Γ_K/Γ_K(1), exactly invariant.

    `init(key, position)` takes a `Trajectory` (from `fkdiff.smc.trajectory`) and `step(key, state)` makes one sweep.
    Particle Gibbs alternates a sweep with a draw of the model's parameters given `state.position`.

    Args:
        model: Any model whose particles do not see each other (`Model.independent`): a `FeynmanKac`, a chain, tokens, a
            corrector without fitted control (`fkdiff.smc.freeze`), and each of them rewarded or rejuvenated. The
            increments of the reference are recorded, and the reward of its particles is counted anew in every sweep, so
            that ramps and floors may look at the population.
        grid: Times in strictly increasing order, (K + 1,).
        num_particles: N ≥ 2, the reference included. For renewal at early times N must grow with K, unless
            `log_transition` is given.
        scheme: "multinomial", or "systematic": both exact, the second renews more.
        log_transition: `log_transition(previous, particle, t0, t1) -> scalar`, log of the density of `propose`. The
            particles must then be Markov states and hold nothing that was computed from their past, so that the model
            must be one of functions of one particle: a rewarded one carries a cumulative potential.
        renew: "trace" follows the ancestors; "ancestor" draws the reference a new parent at every step, of probability
            ∝ w^j G_k(x^j, x_k) M_k(x^j, x_k), and weighs it with that parent; "backward" draws the trajectory backwards
            with the same probabilities. "ancestor" by default where there is a `log_transition`, else "trace".
        chunk: Particles per model call.
        resample: The former name of `scheme`.

    Returns:
        `Kernel` of pytree functions: compile them with `eqx.filter_jit`, or inside a scan; a kernel of another model of
        the same kind compiles nothing. The info is a `ConditionalInfo`. Where the weights define no law (all zero, NaN,
        +inf) the trajectory stays and `info.status` says why.

    Raises:
        FkdiffError: An argument is wrong.

    Cost: a run of SMC with N particles that keeps its history, N (K + 1) particles of memory; "ancestor" and
    "backward" add N potentials and N densities per step.

    Gradients: refused, naming `fkdiff.gradients.expectation`; a sweep chooses.

    References: Andrieu, Doucet and Holenstein (2010), section 2.4; Whiteley (2010), in its discussion, backward
    sampling; Lindsten, Jordan and Schön (2014), ancestor sampling.
    """
    if resample is not None:
        deprecated("resample=", "scheme=")
        scheme = resample
    sweep = _checked(model, grid, num_particles, scheme, log_transition, renew, chunk)
    return Kernel(sweep.init, sweep.step)


def trajectory(
    key: Key,
    model: Model,
    grid: Array,
    num_particles: int,
    *,
    scheme: str = "multinomial",
    chunk: int | None = None,
) -> Trajectory:
    """One trajectory of plain SMC: the law Γ_K/Γ_K(1) as N → ∞, and a start for `conditional` at any N.

    Args: as `conditional`. Returns: a `Trajectory`, whatever its weights; sweeps report what is wrong with a model.
    Gradients: refused, as `conditional`'s.
    """
    return _drawn(one_key(key), _checked(model, grid, num_particles, scheme, None, None, chunk))


@eqx.filter_jit
def _drawn(key: Key, sweep: Sweep) -> Trajectory:
    return sweep.draw(key, sweep.forward(key, None))[0]


def _checked(model, grid, num_particles, scheme, log_transition, renew, chunk) -> Sweep:
    model = arguments.check_model(model, chunk)
    require(
        model.independent,
        f"a {type(model).__name__} moves its particles together, and conditional SMC holds ONE of them to its past: "
        "give a model whose particles do not see each other, such as fkdiff.smc.freeze(key, model, grid), a FeynmanKac "
        "or target.feynman_kac(control=False).",
    )
    require(
        model.resampler is None,
        f"a {type(model).__name__} resamples in its own way, and conditional SMC in another; use moves without "
        "waste_free.",
    )
    grid = arguments.check_times(grid, model)
    num_particles = arguments.check_count(num_particles)
    choose("scheme", scheme, RETAINING)
    require(
        log_transition is None or callable(log_transition),
        f"log_transition={log_transition!r} is not a function; pass log_transition(previous, particle, t0, t1).",
    )
    renew = ("trace" if log_transition is None else "ancestor") if renew is None else renew
    require(
        log_transition is not None or not choose("renew", renew, RENEWALS),
        f'renew="{renew}" draws new ancestors by the density of propose; pass log_transition(previous, particle, t0, '
        't1), or use renew="trace", which needs none.',
    )
    choose("renew", renew, RENEWALS)
    require(
        renew == "trace" or isinstance(model, OneParticle),
        f'renew="{renew}" gives a particle another past, and that of a {type(model).__name__} carries its own along; '
        'use renew="trace", without log_transition.',
    )
    return Sweep(model, grid, log_transition, num_particles, scheme, renew)
