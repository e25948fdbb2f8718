"""Powers, products and guidance by ancestral steps, on any process: the corrector in time.

Bayes' rule between two times, for an exact denoiser with reverse transition P_i and the forward noising Q, which all
share:

    q_{i,t1}(y) / q_{i,t0}(x) = P_i(y | x) / Q(x | y)

so that for π_t ∝ Π_i q_{i,t}^{β_i}, B = Σ β_i, and Q as the backward kernel, the weight of a step x → y is

    π_{t1}(y) Q(x | y) / (π_{t0}(x) M(x, y)) = Π_i P_i(y | x)^{β_i} Q(x | y)^{1−B} / M(x, y)

Every token moves by itself: M takes the law ∝ w_l(v) = Π_i P_{i,l}(v | x)^{β_i} Q_l(x_l | v)^{1−B}, and the particle is
weighted by G(x) = Π_l Σ_v w_l(v). Nothing but the denoisers is evaluated. P_i is exact for one token and a product of
its marginals for several, which is wrong by what two tokens change together in one step: the law of the chain tends to
Π q_i^{β_i} as 1/K in the number of steps K, and is exact for L = 1.

In the limit tokens jump at the rates (1/(α V)) Π_i s_i(x, y)^{β_i} on the uniform process, s_i = q_i(y)/q_i(x) between
neighbours, and weights grow at

    g(x) = (1/(α V)) Σ_y [ Π_i s_i^{β_i} − 1 − Σ_i β_i (s_i − 1) ]        (α = t)

which solves the master equation ∂_t π̃ = L*π̃ + g π̃.

References: Del Moral, Doucet and Jasra (2006), eq. 14, for backward kernels; Lee et al. (2025) and Hasan et al. (2025)
for correctors of discrete diffusion in continuous time.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, categorical
from fkdiff.core.choices import TOKENS
from fkdiff.core.keys import Use, stream
from fkdiff.discrete.powers import power_product
from fkdiff.discrete.predictor import DiscretePredictor
from fkdiff.discrete.processes import Masked

Factors = tuple[tuple[Array, DiscretePredictor], ...]


class Moving(NamedTuple):
    """One sequence on its way.

    Attributes:
        tokens: (L,), noised.
        said: What each denoiser says about them, log-probabilities (n, L, V).
        log_mass: log G of the last step; of the start, log of the mass of π_0.
    """

    tokens: Array
    said: Array
    log_mass: Array


def begin(factors: Factors, key: Key) -> Moving:
    """Pure noise, of which all denoisers agree: its mass is Σ_x Π_i q_{i,0}(x)^{β_i}.

    Cost: one evaluation of every denoiser.
    """
    pred = factors[0][1]
    zero = jnp.zeros((), jnp.result_type(float))
    tokens = pred.process.start(stream(key, Use.INITIAL), pred.length)
    surplus = 1 - sum(beta for beta, _ in factors)
    states = 1 if isinstance(pred.process, Masked) else pred.process.vocab_size  # that a token of noise can be in
    return Moving(tokens, _said(factors, tokens, zero), zero + surplus * pred.length * jnp.log(float(states)))


def advance(factors: Factors, key: Key, state: Moving, t0: Array, t1: Array) -> Moving:
    """One step of every token. Cost: one evaluation of every denoiser."""
    log_w = step_masses(factors, state, t0, t1)
    tokens = categorical(stream(key, Use.MOVE), log_w, TOKENS)
    return Moving(tokens, _said(factors, tokens, t1), jnp.sum(jax.nn.logsumexp(log_w, axis=-1)))


def step_masses(factors: Factors, state: Moving, t0: Array, t1: Array) -> Array:
    """log w_l(v), (L, V + 1), the mask last."""
    process = factors[0][1].process
    moves = [process.posterior(said, state.tokens, t0, t1) for said in state.said]
    back = process.noising(state.tokens, t0, t1)
    exponents = [beta for beta, _ in factors]
    surplus = jnp.asarray(1 - sum(exponents))
    return power_product([*exponents, surplus], [*moves, back])


def complete(factors: Factors, key: Key, state: Moving) -> Array:
    """Every token drawn from Π_i q_i(clean_l | x)^{β_i} by itself: an estimate of where the sequence will end."""
    clean = power_product([beta for beta, _ in factors], list(state.said))
    return categorical(stream(key, Use.PROBE), clean, TOKENS)


def _said(factors: Factors, tokens: Array, t: Array) -> Array:
    return jnp.stack([pred(tokens, t) for _, pred in factors])
