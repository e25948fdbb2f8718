"""What an outsider says of the draws.

- `judge`: `Judge`, `digit_judge`: a classifier of another family, trained on digits that nothing else has seen
- `distances`: `frechet`: between two sets of feature vectors
"""

from fkdiff.evaluate.distances import frechet as frechet
from fkdiff.evaluate.judge import Judge as Judge
from fkdiff.evaluate.judge import Verdict as Verdict
from fkdiff.evaluate.judge import digit_judge as digit_judge
from fkdiff.evaluate.judge import digit_reward as digit_reward
