"""Resamplers: `(key, log_weights) -> (ancestors, log_weights, resampled)`.

- `resampling`: `systematic`, `stratified`, `multinomial`, `residual`, `never`; `adaptive`, `stop_gradient` and
  `detached` decorate; `ancestors` has the schemes with injected uniforms
- `soft`, `optimal_transport` (by `sinkhorn`): with biased gradients
- `window`: `within`, which resamples only inside a window of times; `waste_free`: in blocks
"""

from fkdiff.smc.resamplers._optimal_transport import OptimalTransport, optimal_transport
from fkdiff.smc.resamplers._soft import Soft, soft
from fkdiff.smc.resamplers.resampling import (
    Adaptive,
    Decorated,
    Resampler,
    adaptive,
    as_resampler,
    detached,
    gradient_class,
    multinomial,
    never,
    residual,
    stop_gradient,
    stratified,
    systematic,
)
from fkdiff.smc.resamplers.window import Within, within

__all__ = [
    "Adaptive", "adaptive", "as_resampler", "Decorated", "detached", "gradient_class", "multinomial", "never",
    "optimal_transport", "OptimalTransport", "Resampler", "residual", "Soft", "soft", "stop_gradient", "stratified",
    "systematic", "Within", "within",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
