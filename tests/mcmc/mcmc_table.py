"""One row per kernel: what the conformance tests run."""

import jax
import jax.numpy as jnp

from fkdiff import mcmc

POSITION = {"a": jnp.asarray([0.3, -0.7]), "b": jnp.asarray(0.5)}
DIAGONAL = {"a": jnp.asarray([0.8, 1.2]), "b": jnp.asarray(0.6)}
DENSE = [[1.0, 0.2, 0.0], [0.2, 0.8, 0.1], [0.0, 0.1, 0.6]]


class Target:
    """A skewed log-density on POSITION that counts how often it is traced."""

    def __init__(self):
        self.traces = 0

    def __call__(self, x):
        self.traces += 1
        return -jnp.sum(jnp.cosh(x["a"])) - (x["b"] - x["a"][0] ** 2) ** 2 / 2 + 0.3 * x["a"][1]


class Score:
    """A score that counts likewise."""

    def __init__(self):
        self.traces = 0

    def __call__(self, x, sigma):
        self.traces += 1
        return jax.tree.map(lambda leaf: -leaf / (1 + sigma.astype(leaf.dtype) ** 2), x)


def laplace(x):
    return 0.1 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(x))


def spread(x):
    return 1 + 0.1 * x["b"] ** 2


def diagonal(x):
    return jax.tree.map(lambda leaf: 1 + 0.1 * leaf**2, x)


# name: (kernel of a counter and a step size, gradient class)
KERNELS = {
    "ula": (mcmc.ula, "pathwise"),
    "randomized_midpoint": (mcmc.randomized_midpoint, "pathwise"),
    "baoab": (lambda f, h: mcmc.underdamped(f, h, 1.3, "baoab", DIAGONAL), "pathwise"),
    "obabo": (lambda f, h: mcmc.underdamped(f, h, 1.3, "obabo"), "pathwise"),
    "myula": (lambda f, h: mcmc.myula(f, mcmc.soft_threshold, h, 0.2), "pathwise"),
    "state_dependent": (lambda f, h: mcmc.state_dependent(f, spread, h), "pathwise"),
    "state_dependent, diagonal": (lambda f, h: mcmc.state_dependent(f, diagonal, h), "pathwise"),
    "annealed_langevin": (lambda s, h: mcmc.annealed_langevin(s, [2.0, 0.5], h, 3), "pathwise"),
    "mala": (mcmc.mala, "refused"),
    "mala, dense": (lambda f, h: mcmc.mala(f, h, DENSE), "refused"),
    "hmc": (lambda f, h: mcmc.hmc(f, h, 3), "refused"),
    "hmc, diagonal, jitter": (lambda f, h: mcmc.hmc(f, h, 2, DIAGONAL, 0.3), "refused"),
    "random_walk": (mcmc.random_walk, "refused"),
    "alternate": (lambda f, h: mcmc.alternate(mcmc.hmc(f, h, 2), mcmc.mala(f, 3 * h)), "refused"),
    "alternate, unadjusted": (lambda f, h: mcmc.alternate(mcmc.ula(f, h), mcmc.ula(f, 2 * h)), "pathwise"),
}
QUICK = ("ula", "baoab", "annealed_langevin", "mala, dense", "hmc, diagonal, jitter", "random_walk", "alternate")


def counter_of(name):
    return Score() if name == "annealed_langevin" else Target()
