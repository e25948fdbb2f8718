"""Powers, products and guidance of denoisers: of masked ones by the chain rule, of any by steps in time (`ancestral`).

Reveal the tokens of x one after the other, in any order σ. For a denoiser that is exact,

    q(x) = Π_k q(x_{σ_k} | x_{σ_1}, …, x_{σ_{k−1}})        for every order,

so that Π_i q_i(x)^{β_i} is a product of what the denoisers say as they go. A particle reveals its next token by the law
∝ w(v) = Π_i q_i(v | revealed)^{β_i} and is weighted by G = Σ_v w(v): the product of proposal and weights over the L
tokens is Π_i q_i(x)^{β_i}, at no other cost than the denoisers' own. log Z = log Σ_x Π_i q_i(x)^{β_i}.

For a learned denoiser the same product is the definition of the law, averaged over the orders. Where several tokens are
revealed in one step, their conditionals are taken for independent, and the law is that of the chain so cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, Key, Scalar, categorical, choose, concrete, deciding, number, require
from fkdiff.core.choices import TOKENS
from fkdiff.core.keys import Use, stream
from fkdiff.discrete import ancestral
from fkdiff.discrete.ancestral import Moving
from fkdiff.discrete.powers import power_product
from fkdiff.discrete.predictor import DiscretePredictor
from fkdiff.discrete.processes import Masked
from fkdiff.smc import OneParticle


class Revealing(NamedTuple):
    """One sequence on its way.

    Attributes:
        tokens: (L,), the mask where nothing is revealed yet.
        ranks: When each position is due, (L,) int32; a position that the order has not decided yet holds L.
        log_w: log w(v) at every position, (L, V), for what is revealed.
        log_mass: log Σ_v w(v) over what the last step revealed.
    """

    tokens: Array
    ranks: Array
    log_w: Array
    log_mass: Array


def _by_rank(state: Revealing, hidden: Array, low: Array, high: Array) -> Array:
    return (state.ranks >= low) & (state.ranks < high)


def _by_confidence(state: Revealing, hidden: Array, low: Array, high: Array) -> Array:
    """The positions, still masked, of which the denoisers are surest."""
    sure = jnp.max(jax.nn.log_softmax(deciding(state.log_w, TOKENS), axis=-1), axis=-1)
    order = jnp.argsort(jnp.where(hidden, -sure, jnp.inf))
    place = jnp.zeros_like(state.ranks).at[order].set(jnp.arange(len(order), dtype=jnp.int32))
    return place < high - low


# due(state, hidden, low, high) -> (L,) bool: which positions a step reveals, of ranks low to high
ORDERS: dict[str, Callable] = {"random": _by_rank, "left-to-right": _by_rank, "confidence": _by_confidence}


ANCESTRAL = "ancestral"


class DiscreteTarget(eqx.Module):
    """Π_i q_i^{β_i} over sequences: what `anneal`, `product` and `guidance` return.

    Attributes:
        factors: ((β_i, denoiser_i), …); exponents are leaves and may be negative.
    """

    factors: tuple[tuple[Array, DiscretePredictor], ...]

    @property
    def process(self) -> Masked:
        """The process that all denoisers share."""
        return self.factors[0][1].process  # type: ignore[return-value]

    @property
    def length(self) -> int:
        """L."""
        return self.factors[0][1].length

    def log_mass(self, tokens: Array, t: Array) -> Array:
        """log w(v) = Σ β_i log q_i(v | tokens) of every masked position, (L, V)."""
        hidden = (tokens == self.process.mask)[:, None]
        said = [jnp.where(hidden, pred(tokens, t), 0.0) for _, pred in self.factors]
        return power_product([beta for beta, _ in self.factors], said)

    def begin(self, key: Key, order: str) -> Revealing | Moving:
        """Pure noise: all masked, with the order of this sequence."""
        if order == ANCESTRAL:
            return ancestral.begin(self.factors, key)
        places = jnp.arange(self.length, dtype=jnp.int32)
        ranks = jax.random.permutation(stream(key, Use.INITIAL), places) if order == "random" else places
        tokens, zero = self.process.start(key, self.length), jnp.zeros((), jnp.result_type(float))
        return Revealing(tokens, ranks, self.log_mass(tokens, zero), zero)

    def reveal(self, key: Key, state: Any, t0: Array, t1: Array, order: str) -> Revealing | Moving:
        """Reveals the tokens that are due in (t0, t1], by the law ∝ w. Cost: one evaluation of every denoiser."""
        if order == ANCESTRAL:
            return ancestral.advance(self.factors, key, state, t0, t1)
        # A thousandth of a token of slack: L t is a whole number up to rounding on the grids that are meant.
        low, high = (jnp.floor(self.length * t + 1e-3).astype(jnp.int32) for t in (t0, t1))
        hidden = state.tokens == self.process.mask
        due = hidden & ORDERS[order](state, hidden, low, high)
        drawn = categorical(stream(key, Use.MOVE), state.log_w, TOKENS)
        mass = jnp.sum(jnp.where(due, jax.nn.logsumexp(state.log_w, axis=-1), 0.0))
        tokens = jnp.where(due, drawn, state.tokens)
        return Revealing(tokens, state.ranks, self.log_mass(tokens, t1), mass)

    def complete(self, key: Key, state: Any) -> Array:
        """The sequence with every masked token drawn from w, independently: an estimate of where it will end."""
        if isinstance(state, Moving):
            return ancestral.complete(self.factors, key, state)
        drawn = categorical(stream(key, Use.PROBE), state.log_w, TOKENS)
        return jnp.where(state.tokens == self.process.mask, drawn, state.tokens)

    def feynman_kac(self, order: str | None = None) -> DiscreteChain:
        """The model that `fkdiff.run_smc` runs, on `jnp.linspace(0, 1, L + 1)`; ancestral ones on any K steps.

        Args:
            order: Of masked denoisers "random" (the default), "left-to-right", or "confidence" (of the masked positions
                the one that w is surest of). The law is the same for exact denoisers; the variance is not. Of any
                "ancestral": all tokens at once, step by step in time, with an error of 1/K in the number of steps K;
                the only one on the uniform process, and its default.

        On a grid of K < L steps several tokens are revealed at once, as if they were independent.

        Raises:
            FkdiffError: The order does not fit the process.

        Cost: one evaluation of every denoiser per step, and one at the start. Gradients: none; tokens are drawn.
        """
        return DiscreteChain(self, checked_order(self, order))


class Unmask(NamedTuple):
    """How masked sequences are revealed: what `fkdiff.steer` takes for a solver. See `unmask`."""

    order: str


def unmask(order: str = "random") -> Unmask:
    """Reveals the tokens that are due, in an order: "random", "left-to-right" or "confidence"."""
    choose("order", order, ORDERS)
    return Unmask(order)


def ancestral_steps() -> Unmask:
    """Moves all tokens at once, step by step in time; on the masked and on the uniform process. See `ancestral`."""
    return Unmask(ANCESTRAL)


def checked_order(target: DiscreteTarget, order: str | None) -> str:
    """The order, or the process's own; refuses to unmask where nothing is masked."""
    hides = isinstance(target.process, Masked)
    if order is None:
        return "random" if hides else ANCESTRAL
    choose("order", order, {**ORDERS, ANCESTRAL: None})
    require(
        hides or order == ANCESTRAL,
        f'order="{order}" reveals masked tokens, and these denoisers live on the uniform process; use '
        f'order="{ANCESTRAL}" (fkdiff.discrete.ancestral_steps() for fkdiff.steer).',
    )
    return order


