"""Steering of token sequences: any reward, on denoisers and their powers, products and guided versions."""

from __future__ import annotations

from typing import Any

from fkdiff.core import expect, require
from fkdiff.discrete import DiscreteChain, Unmask, checked_order, lifted


def token_chain(target: Any, solver: Any, proposal: str, chunk: int | None) -> DiscreteChain:
    """The steps of a masked denoiser, or of a target of several, as `fkdiff.steer` rewards them."""
    target = lifted(target, "pred")
    expect("solver", solver, Unmask, "sequences move by fkdiff.discrete.unmask(order) or ancestral_steps()")
    require(
        proposal == "base",
        f'proposal="{proposal}" follows a gradient, which tokens do not have; use proposal="base".',
    )
    return DiscreteChain(target, checked_order(target, solver.order), chunk=chunk)
