"""The strictest test of an engine: Ẑ η̂(φ) is unbiased at N = 4, whatever resamples and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import smc
from tests.smc import smc_chain as chain

NEVER, SOMETIMES, UNLESS_EQUAL, ALWAYS = 0.0, 0.6, 1.0, 2.0


@pytest.mark.parametrize("threshold", [NEVER, SOMETIMES, UNLESS_EQUAL, ALWAYS])
@pytest.mark.parametrize("scheme", chain.SCHEMES, ids=lambda f: f.family)
def test_unnormalised_measure(scheme, threshold):
    chain.check_unbiased(chain.when(scheme, threshold))


def test_the_chain_resamples_sometimes_and_dies_sometimes():
    out = chain.chains(chain.when(smc.systematic, SOMETIMES), chain.RUNS, 0)
    share = np.mean(out.info.resampled)
    assert 0.1 < share < 0.9
    assert np.isneginf(out.log_weights).all(axis=1).any()


@pytest.mark.parametrize("threshold", [NEVER, ALWAYS])
def test_variance_of_the_evidence_is_unbiased(threshold):
    chain.check_lee_whiteley(chain.when(smc.multinomial, threshold))


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [NEVER, SOMETIMES, ALWAYS])
def test_gradient_through_stopped_resampling(threshold):
    chain.check_gradient(smc.stop_gradient(chain.when(smc.stratified, threshold)))


def test_stop_gradient_changes_no_number():
    log_weights = jnp.asarray([0.3, -2.0, 1.0, -jnp.inf, 0.0])

    @jax.jit
    def both(key):
        schemes = [smc.systematic, smc.adaptive(smc.stratified, 0.9)]
        return [f(key, log_weights) for f in schemes], [smc.stop_gradient(f)(key, log_weights) for f in schemes]

    plain, stopped = both(jax.random.key(0))
    assert all(jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(stopped), strict=True))
