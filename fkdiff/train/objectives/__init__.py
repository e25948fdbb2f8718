"""What training minimises: one objective a file, all read back through the form that they were trained in.

- `matching`: `matching_loss`, `batch_loss`: score matching, flow matching, EDM and energies, one regression
- `weightings`: how the errors at each noise level count, functions of the log-SNR
- `times`: which noise levels a batch sees
- `couplings`: which noise goes with which example
- `bridge`: `bridge_loss`: two-sided stochastic interpolants, from draws of one law to draws of another
- `masked`: `masked_loss`: masked diffusion over tokens
"""

from fkdiff.train.objectives import couplings as couplings
from fkdiff.train.objectives import times as times
from fkdiff.train.objectives import weightings as weightings
from fkdiff.train.objectives.bridge import bridge_loss as bridge_loss
from fkdiff.train.objectives.couplings import paired_noise as paired_noise
from fkdiff.train.objectives.masked import Masking as Masking
from fkdiff.train.objectives.masked import masked_loss as masked_loss
from fkdiff.train.objectives.matching import batch_loss as batch_loss
from fkdiff.train.objectives.matching import matching_loss as matching_loss
from fkdiff.train.objectives.times import sample_times as sample_times
