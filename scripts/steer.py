"""Guided digits, exactly: the law q(x)^(1−w) q(x | label)^w of a trained model, with an error bar.

    python scripts/steer.py runs/digits --label 3 --scale 2.0

Read it, copy it, change it: this is all there is to steering from Python.
"""

import argparse
from pathlib import Path

import jax

import fkdiff as fk
from fkdiff.train.data import pixels

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", type=Path, help="folder that `fkdiff train` wrote")
parser.add_argument("--label", type=int, default=3)
parser.add_argument("--scale", type=float, default=2.0)
parser.add_argument("--particles", type=int, default=512)
parser.add_argument("--steps", type=int, default=32)
parser.add_argument("--out", type=Path, default=Path("steered"))
args = parser.parse_args()

# One network, twice: with its condition bound, and without.
conditional = fk.train.load_predictor(args.run, cond=args.label)
unconditional = fk.train.load_predictor(args.run)

# What to sample. Any rule, or any composition of rules, could stand here.
target = fk.correctors.guidance(conditional, unconditional, args.scale)

# How to sample it: Heun's step of the deterministic flow, weights controlled by a fit at every stage.
model = target.feynman_kac(step="heun", control=True)
out = fk.run_smc(jax.random.key(0), model, fk.grid(args.steps, target.path), args.particles)
print(fk.check(out))  # raises if the run failed, warns where it is doubtful

# The particles are weighted: draw equally weighted ones, or weight every average.
draws = fk.smc.resample(jax.random.key(1), out, 60)
ink = fk.expectation(out, lambda x: x.mean())
print(f"mean ink {float(ink.value):.3f} ± {float(ink.standard_error):.3f}")

if args.out.with_suffix(".npz").exists():
    raise SystemExit(f"{args.out.with_suffix('.npz')} exists; pass another --out")
out.save(args.out.with_suffix(".npz"))
fk.plot.pictures(pixels(draws), columns=15).savefig(args.out.with_suffix(".png"))
fk.plot.report(out, pixels(out.particles)).savefig(args.out.with_name(f"{args.out.name}_report.png"))
