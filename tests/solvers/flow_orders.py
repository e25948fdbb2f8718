"""Where the flow of an exact mixture ends, by an adaptive eighth-order solver, and the orders measured against it."""

import diffrax
import jax
import numpy as np

import fkdiff.paths as paths
from fkdiff.targets import gaussian_mixture
from tests.solvers.solver_walks import orders, walk

PATHS = {"vp": paths.variance_preserving, "linear": paths.linear}
POSITIONS = np.array([[-1.1, 0.4], [0.7, -0.8], [1.6, 0.9], [-0.2, -1.7]])


def predictor(path):
    mixture = gaussian_mixture([[-2.0, 0.4], [1.5, -1.0]], [[0.25, 0.5], [0.64, 1.2]], [0.3, 0.7])
    return mixture.predictor(path)


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
