"""The command line: thin files that parse, call, check, save and draw.

- `main`: `fkdiff train | sample | steer | info`, exit codes, one line per error
- `overrides`: `--optim.learning_rate 3e-4` on top of a config file
- `steer_config`: what a steering config may say
- `train`, `sample`, `steer`, `info`: one command a file
- `cache`: the persistent compilation cache

`--help` and every complaint about a config come before JAX is imported.
"""

from fkdiff.cli.main import main as main
