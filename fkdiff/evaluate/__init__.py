"""What an outsider says of the draws.

- `judge`: `Judge`, `digit_judge`: a classifier of another family, trained on digits that nothing else has seen
- `distances`: `frechet`: between two sets of feature vectors
- `ngram`: `ngram`, `pydoc_ngram`: a character n-gram model of text that no trained model has seen
- `words`: `word_share`: a reward in nats, the share of words that are on a list
"""

from fkdiff.evaluate.distances import frechet as frechet
from fkdiff.evaluate.judge import Judge as Judge
from fkdiff.evaluate.judge import Verdict as Verdict
from fkdiff.evaluate.judge import digit_judge as digit_judge
from fkdiff.evaluate.judge import digit_reward as digit_reward
from fkdiff.evaluate.ngram import NGram as NGram
from fkdiff.evaluate.ngram import ngram as ngram
from fkdiff.evaluate.ngram import pydoc_ngram as pydoc_ngram
from fkdiff.evaluate.words import WordShare as WordShare
from fkdiff.evaluate.words import pydoc_word_share as pydoc_word_share
from fkdiff.evaluate.words import word_list as word_list
from fkdiff.evaluate.words import word_share as word_share
