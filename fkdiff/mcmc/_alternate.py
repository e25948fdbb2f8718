"""Several kernels in turn: small steps for the narrow parts of a law, large ones for the wide."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, acceptance_of, expect, require, wide_dtype
from fkdiff.mcmc.states import kernel_of


class AlternateInfo(NamedTuple):
    """What a round of several kernels did.

    Attributes:
        acceptance_prob: Mean over those that report one; None if none does.
        divergent: Whether any was.
        each: Their own infos.
    """

    acceptance_prob: Array | None
    divergent: Array
    each: tuple[Any, ...]


class Alternate(eqx.Module):
    """See `alternate`."""

    kernels: tuple[Kernel, ...]

    def init(self, key, position):
        """That of the first."""
        return self.kernels[0].init(key, position)

    def step(self, key, state):
        """One step of each, in order, with keys of their own."""
        infos = []
        for number, kernel in enumerate(self.kernels):
            state, info = kernel.step(jax.random.fold_in(key, number), state)
            infos.append(info)
        rates = [rate for rate in map(acceptance_of, infos) if rate is not None]
        mean = jnp.mean(jnp.stack([rate.astype(wide_dtype(rates)) for rate in rates]), axis=0) if rates else None
        divergent = jnp.stack([getattr(i, "divergent", jnp.bool_(False)) for i in infos]).any(axis=0)
        return state, AlternateInfo(mean, divergent, tuple(infos))


def alternate(*kernels: Kernel) -> Kernel:
    """One step of every kernel in turn: if each leaves p invariant, so does the round.

        fkdiff.mcmc.alternate(fkdiff.mcmc.hmc(f, 0.1, 10), fkdiff.mcmc.hmc(f, 0.5, 10))

    One step size fits a law of one scale. A funnel has many, and two steps reach both its neck and its mouth.

    Args:
        kernels: At least two, of one density, with one kind of state (`hmc`, `mala` and `ula` share theirs).

    Returns:
        `Kernel`; its info is an `AlternateInfo`.

    Raises:
        FkdiffError: Fewer than two, or something that is no kernel; states that differ raise when traced.

    Cost: the sum of theirs.

    Gradients: pathwise if all are, else refused.

    References: Tierney (1994), section 2.4, on hybrid kernels.
    """
    require(len(kernels) >= 2, f"alternate was given {len(kernels)} kernels; pass at least two.")
    for number, kernel in enumerate(kernels):
        expect(f"kernels[{number}]", kernel, Kernel, "pass kernels such as those of fkdiff.mcmc")
    gradient = "pathwise" if all(k.gradient == "pathwise" for k in kernels) else "refused"
    return kernel_of(Alternate(kernels), gradient, sum(k.evaluations for k in kernels))