class DiscreteChain(OneParticle):
    """How sequences of a target are revealed or moved, as a model; see `DiscreteTarget.feynman_kac`."""

    target: DiscreteTarget
    order: str = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True, default=None, kw_only=True)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """From noise to data."""
        return jnp.zeros(()), jnp.ones(())

    @property
    def cost(self) -> tuple[int, int]:
        return len(self.target.factors), 0

    def draw(self, key: Key) -> tuple[Revealing | Moving, Array]:
        """Pure noise, and its mass."""
        state = self.target.begin(key, self.order)
        return state, state.log_mass

    def propose(self, key: Key, particle: Any, t0: Array, t1: Array) -> Revealing | Moving:
        """Reveals, or moves, what is due."""
        return self.target.reveal(key, particle, t0, t1, self.order)

    def log_potential(self, previous: Any, particle: Any, t0: Array, t1: Array) -> Array:
        """The mass of what could have been drawn."""
        return particle.log_mass

    def shown(self, particle: Any) -> Array:
        """The tokens."""
        return particle.tokens

    def estimated(self, key: Key, particle: Any, t: Array, num: int) -> Array:
        """Completions of the sequence: one, or `num`."""
        if num == 0:
            return self.target.complete(key, particle)
        return jax.vmap(lambda k: self.target.complete(k, particle))(jax.random.split(stream(key, Use.PROBE), num))


