"""Guidance towards an observation: its value at the end is the likelihood."""

from __future__ import annotations

import equinox as eqx

from fkdiff.core import Array
from fkdiff.inverse_problems.problem import Problem
from fkdiff.steering._chain import Chain
from fkdiff.steering.guidance import Guidance


class Towards(Guidance):
    """A guidance of an inverse problem.

    Attributes:
        problem: y, A and the Gaussian that stands for the data.
    """

    problem: eqx.AbstractVar[Problem]

    def settled(self, chain: Chain, x: Array) -> Array:
        return self.problem.likelihood(x)
