"""What runs a model; all take the same keyword arguments.

- `run_smc`: a scan of the engine's steps; `drive`: step by step from the host, with progress and host rewards
- `replicate`: independent populations, pooled; `run_each`: one population for each of many conditions
- `pilot`: `freeze`: whatever a model chooses from its population, fixed by a pilot run
- `conditional`, `trajectory`: a kernel on whole trajectories; `sweep` is one step of it and `retained` its resampling
"""

from fkdiff.smc.drivers._conditional import conditional, trajectory
from fkdiff.smc.drivers._drive import drive
from fkdiff.smc.drivers._replicate import Replicates, replicate
from fkdiff.smc.drivers.each import run_each
from fkdiff.smc.drivers.pilot import freeze
from fkdiff.smc.drivers.run import run_smc
from fkdiff.smc.drivers.sweep import ConditionalInfo, ConditionalState, Trajectory

__all__ = [
    "conditional", "ConditionalInfo", "ConditionalState", "drive", "freeze", "replicate", "Replicates", "run_each",
    "run_smc", "Trajectory", "trajectory",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
