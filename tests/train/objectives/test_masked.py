"""The masked loss against closed forms: every text, every mask, and time by quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import discrete
from fkdiff.train.objectives.masked import batch_masked_loss, masked_loss

V, L = 3, 3
PROCESS = discrete.masked(V)
TEXTS = np.array(list(itertools.product(range(V), repeat=L)))
MASKS = np.array(list(itertools.product([False, True], repeat=L)))
LAW = np.random.default_rng(5).dirichlet(np.full(len(TEXTS), 0.4))  # skewed, with strong dependence
ENTROPY = -(LAW * np.log(LAW)).sum()
# Polynomials in t of degree below 2 · 24 are integrated exactly.
NODES, MASSES = np.polynomial.legendre.leggauss(24)
NODES, MASSES = (NODES + 1) / 2, MASSES / 2


def posterior():
    """log p(x_i | what is kept) for every pattern of kept tokens, by enumeration: (4, 4, 4, L, V); 3 is the mask."""
    table = np.zeros((V + 1,) * L + (L, V))
    for seen in itertools.product(range(V + 1), repeat=L):
        fits = np.all([(s == V) | (TEXTS[:, i] == s) for i, s in enumerate(seen)], axis=0)
        for i, v in itertools.product(range(L), range(V)):
            table[(*seen, i, v)] = LAW[fits & (TEXTS[:, i] == v)].sum()
    return table / table.sum(-1, keepdims=True)


POSTERIOR = posterior()


def table_apply(theta, tokens, t, cond):
    """The exact denoiser, moved by θ: one logit for every pattern, place and token."""
    exact = jnp.log(jnp.maximum(jnp.asarray(POSTERIOR), 1e-300))
    a, b, c = tokens
    return exact[a, b, c] + theta[a, b, c]


def expected_loss(theta, loss=masked_loss, apply=table_apply):
    """∫ dt Σ_masks P(mask) Σ_texts p(text) loss, exactly, in nats per token."""
    texts, masks, times = jnp.asarray(TEXTS), jnp.asarray(MASKS), jnp.asarray(NODES)

    def one(tokens, masked, t):
        return loss(PROCESS, apply, theta, tokens, masked, t)

    every = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))(texts, masks, times)
    hidden = 1 - NODES  # by hand, and not through the process
    number = MASKS.sum(1)[:, None]
    probability = hidden**number * (1 - hidden) ** (L - number)
    return jnp.einsum("xmt,x,mt,t->", every, jnp.asarray(LAW), jnp.asarray(probability), jnp.asarray(MASSES))


ZERO = np.zeros((V + 1,) * L + (L, V))


@pytest.mark.x64
def test_the_exact_denoiser_scores_the_entropy_and_is_stationary():
    value, gradient = jax.jit(jax.value_and_grad(expected_loss))(jnp.asarray(ZERO))
    assert abs(float(value) * L - ENTROPY) <= 1e-12
    assert float(jnp.abs(gradient).max()) <= 1e-10


@pytest.mark.x64
def test_any_other_denoiser_scores_the_entropy_and_a_divergence():
    theta = jnp.asarray(np.random.default_rng(1).normal(size=ZERO.shape))
    # What the bound is of: the average over orders of revealing, one at a time, of −log p_θ.
    moved = np.exp(np.log(np.maximum(POSTERIOR, 1e-300)) + np.asarray(theta))
    moved = np.log(moved / moved.sum(-1, keepdims=True))
    by_order = []
    for order in itertools.permutations(range(L)):
        total = np.zeros(len(TEXTS))
        for place, text in enumerate(TEXTS):
            seen = np.full(L, V)
            for i in order:
                total[place] -= moved[(*seen, i, text[i])]
                seen[i] = text[i]
        by_order.append(total)
    wanted = LAW @ np.mean(by_order, axis=0)
    assert wanted >= ENTROPY + 0.1
    assert abs(float(jax.jit(expected_loss)(theta)) * L - wanted) <= 1e-10


def forgotten_weight(process, apply, theta, tokens, masked, t):
    """The rate left out, as in masked language models."""
    return masked_loss(process, apply, theta, tokens, masked, t) * (1 - t)


def wrong_weight(process, apply, theta, tokens, masked, t):
    """1/t in place of 1/(1 − t)."""
    return masked_loss(process, apply, theta, tokens, masked, t) * (1 - t) / t


def leaking(process, apply, theta, tokens, masked, t):
    """The denoiser is shown what it should guess."""
    return masked_loss(process, lambda theta, seen, t, cond: apply(theta, tokens, t, cond), theta, tokens, masked, t)


@pytest.mark.x64
@pytest.mark.parametrize("mutant", [forgotten_weight, wrong_weight, leaking])
def test_a_planted_weight_does_not_score_the_entropy(mutant):
    value = jax.jit(lambda theta: expected_loss(theta, loss=mutant))(jnp.asarray(ZERO))
    assert not abs(float(value) * L - ENTROPY) <= 1e-2


@pytest.mark.x64
def test_a_denoiser_that_reads_the_wrong_place_is_not_stationary():
    def shifted(theta, tokens, t, cond):
        return jnp.roll(table_apply(theta, tokens, t, cond), 1, axis=0)

    score = jax.jit(jax.value_and_grad(lambda theta: expected_loss(theta, apply=shifted)))
    value, gradient = score(jnp.asarray(ZERO))
    assert not abs(float(value) * L - ENTROPY) <= 1e-2
    assert not float(jnp.abs(gradient).max()) <= 1e-4


class Overmasked(discrete.Masked):
    """Keeps tokens with probability t², where the loss weighs by 1/(1 − t)."""

    def kept(self, t):
        return t**2


@pytest.mark.x64
@pytest.mark.parametrize("power, process", [(2.0, PROCESS), (3.0, PROCESS), (2.0, Overmasked(V))])
def test_the_batch_draws_times_and_masks_from_the_law_that_the_weight_assumes(power, process):
    num = 1 << 15
    rows = np.random.default_rng(2).choice(len(TEXTS), num, p=LAW)
    # Stratified times and texts: the mean over a batch is unbiased, its error below that of independent draws.
    values = jax.jit(
        lambda key: batch_masked_loss(key, process, table_apply, jnp.asarray(ZERO), jnp.asarray(TEXTS[rows]), power)
    )
    draws = np.array([values(jax.random.key(seed)) for seed in range(16)])
    # Texts are drawn once, so the target is the mean over them of what is expected of each.
    scores = conditional_scores()[rows].mean()
    deviation = draws.std(ddof=1) / 4
    print(f"mean {draws.mean():.5f}, wanted {scores:.5f}, standard error {deviation:.5f}")
    assert deviation <= 0.01
    # Student's t with 15 degrees of freedom leaves (−12, 12) with probability 1e-8 at most.
    assert (abs(draws.mean() - scores) <= 12 * deviation) == (process is PROCESS)


def conditional_scores():
    """Expected loss of every text under the exact denoiser, per token, by NumPy."""
    hidden = 1 - NODES
    scores = np.zeros(len(TEXTS))
    for masked in MASKS:
        weight = hidden ** masked.sum() * (1 - hidden) ** (L - masked.sum()) / (1 - NODES)
        for row, text in enumerate(TEXTS):
            seen = np.where(masked, V, text)
            entropies = [-np.log(POSTERIOR[(*seen, i, text[i])]) for i in range(L) if masked[i]]
            scores[row] += (MASSES @ weight) * sum(entropies) / L
    return scores


@pytest.mark.parametrize("power", [1.5, 2.0, 4.0])
def test_a_network_that_reads_the_time_is_told_the_share_that_is_kept(power):
    """One token whose cross-entropy is t² by construction: the loss is ∫ t² dt, in training as in sampling."""

    def apply(params, tokens, t, cond):
        return jnp.stack([-(t**2), jnp.log(-jnp.expm1(-(t**2)))])[None]

    coin = discrete.masked(2)
    tokens = jnp.zeros((1 << 17, 1), jnp.int32)
    values = [float(batch_masked_loss(jax.random.key(s), coin, apply, (), tokens, power)) for s in range(4)]
    error = np.std(values, ddof=1) / 2
    print(f"{np.mean(values):.4f} ± {error:.4f}")
    # Student's t with 3 degrees of freedom leaves (−100, 100) with probability 1e-5; the wrong time gives 0.1 or 0.6.
    assert error <= 3e-3
    assert abs(np.mean(values) - 1 / 3) <= max(6 * error, 2e-2)
