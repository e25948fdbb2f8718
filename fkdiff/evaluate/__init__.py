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

from fkdiff.evaluate._ngram import NGram, ngram, pydoc_ngram
from fkdiff.evaluate.density import Bits, bits_per_dim
from fkdiff.evaluate.distances import frechet
from fkdiff.evaluate.judge import Judge, Verdict, digit_judge, digit_reward
from fkdiff.evaluate.quality import evaluate_run
from fkdiff.evaluate.two_samples import c2st, overlap
from fkdiff.evaluate.words import WordShare, pydoc_word_share, word_list, word_share

__all__ = [
    "Bits", "bits_per_dim", "c2st", "digit_judge", "digit_reward", "evaluate_run", "frechet", "Judge", "NGram",
    "ngram", "overlap", "pydoc_ngram", "pydoc_word_share", "Verdict", "word_list", "word_share", "WordShare",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
