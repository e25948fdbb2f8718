"""A mixture on the line, and how far samples are from its law at the end of a path."""

import numpy as np
from scipy.special import ndtr

from fkdiff.targets import gaussian_mixture

MEANS, VARIANCES, WEIGHTS = np.array([-2.0, 1.5]), np.array([0.25, 0.64]), np.array([0.3, 0.7])
REFERENCE = (0.45, 3.0955)  # mean and variance of the mixture


def predictor(path):
    return gaussian_mixture(MEANS[:, None], VARIANCES, WEIGHTS).predictor(path)


def dkwm(samples, alpha, sigma, level=1e-8):
    """KS distance to the noised mixture over the bound that an exact sampler exceeds with probability 1e-8."""
    samples = np.sort(np.asarray(samples, np.float64).ravel())
    sds = np.sqrt(alpha**2 * VARIANCES + sigma**2)
    ordered, n = ndtr((samples[:, None] - alpha * MEANS) / sds) @ WEIGHTS, samples.size
    steps = np.arange(n + 1) / n
    distance = max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())
    return distance / np.sqrt(np.log(2 / level) / (2 * n))


def ends(path):
    return float(path.alpha(path.t_max)), float(path.sigma(path.t_max))
