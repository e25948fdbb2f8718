"""Steered chains against importance sampling of the same chain: an oracle that shares no bookkeeping.

The law asked for is p_base e^{λr}, p_base being what the discretised solver samples; plain draws of that solver,
weighted by e^{λr} afterwards, estimate it without potentials, ramps or resampling.
"""

import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk

PATH = fk.paths.variance_preserving()
MIXTURE = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
PRED, SOLVER, STEPS = MIXTURE.predictor(PATH), fk.solvers.ddim(eta=1.0), 12


def slope(x):
    return 0.6 * x[0]


def hill(x):
    return -((x[0] - 1) ** 2) / 4 + 5


REWARDS = {"slope": slope, "hill": hill}


def oracle(base, reward):
    """log Z, mean and P(x < 0) with standard errors, by weighting plain draws."""
    log_w = np.asarray(jax.vmap(reward)(jnp.asarray(base)), np.float64)
    w = np.exp(log_w - log_w.max())
    share = w / w.sum()
    values = np.stack([base[:, 0], base[:, 0] < 0], axis=1).astype(np.float64)
    means = share @ values
    errors = np.sqrt(np.sum(share[:, None] ** 2 * (values - means) ** 2, axis=0))
    log_z = log_w.max() + np.log(w.mean())
    return np.append(log_z, means), np.append(w.std() / w.mean() / np.sqrt(len(w)), errors)


# Every way to steer has the same law. name: (options, whether it belongs to the fast tier)
WAYS = {
    "difference": ({}, True),
    "max": ({"potential": "max"}, False),
    "sum": ({"potential": "sum"}, False),
    "terminal": ({"potential": "terminal"}, False),
    "draws": ({"intermediate": fk.steering.clean_draws(4)}, False),
    "learned": ({"intermediate": fk.steering.learned(lambda x, t: 0.4 * t * x[0])}, False),
    "twisted": ({"proposal": "twisted"}, True),
    "twisted, draws": ({"proposal": "twisted", "intermediate": fk.steering.clean_draws(4)}, False),
    "twisted, learned": (
        {"proposal": "twisted", "intermediate": fk.steering.learned(lambda x, t: 0.4 * t * x[0])},
        False,
    ),
    "adaptive ramp": ({"ramp": fk.steering.adaptive_ramp(0.8)}, False),
    "adaptive ramp, twisted": ({"ramp": fk.steering.adaptive_ramp(0.8), "proposal": "twisted"}, False),
    "adaptive ramp, sum": ({"ramp": fk.steering.adaptive_ramp(0.8), "potential": "sum"}, False),
    "early ramp": ({"ramp": lambda s: jnp.minimum(2 * s, 1.0)}, False),
}


def found_by(model, threshold, populations=8):
    """log Z, mean and P(x < 0) with standard errors."""
    rule = fk.smc.adaptive(fk.smc.systematic, threshold)
    many = fk.replicate(jax.random.key(1), populations, model, fk.grid(STEPS, PATH), 2048, resample=rule)
    mean = many.expectation(lambda x: jnp.stack([x[0], (x[0] < 0).astype(x.dtype)]))
    evidence = many.evidence
    return np.append(evidence.value, mean.value), np.append(evidence.standard_error, mean.standard_error)


def check_law(base, name, threshold, way, bound=0.05):
    truth, error = oracle(base, REWARDS[name])
    found, spread = found_by(fk.steer(PRED, SOLVER, REWARDS[name], **WAYS[way][0]), threshold)
    # Eight populations: seven degrees of freedom, so 8 of their errors rather than 5.
    assert np.all(np.abs(found - truth) <= 8 * np.sqrt(spread**2 + error**2))
    assert np.all(spread <= bound)
