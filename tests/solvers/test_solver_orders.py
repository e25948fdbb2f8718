"""Orders of convergence on an exact mixture, against an adaptive eighth-order solver."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff import solvers
from fkdiff.targets import gaussian_mixture
from tests.solvers.solver_walks import orders, walk

PATHS = {"vp": paths.variance_preserving, "linear": paths.linear}
ROWS = {
    "euler": (lambda: solvers.euler(), (0.8, 1.2)),
    "ddim": (lambda: solvers.ddim(), (0.8, 1.2)),
    "exponential": (lambda: solvers.exponential(0.0, (0.3, 2.0)), (0.8, 1.2)),
    "heun": (lambda: solvers.heun(), (1.8, 2.2)),
    "dpmpp_2m": (lambda: solvers.dpmpp_2m(), (1.8, 2.2)),
}
POSITIONS = np.array([[-1.1, 0.4], [0.7, -0.8], [1.6, 0.9], [-0.2, -1.7]])


def predictor(path):
    mixture = gaussian_mixture([[-2.0, 0.4], [1.5, -1.0]], [[0.25, 0.5], [0.64, 1.2]], [0.3, 0.7])
    return mixture.predictor(path)


@pytest.fixture(scope="module")
def references():
    return true_ends()


def true_ends(names=tuple(PATHS)):
    """Where each trajectory ends, to 1e-11, per path."""
    with jax.enable_x64(True):

        def end(pred, x):
            return diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, args: pred(y, t).velocity),
                diffrax.Dopri8(),
                pred.path.t_min,
                pred.path.t_max,
                None,
                x,
                stepsize_controller=diffrax.PIDController(rtol=1e-12, atol=1e-12),
                max_steps=10000,
            ).ys[-1]

        preds = {name: predictor(make()) for name, make in PATHS.items() if name in names}
        return {
            name: np.asarray(jax.jit(jax.vmap(lambda x, pred=pred: end(pred, x)))(POSITIONS))
            for name, pred in preds.items()
        }


def measured_orders(solver, path_name, references):
    pred = predictor(PATHS[path_name]())
    errors = []
    for num_steps in (128, 256, 512):
        end = walk(pred, solver, paths.grid(num_steps, pred.path), POSITIONS)
        errors.append(np.abs(np.asarray(end) - references[path_name]).mean())
    return orders(errors)


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
