# The names of `fkdiff.tasks`, for type checkers and for `fkdiff.lazy.attach`.
from fkdiff.tasks._run import run as run
from fkdiff.tasks.anneal import Anneal as Anneal
from fkdiff.tasks.config import SteerConfig as SteerConfig
from fkdiff.tasks.config import load_steer_config as load_steer_config
from fkdiff.tasks.guidance import Guidance as Guidance
from fkdiff.tasks.inverse import Inverse as Inverse
from fkdiff.tasks.product import Product as Product
from fkdiff.tasks.reward import Reward as Reward
from fkdiff.tasks.steering import Steering as Steering
from fkdiff.tasks.task import ExamplesTask as ExamplesTask
from fkdiff.tasks.task import Task as Task
from fkdiff.tasks.text import Text as Text

TASKS: dict[str, str]
