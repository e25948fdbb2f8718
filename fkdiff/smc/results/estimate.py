"""An estimate with its standard error, and the interval that follows."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Scalar, bisect, concrete, require


class Estimate(eqx.Module):
    """A value and how far it may be off.

    Attributes:
        value: Any shape.
        standard_error: The same shape.
        dof: Degrees of freedom behind the standard error (Student's t); None where they are many (normal).
    """

    value: Array
    standard_error: Array
    dof: Scalar = None

    def interval(self, level: Scalar = 0.95) -> tuple[Array, Array]:
        """Two-sided confidence interval (low, high) at `level`."""
        known = concrete(level)
        require(
            known is None or bool(0 < known < 1),
            f"level={level} must lie strictly between 0 and 1; 0.95 is the usual choice.",
        )
        reach = quantile(level, self.dof) * self.standard_error
        return self.value - reach, self.value + reach

    def __repr__(self) -> str:
        value, error = concrete(self.value), concrete(self.standard_error)
        if value is None or error is None:
            return eqx.tree_pformat(self)
        if value.ndim == 0:
            return f"{float(value):.5g} ± {float(error):.2g}"
        return f"Estimate(value={value}, standard_error={error})"

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