def lifted(target, argument: str) -> DiscreteTarget:
    """A denoiser as the trivial target q^1."""
    if isinstance(target, DiscreteTarget):
        return target
    if isinstance(target, DiscretePredictor):
        return DiscreteTarget(((number("one", 1.0), target),))
    raise FkdiffError(
        f"{argument} is a {type(target).__name__}; pass a DiscretePredictor or another target of this kind."
    )


def anneal(pred, beta: Scalar) -> DiscreteTarget:
    """The law q^β, normalised.

    Args:
        pred: A denoiser, or a target.
        beta: Inverse temperature, positive.

    References: the chain rule; Skreta et al. (2025) and Lee et al. (2025) for correctors in continuous time.
    """
    return product([pred], [number("beta", beta, action="the inverse temperature")])


def product(preds: Sequence, exponents: Sequence[Scalar] | None = None) -> DiscreteTarget:
    """The law Π q_i^{β_i}, normalised.

    Args:
        preds: Denoisers or targets of one length, vocabulary and process.
        exponents: β_i, signed; 1 each by default. Their sum must be positive.
    """
    require(isinstance(preds, list | tuple) and len(preds) > 0, "preds must be a list of at least one denoiser.")
    exponents = [1.0] * len(preds) if exponents is None else list(exponents)
    require(
        len(exponents) == len(preds),
        f"exponents has {len(exponents)} entries for {len(preds)} denoisers; pass one exponent per denoiser.",
    )
    factors = []
    for i, (pred, power) in enumerate(zip(preds, exponents, strict=True)):
        power = number(f"exponents[{i}]", power)
        factors += [(beta * power, one) for beta, one in lifted(pred, f"preds[{i}]").factors]
    kinds = {(one.length, one.process.vocab_size, type(one.process).__name__.lower()) for _, one in factors}
    require(
        len(kinds) == 1,
        f"the denoisers have different (length, vocabulary, process) {sorted(kinds)}; a product needs one space of "
        "sequences and one way to noise them.",
    )
    total = concrete(sum(beta for beta, _ in factors))
    require(
        total is None or bool(total > 0),
        f"exponents sum to {total}, and what the denoisers agree on would be what is least likely; the sum must be "
        "positive.",
    )
    return DiscreteTarget(tuple(factors))


def guidance(conditional, unconditional, scale: Scalar = 1.5) -> DiscreteTarget:
    """The law q_u^{1−w} q_c^w, normalised: what classifier-free guidance of token models aims at.

    Args:
        conditional: q_c.
        unconditional: q_u.
        scale: w; 1 is the conditional model.

    References: Ho and Salimans (2022), eq. 6; Schiff et al. (2025) for tokens.
    """
    scale = number("scale", scale, action="1 is the conditional model")
    return product([unconditional, conditional], [1 - scale, scale])
