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

from fkdiff.lazy import attach as _attach
from fkdiff.lazy import stub_names as _stub_names

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = _attach(__name__, _stub_names(__file__))
