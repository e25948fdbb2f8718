"""Sequential Monte Carlo: one exact engine for every Feynman–Kac model.

- `feynman_kac`: `FeynmanKac` (for one particle), `Population` (what the engine runs), `MoveInfo`, `lift`
- `run`: `run_smc`: a scan of `engine.init`, `engine.step` and `engine.finish`
- `resampling`: `Resampler`, what each of these is: `systematic`, `stratified`, `multinomial`, `residual`; `never`;
  `adaptive`, `stop_gradient` and `detached` decorate
- `soft`, `optimal_transport` (by `sinkhorn`): resampling with biased gradients; `never` has exact ones
- `window`: `within`, which resamples only inside a window of times
- `ancestors`: the same with injected uniforms
- `weights`: ESS, log-mean-exp and other arithmetic of log-weights
- `result`: `SMCResult` and `SMCInfo`; `health` says what is wrong with one, `saving` stores it
- `evidence`: the standard error of log Ẑ from one run
- `estimate`: `Estimate`: a value, its standard error and the interval
- `expectation`: `expectation` with an error bar that knows the genealogy; `resample` for equal weights
- `drive`: `run_smc` step by step from the host: progress, a clean Ctrl-C, rewards in plain Python
- `replicate`: independent populations, pooled, with between-population errors
- `each`: `run_each`: one population for each of many conditions
- `tempering`: `tempering`: SMC samplers from a prior to prior · likelihood; `temperatures` chooses the next one,
  `tuning` (`tuned`) and `moves` how to move, `waste_free` how to keep every move, `pilot` (`freeze`) fixes all of it
- `unadjusted`: annealed importance sampling by Langevin steps, differentiable throughout
- `two_sided`: evidence from both ends: `backwards`, `two_sided`, `bennett`
- `rejuvenation`: `rejuvenated`: any kernel as a move after resampling
- `conditional`: conditional SMC, a kernel on whole trajectories (particle Gibbs); `sweep` is one step of it and
  `retained` its resampling
"""

from fkdiff.smc.conditional import conditional as conditional
from fkdiff.smc.conditional import trajectory as trajectory
from fkdiff.smc.drive import drive as drive
from fkdiff.smc.each import run_each as run_each
from fkdiff.smc.engine import SMCState as SMCState
from fkdiff.smc.engine import StepInfo as StepInfo
from fkdiff.smc.engine import finish as finish
from fkdiff.smc.engine import init as init
from fkdiff.smc.engine import step as step
from fkdiff.smc.estimate import Estimate as Estimate
from fkdiff.smc.evidence import lineage_inflation as lineage_inflation
from fkdiff.smc.evidence import log_normalizer_error as log_normalizer_error
from fkdiff.smc.expectation import expectation as expectation
from fkdiff.smc.expectation import resample as resample
from fkdiff.smc.host import HostReward as HostReward
from fkdiff.smc.host import host as host
from fkdiff.smc.model import Model as Model
from fkdiff.smc.model import MoveInfo as MoveInfo
from fkdiff.smc.model import Pilot as Pilot
from fkdiff.smc.model import Wrapped as Wrapped
from fkdiff.smc.one_particle import FeynmanKac as FeynmanKac
from fkdiff.smc.one_particle import OneParticle as OneParticle
from fkdiff.smc.optimal_transport import OptimalTransport as OptimalTransport
from fkdiff.smc.optimal_transport import optimal_transport as optimal_transport
from fkdiff.smc.pilot import freeze as freeze
from fkdiff.smc.population import Population as Population
from fkdiff.smc.potentials import AdaptiveRamp as AdaptiveRamp
from fkdiff.smc.potentials import adaptive_ramp as adaptive_ramp
from fkdiff.smc.rejuvenation import Rejuvenated as Rejuvenated
from fkdiff.smc.rejuvenation import rejuvenated as rejuvenated
from fkdiff.smc.replicate import Replicates as Replicates
from fkdiff.smc.replicate import replicate as replicate
from fkdiff.smc.resampling import Adaptive as Adaptive
from fkdiff.smc.resampling import Decorated as Decorated
from fkdiff.smc.resampling import Resampler as Resampler
from fkdiff.smc.resampling import adaptive as adaptive
from fkdiff.smc.resampling import as_resampler as as_resampler
from fkdiff.smc.resampling import detached as detached
from fkdiff.smc.resampling import gradient_class as gradient_class
from fkdiff.smc.resampling import multinomial as multinomial
from fkdiff.smc.resampling import never as never
from fkdiff.smc.resampling import residual as residual
from fkdiff.smc.resampling import stop_gradient as stop_gradient
from fkdiff.smc.resampling import stratified as stratified
from fkdiff.smc.resampling import systematic as systematic
from fkdiff.smc.result import SMCInfo as SMCInfo
from fkdiff.smc.result import SMCResult as SMCResult
from fkdiff.smc.rewarded import Rewarded as Rewarded
from fkdiff.smc.rewarded import rewarded as rewarded
from fkdiff.smc.run import run_smc as run_smc
from fkdiff.smc.soft import Soft as Soft
from fkdiff.smc.soft import soft as soft
from fkdiff.smc.sweep import ConditionalInfo as ConditionalInfo
from fkdiff.smc.sweep import ConditionalState as ConditionalState
from fkdiff.smc.sweep import Trajectory as Trajectory
from fkdiff.smc.tempering import Tempered as Tempered
from fkdiff.smc.tempering import TemperingReport as TemperingReport
from fkdiff.smc.tempering import tempering as tempering
from fkdiff.smc.tuning import Tuned as Tuned
from fkdiff.smc.tuning import tuned as tuned
from fkdiff.smc.two_sided import TwoSided as TwoSided
from fkdiff.smc.two_sided import backwards as backwards
from fkdiff.smc.two_sided import bennett as bennett
from fkdiff.smc.two_sided import two_sided as two_sided
from fkdiff.smc.unadjusted import unadjusted as unadjusted
from fkdiff.smc.unweighted import Unweighted as Unweighted
from fkdiff.smc.unweighted import unweighted as unweighted
from fkdiff.smc.values import ValueEstimate as ValueEstimate
from fkdiff.smc.values import clean_draws as clean_draws
from fkdiff.smc.values import clean_estimate as clean_estimate
from fkdiff.smc.values import learned as learned
from fkdiff.smc.weights import ess as ess
from fkdiff.smc.weights import normalized as normalized
from fkdiff.smc.window import Within as Within
from fkdiff.smc.window import within as within
