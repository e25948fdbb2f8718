"""Markov kernels, their driver, and the parameters that adaptation finds: one kernel a file.

Every kernel is a `fkdiff.Kernel` of pure functions, moves any pytree of real arrays, and evaluates its density once per
new position. Its parameters are leaves: another step size compiles nothing.

Unadjusted, with a bias that vanishes with the step, and pathwise gradients:

- `ula`: `ula`: Euler–Maruyama of overdamped Langevin dynamics
- `randomized_midpoint`: `randomized_midpoint`: the drift at a uniform time within the step
- `underdamped`: `underdamped`: kinetic Langevin dynamics, BAOAB and OBABO
- `myula`: `myula`, `soft_threshold`: densities with a part that has no gradient
- `state_dependent`: `state_dependent`: a diffusion that depends on the position
- `annealed_langevin`: `annealed_langevin`: score models over decreasing noise levels

Adjusted, with the target as exact law; derivatives through them are refused, naming `fkdiff.gradients.expectation`:

- `mala`: `mala`: Langevin proposals
- `hmc`: `hmc`: leapfrog trajectories with a diagonal or dense mass and jittered length
- `random_walk`: `random_walk`: Gaussian proposals, without a gradient

- `alternate`: `alternate`: several kernels in turn
- `parallel_tempering`: `parallel_tempering`: replicas at many temperatures that swap

Around them:

- `chain`: `run_chain`: one compiled scan, for one chain or many
- `adaptation`: `dual_averaging`: the step size at which an acceptance is reached
- `mass`: `mass_from_window`, `mass_from_population`: inverse masses from draws
- `metric`, `states`, `noise`, `trees`: what the kernels share
"""

from fkdiff.mcmc._alternate import AlternateInfo, alternate
from fkdiff.mcmc._annealed_langevin import AnnealedState, annealed_langevin
from fkdiff.mcmc._hmc import hmc, leapfrog
from fkdiff.mcmc._mala import mala
from fkdiff.mcmc._metric import Metric, metric
from fkdiff.mcmc._myula import myula, soft_threshold
from fkdiff.mcmc._parallel_tempering import Ladder, LadderInfo, parallel_tempering
from fkdiff.mcmc._random_walk import random_walk
from fkdiff.mcmc._randomized_midpoint import randomized_midpoint
from fkdiff.mcmc._state_dependent import state_dependent
from fkdiff.mcmc._ula import ula
from fkdiff.mcmc._underdamped import KineticState, underdamped
from fkdiff.mcmc.adaptation import Adaptation, dual_averaging
from fkdiff.mcmc.chain import Chain, run_chain
from fkdiff.mcmc.mass import mass_from_population, mass_from_window
from fkdiff.mcmc.states import Info, State, UnadjustedInfo

__all__ = [
    "Adaptation", "alternate", "AlternateInfo", "annealed_langevin", "AnnealedState", "Chain", "dual_averaging",
    "hmc", "Info", "KineticState", "Ladder", "LadderInfo", "leapfrog", "mala", "mass_from_population",
    "mass_from_window", "Metric", "metric", "myula", "parallel_tempering", "random_walk", "randomized_midpoint",
    "run_chain", "soft_threshold", "State", "state_dependent", "ula", "UnadjustedInfo", "underdamped",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules


def __getattr__(name: str) -> type[Adaptation]:
    """Names of the last release, for one more."""
    if name != "Tuned":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    # `fkdiff.smc.Tuned` is something else, so one name meant two things.
    warnings.warn("fkdiff.mcmc.Tuned is now fkdiff.mcmc.Adaptation.", DeprecationWarning, stacklevel=2)
    return Adaptation
