"""The command line: thin files that parse, call, check, save and draw.

- `main`: `fkdiff train | sample | steer | info`, exit codes, one line per error
- `overrides`: `--optim.learning_rate 3e-4` on top of a config file
- `train`, `sample`, `steer`, `eval`, `report`, `config`, `info`: a command a file; `steer` runs `fkdiff.tasks`
- `cache`: the persistent compilation cache

`--help` and every complaint about a config come before JAX is imported.
"""

from fkdiff.cli._main import main

__all__ = ["main"]
__dir__ = __all__.copy  # completion shows these, and no modules
