"""Steering of token sequences: any reward, on denoisers and their powers, products and guided versions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Status, expect, number, require
from fkdiff.core.keys import Use, stream
from fkdiff.discrete import DiscreteTarget, Unmask, checked_order, lifted
from fkdiff.smc import FeynmanKac
from fkdiff.steering.potentials import POTENTIALS, Account, opened, paid


class SteeredTokens(NamedTuple):
    """One sequence: what is revealed, its account, and how many rewards it has seen."""

    state: Any
    account: Account
    seen: Array


class TokenSteering(eqx.Module):
    """The functions of a steered sequence model; see `fkdiff.steering.particle.Steering` for their sense."""

    target: DiscreteTarget
    reward: Callable[[Array], Array]
    strength: Array
    ramp: Callable[[Array], Array]
    order: str = eqx.field(static=True)
    potential: str = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)

    def nats(self, tokens: Array) -> Array:
        """λ r of a whole sequence."""
        out = jnp.asarray(self.reward(tokens))
        require(
            out.shape == () and not jnp.issubdtype(out.dtype, jnp.complexfloating),
            f"reward returned shape {out.shape} and dtype {out.dtype} for one sequence of {tokens.shape[0]} tokens; it "
            "must return one real number in nats.",
        )
        return self.strength * out.astype(self.strength.dtype)

    def share(self, t: Array) -> Array:
        """ρ at a time."""
        return jnp.zeros_like(t) if self.potential == "terminal" else jnp.asarray(self.ramp(t), t.dtype)

    def guess(self, key: Key, state: Any) -> Array:
        """log-mean-exp of λ r over completions of the sequence."""
        keys = jax.random.split(stream(key, Use.PROBE), self.num_draws)
        rewards = jax.vmap(lambda k: self.nats(self.target.complete(k, state)))(keys)
        return jax.nn.logsumexp(rewards) - math.log(self.num_draws)

    def initial(self, key: Key) -> tuple[SteeredTokens, Array]:
        """Pure noise, with what is promised."""
        state, t = self.target.begin(key, self.order), jnp.zeros((), self.strength.dtype)
        account = opened(self.guess(key, state), self.share(t))
        return SteeredTokens(state, account, jnp.ones_like(t)), account.increment + state.log_mass

    def propose(self, key: Key, particle: SteeredTokens, t0: Array, t1: Array) -> SteeredTokens:
        """Reveals what is due, and keeps the account."""
        state = self.target.reveal(key, particle.state, t0, t1, self.order)
        statistic = POTENTIALS[self.potential]
        account = paid(statistic, particle.account, self.guess(key, state), self.share(t1), particle.seen)
        return SteeredTokens(state, account, particle.seen + 1)

    def log_potential(self, previous: SteeredTokens, particle: SteeredTokens, t0: Array, t1: Array) -> Array:
        """What the target and the reward pay."""
        return particle.account.increment + particle.state.log_mass

    def log_final(self, particle: SteeredTokens) -> Array:
        """What is still owed."""
        return self.nats(particle.state.tokens) - particle.account.paid

    def extract(self, particle: SteeredTokens) -> Array:
        """The tokens."""
        return particle.state.tokens

    def fault(self, particle: SteeredTokens) -> Array:
        """A promise of −inf would kill paths that the end may well pay for."""
        return jnp.where(particle.account.promised == -jnp.inf, jnp.int32(Status.FORBIDDEN), jnp.int32(Status.OK))


def steer_tokens(target, solver, reward, ramp, potential, strength, intermediate, proposal) -> FeynmanKac:
    """What `fkdiff.steer` returns for a masked denoiser, or a target of several; see there."""
    target = lifted(target, "pred")
    expect("solver", solver, Unmask, "sequences move by fkdiff.discrete.unmask(order) or ancestral_steps()")
    order = checked_order(target, solver.order)
    require(
        proposal == "base",
        f'proposal="{proposal}" follows a gradient, which tokens do not have; use proposal="base".',
    )
    draws = {"clean": 1, "draws": 8}.get(intermediate, getattr(intermediate, "num", None))
    require(
        draws is not None,
        'intermediate must be "clean" (one completion), "draws" or clean_draws(num): log-mean-exp over completions.',
    )
    parts = TokenSteering(target, reward, number("strength", strength), ramp, order, potential, draws or 1)
    return FeynmanKac(
        initial=parts.initial,
        propose=parts.propose,
        log_potential=parts.log_potential,
        log_final=parts.log_final,
        extract=parts.extract,
        fault=parts.fault,
        evaluations=len(target.factors),
        time_range=(jnp.zeros(()), jnp.ones(())),
    )
