"""What training minimises: one objective a file, all read back through the form that they were trained in.

- `matching`: `matching_loss`, `batch_loss`: score matching, flow matching, EDM and energies, one regression
- `weightings`: how the errors at each noise level count, functions of the log-SNR
- `times`: which noise levels a batch sees
- `couplings`: which noise goes with which example
- `bridge`: `bridge_loss`: two-sided stochastic interpolants, from draws of one law to draws of another
- `masked`: `masked_loss`: masked diffusion over tokens
"""

from fkdiff.train.objectives.bridge import bridge_loss
from fkdiff.train.objectives.couplings import paired_noise
from fkdiff.train.objectives.masked import masked_loss
from fkdiff.train.objectives.matching import batch_loss, matching_loss
from fkdiff.train.objectives.times import sample_times

__all__ = [
    "batch_loss", "bridge_loss", "masked_loss", "matching_loss", "paired_noise", "sample_times",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
