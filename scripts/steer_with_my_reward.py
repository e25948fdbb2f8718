"""Steer a trained model by your own Python function, which JAX never sees.

    python scripts/steer_with_my_reward.py runs/digits

The function below counts holes with scikit-image: discrete, not differentiable, of no framework. Put yours there.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from skimage.measure import euler_number

import fkdiff as fk
from fkdiff.train.data import pixels


def my_reward(batch: np.ndarray) -> np.ndarray:
    """One number in nats for each example of a batch: here −2 for each hole too few or too many, of two."""
    holes = [1 - euler_number(picture > 0.35, connectivity=1) for picture in pixels(batch)]
    return -2.0 * np.abs(np.asarray(holes, np.float64) - 2.0)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", type=Path, help="folder that `fkdiff train` wrote")
parser.add_argument("--particles", type=int, default=512)
parser.add_argument("--steps", type=int, default=64)
parser.add_argument("--out", type=Path, default=Path("steered_by_me.png"))
args = parser.parse_args()
if args.out.exists():
    raise SystemExit(f"{args.out} exists; pass another --out")

pred = fk.train.load_predictor(args.run)
model = fk.steer(pred, reward=fk.steering.host(my_reward))
out = fk.check(fk.drive(jax.random.key(0), model, fk.grid(args.steps, pred.path), args.particles))
print(out)  # Ctrl-C while it runs keeps the population reached so far

plain = fk.integrate(jax.random.key(1), pred, fk.solvers.ancestral(), fk.grid(args.steps, pred.path), 60)
draws = fk.smc.resample(jax.random.key(2), out, 60)
print(f"mean reward: {my_reward(plain).mean():.2f} plain, {my_reward(draws).mean():.2f} steered")
fk.plot.panels({"steered": pixels(draws), "plain": pixels(plain)}, columns=15).savefig(args.out)
