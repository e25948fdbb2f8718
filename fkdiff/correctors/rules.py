"""What people ask for. Each rule returns a `WeightedSDE`, and takes one wherever it takes a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx

from fkdiff.core import Array, FkdiffError, Scalar, number, require
from fkdiff.correctors import tilts as tilting
from fkdiff.correctors.exponents import check_exponents
from fkdiff.correctors.reference import Reference
from fkdiff.correctors.weighted_sde import WeightedSDE
from fkdiff.prediction import Predictor
from fkdiff.smc.combinators.potentials import linear_ramp

Target = Predictor | WeightedSDE


def _lifted(target: Target, argument: str) -> WeightedSDE:
    """A model as the trivial target q^1."""
    if isinstance(target, WeightedSDE):
        return target
    if isinstance(target, Predictor):
        require(
            not target.coupled,
            f"{argument} was trained on coupled pairs of noise and data (minibatch optimal transport) and has no score "
            'to correct by; train with coupling "independent".',
        )
        one, zero = number("one", 1.0), number("zero", 0.0)
        return WeightedSDE(((one, target),), (), Reference(zero, one), zero)
    raise FkdiffError(
        f"{argument} is a {type(target).__name__}; pass a Predictor (fkdiff.targets, Parameterization.predictor, "
        "fkdiff.interop, load_predictor) or another corrector's target."
    )


def _powered(target: WeightedSDE, beta: Array) -> WeightedSDE:
    """p̃^β: every exponent and every reward strength times β."""
    factors = tuple((exponent * beta, pred) for exponent, pred in target.factors)
    tilts = tuple(eqx.tree_at(lambda t: t.strength, tilt, tilt.strength * beta) for tilt in target.tilts)
    return WeightedSDE(factors, tilts, target.reference, target.noise)


def _merged(targets: Sequence[WeightedSDE]) -> WeightedSDE:
    """The product of targets; equal models share one factor, so that each is called once."""
    factors: list[tuple[Array, Predictor]] = []
    for target in targets:
        for beta, pred in target.factors:
            known = [i for i, (_, other) in enumerate(factors) if other is pred]
            if known:
                factors[known[0]] = (factors[known[0]][0] + beta, pred)
            else:
                factors.append((beta, pred))
    tilts = tuple(tilt for target in targets for tilt in target.tilts)
    merged = WeightedSDE(tuple(factors), tilts, targets[0].reference, targets[0].noise)
    shapes = {pred.shape for _, pred in factors}
    require(
        len(shapes) == 1,
        f"the models have different shapes {sorted(shapes)}; a product needs one sample space.",
    )
    return merged


def anneal(pred: Target, beta: Scalar) -> WeightedSDE:
    """The law q^β, normalised: colder and sharper for β > 1, hotter for β < 1.

    Args:
        pred: A model, or a target.
        beta: Inverse temperature, positive.

    References:
        Skreta et al. (2025), Proposition 3.1 for the published form.
    """
    target = _powered(_lifted(pred, "pred"), number("beta", beta, action="the inverse temperature"))
    check_exponents(target)
    return target


def product(preds: Sequence[Target], exponents: Sequence[Scalar] | None = None) -> WeightedSDE:
    """The law Π q_i^{β_i}, normalised; models may live on different paths.

    Args:
        preds: Models or targets of one shape.
        exponents: β_i, one per model, signed; 1 each by default. Their sum must be positive.

    References:
        Skreta et al. (2025), Proposition 3.3; the gauge for different paths is ours.
    """
    require(
        isinstance(preds, list | tuple),
        f"preds is a {type(preds).__name__}; pass a list of models, [first, second].",
    )
    require(len(preds) > 0, "preds is empty; pass at least one model.")
    exponents = [1.0] * len(preds) if exponents is None else list(exponents)
    require(
        len(exponents) == len(preds),
        f"exponents has {len(exponents)} entries for {len(preds)} models; pass one exponent per model.",
    )
    parts = [
        _powered(_lifted(p, f"preds[{i}]"), number(f"exponents[{i}]", b))
        for i, (p, b) in enumerate(zip(preds, exponents, strict=True))
    ]
    target = _merged(parts)
    check_exponents(target)
    return target


def guidance(conditional: Target, unconditional: Target, scale: Scalar = 1.5) -> WeightedSDE:
    """The law q_u^{1−w} q_c^w that classifier-free guidance is meant to sample, and does not.

    Args:
        conditional: q_c, the model given its condition.
        unconditional: q_u.
        scale: w; 1 is the conditional model.

    References:
        Ho and Salimans (2022), eq. 6; Skreta et al. (2025), Proposition 3.2.
    """
    scale = number("scale", scale, action="1 is the conditional model")
    return product([unconditional, conditional], [1 - scale, scale])


def tilt(
    target: Target,
    reward: Callable[[Array], Array],
    ramp: Callable[[Array], Array] = linear_ramp,
    *,
    strength: Scalar = 1.0,
    on: str = "x",
) -> WeightedSDE:
    """The law p · e^{strength · reward}, normalised.

    Args:
        target: A model, or a target.
        reward: `reward(x) -> scalar` in nats for ONE example, differentiable by JAX. For a black box use
            `fkdiff.steer`.
        ramp: `ramp(progress)`, how much of the reward the intermediate laws carry; progress runs from 0 at t_min to
            1 at t_max, and ramp(1) must be 1.
        strength: λ; a leaf, so that another value compiles nothing.
        on: "x" evaluates the reward at the noisy position (no extra call), "clean" at the model's clean estimate (one
            evaluation and one reverse pass more; better for rewards trained on clean data).

    References:
        Skreta et al. (2025), Proposition 3.4; Wu et al. (2023) for rewards on the clean estimate.
    """
    lifted = _lifted(target, "target")
    added = tilting.checked_tilt(reward, lifted.shape, strength, ramp, on)
    return WeightedSDE(lifted.factors, (*lifted.tilts, added), lifted.reference, lifted.noise)
