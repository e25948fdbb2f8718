"""Orders of convergence on an exact mixture, against an adaptive eighth-order solver."""

import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff import solvers
from tests.solvers.flow_orders import PATHS, POSITIONS, measured_orders, predictor, true_ends
from tests.solvers.solver_walks import orders, walk

ROWS = {
    "euler": (lambda: solvers.euler(), (0.8, 1.2)),
    "ddim": (lambda: solvers.ddim(), (0.8, 1.2)),
    "exponential": (lambda: solvers.exponential(0.0, (0.3, 2.0)), (0.8, 1.2)),
    "heun": (lambda: solvers.heun(), (1.8, 2.2)),
    "dpmpp_2m": (lambda: solvers.dpmpp_2m(), (1.8, 2.2)),
}


@pytest.fixture(scope="module")
def references():
    return true_ends()


@pytest.mark.x64
@pytest.mark.parametrize("path_name", PATHS)
@pytest.mark.parametrize("name", ROWS)
def test_order_of_the_flow(name, path_name, references):
    make, (low, high) = ROWS[name]
    measured = measured_orders(make(), path_name, references)
    print(name, path_name, "orders", measured)
    assert np.all(measured >= low)
    assert np.all(measured <= high)


@pytest.mark.slow
@pytest.mark.x64
def test_heun_keeps_its_order_on_a_table():
    """A piecewise cubic log-SNR has a kink in the rate of κ: the order must survive it."""
    pred = predictor(paths.from_alphas_cumprod(np.cumprod(1 - np.linspace(1e-3, 0.08, 100))))
    ends = [
        walk(pred, solvers.heun(), paths.grid(num_steps, pred.path), POSITIONS) for num_steps in (128, 256, 512, 2048)
    ]
    measured = orders([float(jnp.abs(end - ends[-1]).mean()) for end in ends[:-1]])
    print("table orders", measured)
    assert np.all(measured >= 1.6)
