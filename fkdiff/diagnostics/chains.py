"""Have the chains converged, and what are their draws worth: R̂, effective sample sizes, Monte Carlo errors.

Every statistic is taken from chains split in half, so that one chain that drifts disagrees with itself. Ranks stand in
for values where a statistic must not depend on moments that may not exist:

    z = Φ⁻¹((rank − 3/8)/(S + 1/4)),    S draws in all

Draws are as `fkdiff.run_chain(..., collect=..., num_chains=...)` stacks them: (num_steps, num_chains, …), or
(num_steps,) for one chain of one number; or a pytree of such arrays, whose leaves are taken one by one. On the host, in
NumPy and double precision.

References: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021); Geyer (1992), section 3.3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from fkdiff.core import PyTree
from fkdiff.core.host import intended_transfers, numbers_of
from fkdiff.errors import require

TAILS = (0.05, 0.95)  # the quantiles whose estimates `tail_ess` values


def _each_leaf(statistic: Callable[[Any], np.ndarray]) -> Callable[[PyTree], Any]:
    """A statistic of one array for every leaf of a tree of draws."""

    @functools.wraps(statistic)
    def of_tree(draws: PyTree) -> Any:
        return jax.tree.map(statistic, draws)

    return intended_transfers(of_tree)


def _joined(tree: PyTree) -> np.ndarray:
    """All numbers of a tree."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


class ChainSummary(NamedTuple):
    """What chains say of each coordinate; every field has the shape, or the tree of shapes, of one draw.

    A coordinate that never moved has NaN for R̂ and both sizes, which says nothing of the others.

    Attributes:
        mean: Posterior mean.
        sd: Posterior standard deviation.
        mcse: Monte Carlo standard error of `mean`.
        rhat: `split_rhat`; above 1.01 the chains disagree.
        bulk_ess: `bulk_ess`; below 100 per chain, distrust the rest.
        tail_ess: `tail_ess`.
    """

    mean: PyTree
    sd: PyTree
    mcse: PyTree
    rhat: PyTree
    bulk_ess: PyTree
    tail_ess: PyTree

    def __str__(self) -> str:
        rhat, bulk, tail = (_joined(field) for field in (self.rhat, self.bulk_ess, self.tail_ess))
        moving = ~np.isnan(rhat)
        still = f"; {int((~moving).sum())} never moved" if not moving.all() else ""
        head = f"ChainSummary of {rhat.size} coordinates"
        if not moving.any():
            return f"{head}, none of which ever moved"
        worst = f"worst R̂ {np.max(rhat[moving]):.4g}, least ESS {np.nanmin(bulk):.4g} (bulk)"
        return f"{head}: {worst}, {np.nanmin(tail):.4g} (tails){still}"


@intended_transfers
def summary(draws) -> ChainSummary:
    """Mean, deviation, its Monte Carlo error, R̂ and both effective sample sizes of every coordinate.

    Args:
        draws: A pytree of leaves of shape (num_steps, num_chains, …), at least 8 steps; (num_steps,) is one chain.

    Raises:
        FkdiffError: The shape is wrong, or a draw is not finite.

    Cost: a few sorts and Fourier transforms per coordinate.
    """

    def mean(draws) -> np.ndarray:
        return draws.reshape(-1, *draws.shape[2:]).mean(axis=0)

    def sd(draws) -> np.ndarray:
        return draws.reshape(-1, *draws.shape[2:]).std(axis=0, ddof=1)

    checked = jax.tree.map(_checked, draws)
    require(bool(jax.tree.leaves(checked)), "draws hold no array; pass what run_chain(..., collect=...) collected.")
    return ChainSummary(*(jax.tree.map(each, checked) for each in (mean, sd, mcse, split_rhat, bulk_ess, tail_ess)))


@_each_leaf
def split_rhat(draws) -> np.ndarray:
    """Rank-normalised split R̂: the larger of that of the draws and that of their distances from the median.

    R̂ = √(((n − 1)/n W + B/n)/W) over halves of chains, B between and W within. The second catches chains that agree
    in location but not in scale. NaN where all draws are equal: a chain that never moved has shown nothing.

    Args: as `summary`. Returns: the shape of one draw. References: Vehtari et al. (2021), eqs. 3–4 and section 3.1.
    """
    halves = _halves(_checked(draws))
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.fmax(_rhat(_ranked(halves)), _rhat(_ranked(folded)))


@_each_leaf
def bulk_ess(draws) -> np.ndarray:
    """Effective number of independent draws for the bulk of the law: that of the normalised ranks.

    Args: as `summary`. Returns: the shape of one draw. References: Vehtari et al. (2021), section 4.2.
    """
    return _ess(_ranked(_halves(_checked(draws))))


