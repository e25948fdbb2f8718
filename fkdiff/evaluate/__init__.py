"""What an outsider says of the draws.

- `judge`: `Judge`, `digit_judge`: a classifier of another family, trained on digits that nothing else has seen
- `distances`: `frechet`: between two sets of feature vectors
- `two_samples`: `c2st`, `overlap`: can draws be told from data, and where do they not overlap
- `density`: `bits_per_dim`
- `features`: of a classifier that is trained here
- `quality`: `evaluate_run`: all of these of a trained run, with their floors
- `ngram`: `ngram`, `pydoc_ngram`: a character n-gram model of text that no trained model has seen
- `words`: `word_share`: a reward in nats, the share of words that are on a list
"""

from fkdiff.evaluate.density import Bits as Bits
from fkdiff.evaluate.density import bits_per_dim as bits_per_dim
from fkdiff.evaluate.distances import frechet as frechet
from fkdiff.evaluate.judge import Judge as Judge
from fkdiff.evaluate.judge import Verdict as Verdict
from fkdiff.evaluate.judge import digit_judge as digit_judge
from fkdiff.evaluate.judge import digit_reward as digit_reward
from fkdiff.evaluate.ngram import NGram as NGram
from fkdiff.evaluate.ngram import ngram as ngram
from fkdiff.evaluate.ngram import pydoc_ngram as pydoc_ngram
from fkdiff.evaluate.quality import evaluate_run as evaluate_run
from fkdiff.evaluate.two_samples import c2st as c2st
from fkdiff.evaluate.two_samples import overlap as overlap
from fkdiff.evaluate.words import WordShare as WordShare
from fkdiff.evaluate.words import pydoc_word_share as pydoc_word_share
from fkdiff.evaluate.words import word_list as word_list
from fkdiff.evaluate.words import word_share as word_share
