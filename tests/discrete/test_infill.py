"""Prompts: the law given some tokens, against the table of all sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import discrete

V, L = 3, 3
TABLE = np.random.default_rng(8).normal(size=V**L) * 1.2
MASKED = discrete.masked(V)
LAW = discrete.enumerated(TABLE, V, L)
PRED = LAW.predictor(MASKED)
STATES = np.array(list(itertools.product(range(V), repeat=L)))


def run(model, count=8192):
    out = fk.check(fk.run_smc(jax.random.key(0), model, jnp.linspace(0.0, 1.0, L + 1), count))
    weights = np.asarray(jax.nn.softmax(out.log_weights), np.float64)
    rows = np.asarray(LAW.index(out.particles))
    return np.bincount(rows, weights=weights, minlength=V**L), float(out.log_normalizer)


@pytest.mark.slow
@pytest.mark.parametrize("known", [[V, 2, V], [1, V, 0]])
def test_the_law_given_some_tokens_annealed(known):
    fits = np.all((np.array(known) == V) | (np.array(known) == STATES), axis=1)
    given = np.where(fits, np.exp(TABLE), 0) / np.exp(TABLE)[fits].sum()
    power = given**1.7
    found, log_z = run(discrete.anneal(discrete.infill(PRED, known), 1.7).feynman_kac("random"))
    assert not found[~fits].any()
    assert 0.5 * np.abs(found - power / power.sum()).sum() <= 3 / np.sqrt(8192)
    assert abs(log_z - np.log(power.sum())) <= 0.03
    # Nothing but the prompt tells the laws apart: without it they are far away.
    free, _ = run(discrete.anneal(PRED, 1.7).feynman_kac("random"))
    assert 0.5 * np.abs(free - power / power.sum()).sum() >= 0.3


def test_plain_sampling_takes_a_prompt_too():
    draws = discrete.sample(jax.random.key(1), discrete.infill(PRED, [V, 2, V]), jnp.linspace(0.0, 1.0, 33), 256)
    assert bool((draws[:, 1] == 2).all())
    assert len(np.unique(np.asarray(draws), axis=0)) > 4


@pytest.mark.parametrize(
    "call, part",
    [
        (lambda: discrete.infill(PRED, [0, 1]), "(2,)"),
        (lambda: discrete.infill(PRED, [0.0, 1.0, 2.0]), "float"),
        (lambda: discrete.infill(PRED, [0, 1, V + 1]), "outside 0 to 3"),
        (lambda: discrete.infill(LAW.predictor(discrete.uniform(V)), [0, 1, V]), "masked process"),
        (lambda: discrete.infill(LAW, [0, 1, V]), "denoiser"),
    ],
)
def test_wrong_prompts_raise_one_sentence(call, part):
    with pytest.raises(fk.FkdiffError) as caught:
        call()
    assert part in str(caught.value)
