"""Two devices share every batch and learn what one learns. Slow: each number of devices is a process of its own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
import jax, numpy as np
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Batches, load_data
from fkdiff.train.loop import train
from fkdiff.train import load_run
from fkdiff.core.keys import seed_key
config = TrainConfig.model_validate({
    "data": {"kind": "moons", "num_points": 256},
    "model": {"kind": "mlp", "width": 16, "depth": 1},
    "optim": {"steps": 12, "batch_size": 32, "warmup": 2, "accumulate": 2},
    "logging": {"checkpoint_every": 6},
})
batch = Batches(load_data(config), seed_key(0), 32).at(3)
train(config, sys.argv[1], picture=False)
leaves = jax.tree.leaves(load_run(sys.argv[1]).params)
print(json.dumps({
    "devices": jax.local_device_count(),
    "pieces": len(batch.examples.sharding.device_set),
    "rows": np.asarray(batch.examples).tolist(),
    "params": np.concatenate([np.asarray(leaf).ravel() for leaf in leaves]).tolist(),
}))
"""


def trained(folder, devices):
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    words = [sys.executable, "-c", SCRIPT, str(folder / f"run_{devices}")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **flags})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_learn_what_one_learns(tmp_path):
    one, two = trained(tmp_path, 1), trained(tmp_path, 2)
    assert (one["devices"], one["pieces"], two["devices"], two["pieces"]) == (1, 1, 2, 2)
    np.testing.assert_array_equal(one["rows"], two["rows"])
    np.testing.assert_allclose(one["params"], two["params"], rtol=1e-3, atol=2e-5)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    script = SCRIPT.replace('"batch_size": 32', '"batch_size": 33').replace('"accumulate": 2', '"accumulate": 1')
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    words = [sys.executable, "-c", script.replace("seed_key(0), 32", "seed_key(0), 33"), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **flags})
    assert "cannot be shared by 2 devices; use a multiple of 2" in done.stderr
