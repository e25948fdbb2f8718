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

from fkdiff.mcmc.adaptation import Adaptation as Adaptation
from fkdiff.mcmc.adaptation import dual_averaging as dual_averaging
from fkdiff.mcmc.alternate import AlternateInfo as AlternateInfo
from fkdiff.mcmc.alternate import alternate as alternate
from fkdiff.mcmc.annealed_langevin import AnnealedState as AnnealedState
from fkdiff.mcmc.annealed_langevin import annealed_langevin as annealed_langevin
from fkdiff.mcmc.chain import Chain as Chain
from fkdiff.mcmc.chain import run_chain as run_chain
from fkdiff.mcmc.hmc import hmc as hmc
from fkdiff.mcmc.hmc import leapfrog as leapfrog
from fkdiff.mcmc.mala import mala as mala
from fkdiff.mcmc.mass import mass_from_population as mass_from_population
from fkdiff.mcmc.mass import mass_from_window as mass_from_window
from fkdiff.mcmc.metric import Metric as Metric
from fkdiff.mcmc.metric import metric as metric
from fkdiff.mcmc.myula import myula as myula
from fkdiff.mcmc.myula import soft_threshold as soft_threshold
from fkdiff.mcmc.parallel_tempering import Ladder as Ladder
from fkdiff.mcmc.parallel_tempering import LadderInfo as LadderInfo
from fkdiff.mcmc.parallel_tempering import parallel_tempering as parallel_tempering
from fkdiff.mcmc.random_walk import random_walk as random_walk
from fkdiff.mcmc.randomized_midpoint import randomized_midpoint as randomized_midpoint
from fkdiff.mcmc.state_dependent import state_dependent as state_dependent
from fkdiff.mcmc.states import Info as Info
from fkdiff.mcmc.states import State as State
from fkdiff.mcmc.states import UnadjustedInfo as UnadjustedInfo
from fkdiff.mcmc.ula import ula as ula
from fkdiff.mcmc.underdamped import KineticState as KineticState
from fkdiff.mcmc.underdamped import underdamped as underdamped


def __getattr__(name: str) -> type[Adaptation]:
    """Names of the last release, for one more."""
    if name != "Tuned":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    # `fkdiff.smc.Tuned` is something else, so one name meant two things.
    warnings.warn("fkdiff.mcmc.Tuned is now fkdiff.mcmc.Adaptation.", DeprecationWarning, stacklevel=2)
    return Adaptation
