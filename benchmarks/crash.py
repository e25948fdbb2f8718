"""A bad day: kills at random moments, every single flipped bit, and strangers' files.

A training process is killed by SIGKILL fifty times, at moments drawn uniformly from its start, its training and its
writing. What it had acknowledged (a checkpoint whose manifest was there) must be there, and the run, once it ends, must
be bitwise the one that nobody disturbed. Then every bit of a small checkpoint is flipped, one at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks.common import arguments, save, table
from fkdiff.errors import FkdiffError
from fkdiff.train import checkpoint

CONFIG = """
data: {kind: moons, num_points: 4096}
model: {kind: mlp, width: 64, depth: 2}
optim: {steps: STEPS, batch_size: 256, warmup: 10}
logging: {metrics_every: 20, checkpoint_every: 20}
"""
PARTS = ("params", "ema", "optimizer", "counters")


def start(folder: Path, run: str, *more: str) -> subprocess.Popen:
    """`fkdiff train` in a process of its own."""
    words = ["train", str(folder / "config.yaml"), "--out", str(folder / run), *more]
    words = [sys.executable, "-m", "fkdiff.cli", *words]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def acknowledged(run: Path) -> int:
    """The newest step whose manifest is there: nothing after it was promised."""
    places = (run / "checkpoints").glob("step_*/manifest.json") if (run / "checkpoints").is_dir() else []
    return max((int(place.parent.name.removeprefix("step_")) for place in places), default=0)


def whole_step(run: Path) -> int:
    """The newest step that verifies, byte by byte; 0 where there is none."""
    for step in checkpoint.steps(run / "checkpoints"):
        try:
            place = run / "checkpoints" / f"step_{step:08d}"
            manifest = checkpoint._manifest(place)
            checkpoint._contents(place, manifest, 1 << 40)
        except FkdiffError:
            continue
        return step
    return 0


def kill_row(folder: Path, kills: int, steps: int) -> dict:
    """Kills a run again and again, lets it end, and compares it with one that was left alone."""
    (folder / "config.yaml").write_text(CONFIG.replace("STEPS", str(steps)))
    rng, run = np.random.default_rng(0), folder / "killed"
    lost, done, moments = 0, 0, []
    process = start(folder, "killed")
    while done < kills:
        delay = float(rng.uniform(0, 7))
        before = time.monotonic()
        promised = 0
        while time.monotonic() - before < delay and process.poll() is None:
            promised = max(promised, acknowledged(run))
            time.sleep(0.01)
        process.kill()
        process.communicate()
        done += 1
        kept = whole_step(run)
        lost += kept < promised
        moments.append(kept)
        # Before the first checkpoint there is nothing to resume from, and a person would begin again.
        if kept == 0 and run.exists():
            subprocess.run(["rm", "-r", str(run)], check=True)
        process = start(folder, "killed", *(["--resume"] if kept else []))
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()[-500:]
    _, said = (alone := start(folder, "alone")).communicate()
    assert alone.returncode == 0, said.decode()[-500:]
    last = f"checkpoints/step_{steps:08d}"
    same = all(
        (run / last / f"{part}.safetensors").read_bytes()
        == (folder / "alone" / last / f"{part}.safetensors").read_bytes()
        for part in PARTS
    )
    rubbish = [entry.name for entry in (run / "checkpoints").iterdir() if entry.name.startswith(".")]
    return {
        "kills": kills,
        "lost what was acknowledged": lost,
        "distinct steps at the kills": len(set(moments)),
        "bitwise the undisturbed run": same,
        "rubbish left": len(rubbish),
    }


def bit_row(folder: Path, stride: int) -> dict:
    """Flips one bit at a time of every file of a checkpoint."""
    parts = {"params": {"a": jnp.arange(6.0).reshape(2, 3)}, "ema": {"a": jnp.full((2, 3), 0.5)}}
    place = checkpoint.save(folder, 1, parts, {"seed": 0})
    flips = undetected = 0
    for file in sorted(place.iterdir()):
        content = file.read_bytes()
        for bit in range(0, 8 * len(content), stride):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << (bit % 8)
            file.write_bytes(damaged)
            flips += 1
            try:
                checkpoint.restore(folder, lambda config: parts)
                undetected += 1
            except FkdiffError:
                pass
        file.write_bytes(content)
    checkpoint.restore(folder, lambda config: parts)
    return {"bits flipped": flips, "undetected": undetected}


def stranger_row(folder: Path) -> dict:
    """The hostile files of the tests, in a process under an audit hook."""
    script = Path(__file__).parents[1] / "tests" / "cli" / "strangers.py"
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=True)
    kinds = ("config", "run", "report", "name")
    found = [facts for name, facts in json.loads(done.stdout).items() if name.split(":")[0] in kinds]
    refused = sum(facts["code"] == 2 and facts["said"].count("\n") == 1 for facts in found)
    events = sum(len(facts["seen"]) for facts in found)
    return {"hostile files": len(found), "refused in one line": refused, "audit events": events}


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    kills, steps, stride = (3, 400, 97) if args.quick else (50, 12_000, 1)
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("kills", "bits", "strangers")]
        for folder in folders:
            folder.mkdir()
        killed = kill_row(folders[0], kills, steps)
        print(table([killed]), flush=True)
        flipped = bit_row(folders[1], stride)
        print(table([flipped]), flush=True)
        strangers = stranger_row(folders[2])
        print(table([strangers]))
    save(args, "crash", [killed, flipped, strangers])


if __name__ == "__main__":
    main()
