"""Networks (flax nnx) and the one boundary through which the rest of fkdiff sees them.

- `embedding`: time features, the class table whose last row is "no class", and continuous conditions
- `layers`: dense and convolution layers, and how their parameters start
- `mlp`: `MLP`: residual multilayer perceptron for vectors
- `unet`: `UNet`: small U-Net for (length, channels) signals and (height, width, channels) images
- `dit`: `DiT`: transformer over patches of an image
- `transformer`: `Transformer`: small bidirectional transformer for tokens, some of them masked
- `functional`: `functional`: module -> `apply(params, x, t, cond)` for ONE example, and its parameters

Modules own parameters and nothing else: no random state, no caches, so they cross jit, grad and vmap. Dropout happens
in calls that are given a key.
"""

from fkdiff.nn._functional import ModuleApply, functional
from fkdiff.nn.dit import DiT
from fkdiff.nn.embedding import Conditioning
from fkdiff.nn.mlp import MLP
from fkdiff.nn.transformer import Transformer
from fkdiff.nn.unet import UNet

__all__ = ["Conditioning", "DiT", "functional", "MLP", "ModuleApply", "Transformer", "UNet"]
__dir__ = __all__.copy  # completion shows these, and no modules
