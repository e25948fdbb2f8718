"""fkdiff: exact steering of diffusion and flow models.

You have a score or flow-matching model, or an energy, and want samples from something else: a colder or sharper
version, a product of models, a guided or rewarded version. Every such task is a Feynman–Kac model, run by one engine
that keeps the weights, controls their variance, and returns an answer with an error bar.

    import fkdiff as fk

    path = fk.paths.variance_preserving()
    pred = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)
    model = fk.correctors.anneal(pred, beta=2.0).feynman_kac()
    out = fk.check(fk.run_smc(jax.random.key(0), model, fk.grid(32, path), num_particles=4096))
    print(out)

Names are imported on first use; neither flax nor optax is loaded unless `fkdiff.nn` or `fkdiff.train` is.
"""

from typing import TYPE_CHECKING

from fkdiff.lazy import attach

if TYPE_CHECKING:
    from fkdiff import (
        core,
        correctors,
        diagnostics,
        discrete,
        errors,
        evaluate,
        gradients,
        interop,
        inverse_problems,
        mcmc,
        nn,
        paths,
        plot,
        prediction,
        smc,
        solvers,
        steering,
        targets,
        tasks,
        train,
    )
    from fkdiff.core import Kernel, Transition, check
    from fkdiff.errors import FkdiffError, FkdiffWarning
    from fkdiff.inverse_problems import inverse
    from fkdiff.mcmc import run_chain
    from fkdiff.paths import grid
    from fkdiff.prediction import Parameterization, Prediction, Predictor, guide
    from fkdiff.smc import FeynmanKac, Population, SMCResult, drive, expectation, replicate, run_smc
    from fkdiff.solvers import integrate, log_prob
    from fkdiff.steering import steer

_NAMES = {
    **{
        name: f"fkdiff.{name}:"
        for name in (
            "core",
            "correctors",
            "diagnostics",
            "discrete",
            "errors",
            "evaluate",
            "gradients",
            "interop",
            "inverse_problems",
            "mcmc",
            "nn",
            "paths",
            "plot",
            "prediction",
            "smc",
            "solvers",
            "steering",
            "targets",
            "tasks",
            "train",
        )
    },
    "FeynmanKac": "fkdiff.smc:FeynmanKac",
    "FkdiffError": "fkdiff.errors:FkdiffError",
    "FkdiffWarning": "fkdiff.errors:FkdiffWarning",
    "Kernel": "fkdiff.core:Kernel",
    "Parameterization": "fkdiff.prediction:Parameterization",
    "Population": "fkdiff.smc:Population",
    "Prediction": "fkdiff.prediction:Prediction",
    "Predictor": "fkdiff.prediction:Predictor",
    "SMCResult": "fkdiff.smc:SMCResult",
    "Transition": "fkdiff.core:Transition",
    "check": "fkdiff.core:check",
    "expectation": "fkdiff.smc:expectation",
    "grid": "fkdiff.paths:grid",
    "guide": "fkdiff.prediction:guide",
    "inverse": "fkdiff.inverse_problems:inverse",
    "integrate": "fkdiff.solvers:integrate",
    "log_prob": "fkdiff.solvers:log_prob",
    "replicate": "fkdiff.smc:replicate",
    "run_chain": "fkdiff.mcmc:run_chain",
    "run_smc": "fkdiff.smc:run_smc",
    "steer": "fkdiff.steering:steer",
    "drive": "fkdiff.smc:drive",
}

__version__ = "0.1.0"
__getattr__, __dir__ = attach(__name__, _NAMES)
