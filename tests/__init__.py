"""One folder per part of the package. Modules without `test_` hold the laws, tables and checks that tests share."""

import pytest

# Assertions of the shared checks are rewritten like those of the tests.
pytest.register_assert_rewrite(
    *(f"tests.{folder}" for folder in ("inverse_problems", "mcmc", "smc", "solvers", "steering"))
)
