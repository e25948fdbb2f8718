"""An estimate with its standard error, and the interval that follows."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, FkdiffError, Scalar, bisect, concrete, require
from fkdiff.core.host import intended_transfers
from fkdiff.smc.results.tails import HEAVY


class Estimate(eqx.Module):
    """A value and how far it may be off.

    Attributes:
        value: Any shape.
        standard_error: The same shape.
        dof: Degrees of freedom behind the standard error (Student's t); None where they are many (normal).
        tail_index: k̂ of the largest terms of the average, shaped as `value`; None or NaN where it was not measured.
            Terms whose tail falls as x^{−1/k} have no variance from k = ½ on, and the error is then far too small.
        steps: What the error of time steps adds, in the standard error already; None where it was not measured.
        heavy: The k̂ above which the error is doubted, by the number of terms.
    """

    value: Array
    standard_error: Array
    dof: Scalar = None
    tail_index: Scalar = None
    steps: Scalar = None
    heavy: float = eqx.field(static=True, default=HEAVY)

    def problems(self) -> tuple[list[str], list[str]]:
        """Sentences that forbid using the estimate, and sentences that ask for a second look; see `fkdiff.check`."""
        value, error, index = (concrete(leaf) for leaf in (self.value, self.standard_error, self._index))
        if value is None or error is None or index is None:
            raise FkdiffError(
                "an estimate can be checked only outside jit, grad and vmap; return it and check what comes back."
            )
        if not (np.isfinite(value).all() and not np.isnan(error).any()):
            return ["the estimate is not finite; check the run that it came from, and the function."], []
        worst = float(np.max(index, initial=-np.inf, where=~np.isnan(index)))
        if worst > self.heavy:
            return [], [
                f"the terms of the average have a heavy tail (k = {worst:.2g}, and an error bar needs less than 0.5), "
                "so that the standard error is only a lower bound; average a function that grows more slowly, or draw "
                "from a law that is wide where the function is large; see SYMPTOMS.md#heavy-averages"
            ]
        return [], []

    @property
    def _index(self) -> Array:
        return jnp.full((), jnp.nan) if self.tail_index is None else self.tail_index

    @intended_transfers
    def interval(self, level: Scalar = 0.95) -> tuple[Array, Array]:
        """Two-sided confidence interval (low, high) at `level`."""
        known = concrete(level)
        require(
            known is None or bool(0 < known < 1),
            f"level={level} must lie strictly between 0 and 1; 0.95 is the usual choice.",
        )
        reach = quantile(level, self.dof) * self.standard_error
        return self.value - reach, self.value + reach

    @intended_transfers
    def __repr__(self) -> str:
        value, error = concrete(self.value), concrete(self.standard_error)
        if value is None or error is None or concrete(self._index) is None:
            return eqx.tree_pformat(self)
        _, doubts = self.problems()
        sign, doubt = ("± at least", f"\n  doubt: {doubts[0]}") if doubts else ("±", "")
        if value.ndim == 0:
            return f"{float(value):.5g} {sign} {float(error):.2g}{doubt}"
        return f"Estimate(value={value}, standard_error={error}){doubt}"

    __str__ = __repr__


def quantile(level: Scalar, dof: Scalar = None) -> Array:
    """q with P(|T| < q) = level, for T normal or Student's t with `dof` degrees of freedom.

    With y = t²/(dof + t²), P(|T| < t) is the regularised incomplete beta function I_y(½, dof/2), which is inverted by
    bisection.
    """
    level = jnp.asarray(level, jnp.result_type(float))
    if dof is None:
        return jax.scipy.special.ndtri(0.5 * (1 + level))
    dof = jnp.asarray(dof, level.dtype)

    def below(y):
        return jax.scipy.special.betainc(0.5, 0.5 * dof, y) <= level

    low, high = bisect(below, jnp.zeros_like(level), jnp.ones_like(level), 60)
    y = 0.5 * (low + high)
    return jnp.sqrt(dof * y / (1 - y))
