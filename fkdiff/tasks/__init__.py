"""What `fkdiff steer` runs, one file a task: its section of the config, cases, judgement, pictures, table.

    from fkdiff import tasks
    config = tasks.SteerConfig(task=tasks.Anneal(beta=2.0, label=3))
    print(tasks.run("runs/digits", config, out="runs/colder").table)

- `guidance`, `anneal`, `product`, `reward`, `steering`, `inverse`, `text`: the tasks
- `task`: `Task`, what a task must say; `ExamplesTask`, for pictures and points; the engine sections
- `config`: `SteerConfig`, `load_steer_config`: one task and its engine
- `_run`: `run`, which is all that the command does
- `case`, `outcome`: one target beside what people do without weights, and both of them sampled
- `rewards`: the rewards that a config may name
- `judging`: a judge of digits, and class balances by another route
- `examples`, `tables`, `record`: pictures, rows of figures, files
- `later`: JAX and NumPy, imported on first use as the names of `fkdiff` are: a config is read without them
"""

from fkdiff.lazy import attach as _attach
from fkdiff.lazy import stub_names as _stub_names

# The registry, in the order of --help: a new task is its file and one line here.
TASKS = {
    "Guidance": "fkdiff.tasks.guidance:Guidance",
    "Anneal": "fkdiff.tasks.anneal:Anneal",
    "Product": "fkdiff.tasks.product:Product",
    "Reward": "fkdiff.tasks.reward:Reward",
    "Steering": "fkdiff.tasks.steering:Steering",
    "Inverse": "fkdiff.tasks.inverse:Inverse",
    "Text": "fkdiff.tasks.text:Text",
}
__getattr__, __dir__, __all__ = _attach(__name__, _stub_names(__file__))