@_each_leaf
def tail_ess(draws) -> np.ndarray:
    """The smaller effective number of draws of the 5 % and 95 % quantiles.

    Args: as `summary`. Returns: the shape of one draw. References: Vehtari et al. (2021), section 4.3.
    """
    draws = _checked(draws)
    cuts = np.quantile(draws, TAILS, axis=(0, 1))
    return np.minimum(*(_ess(_halves((draws <= cut).astype(np.float64))) for cut in cuts))


@_each_leaf
def mean_ess(draws) -> np.ndarray:
    """Effective number of draws for the mean: of the values themselves, whose variance must exist.

    Args: as `summary`. Returns: the shape of one draw.
    """
    return _ess(_halves(_checked(draws)))


@_each_leaf
def mcse(draws) -> np.ndarray:
    """Monte Carlo standard error of the mean, sd/√ESS.

    Args: as `summary`. Returns: the shape of one draw. References: Vehtari et al. (2021), section 4.4.
    """
    draws = _checked(draws)
    return draws.std(axis=(0, 1), ddof=1) / np.sqrt(_ess(_halves(draws)))


def _checked(draws) -> np.ndarray:
    """Draws as (num_steps, num_chains, …) in double precision."""
    draws = numbers_of("draws", draws)
    draws = draws[:, None] if draws.ndim == 1 else draws
    require(
        draws.ndim >= 2 and draws.shape[0] >= 8 and draws.size > 0,
        f"draws have shape {draws.shape}; pass (num_steps, num_chains, …) with at least 8 steps, as run_chain stacks "
        "them with num_chains.",
    )
    require(
        bool(np.isfinite(draws).all()),
        f"{np.size(draws) - int(np.isfinite(draws).sum())} of {draws.size} draws are not finite; run fkdiff.check on "
        "the chain first.",
    )
    return draws


def _halves(draws: np.ndarray) -> np.ndarray:
    """Each chain as two, (num_steps // 2, 2 num_chains, …); the middle draw of an odd number is left out."""
    half = draws.shape[0] // 2
    return np.concatenate([draws[:half], draws[-half:]], axis=1)


def _ranked(draws: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks over all chains, ties averaged."""
    ranks = rankdata(draws.reshape(-1, *draws.shape[2:]), axis=0).reshape(draws.shape)
    return ndtri((ranks - 0.375) / (draws.shape[0] * draws.shape[1] + 0.25))


def _variances(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(W, var⁺): within chains, and the pooled over-estimate ((n − 1)/n) W + B/n."""
    n, m = draws.shape[:2]
    within = draws.var(axis=0, ddof=1).mean(axis=0)
    between = draws.mean(axis=0).var(axis=0, ddof=1) if m > 1 else np.zeros_like(within)
    return within, (n - 1) / n * within + between


def _rhat(draws: np.ndarray) -> np.ndarray:
    within, pooled = _variances(draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(pooled / within)


def _ess(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of several chains by Geyer's initial monotone sequence; NaN where nothing varies.

    ρ_t = 1 − (W − mean autocovariance at lag t)/var⁺ is summed in pairs P_k = ρ_{2k} + ρ_{2k+1} while they are
    positive, each cut to at most the one before; τ = −1 + 2ΣP_k, and ESS = mn/τ, at most mn log₁₀(mn) (antithetic
    chains may exceed mn).
    """
    n, m = draws.shape[:2]
    within, pooled = _variances(draws)
    covariance = _autocovariance(draws).mean(axis=1)  # (n, …), divided by n
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance * n / (n - 1)) / pooled
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, *rho.shape[1:]).sum(axis=1)
    open_so_far = np.cumprod(pairs > 0, axis=0).astype(bool)
    falling = np.minimum.accumulate(np.where(open_so_far, pairs, 0.0), axis=0)
    tau = -1 + 2 * falling.sum(axis=0)
    total = m * n
    ess = total / np.maximum(tau, 1 / np.log10(total))
    return np.where(pooled > 0, ess, np.nan)


def _autocovariance(draws: np.ndarray) -> np.ndarray:
    """Autocovariance along axis 0 at every lag, divided by n, by a padded Fourier transform."""
    n = draws.shape[0]
    centred = draws - draws.mean(axis=0)
    transform = np.fft.rfft(centred, n=2 * n, axis=0)
    return np.fft.irfft(np.abs(transform) ** 2, n=2 * n, axis=0)[:n] / n
