"""`fkdiff sample RUN --out OUT`: samples.npz, samples.png (samples.txt for text) and the settings that made them."""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path

from fkdiff.errors import FkdiffError, require
from fkdiff.train.files import check_name, existing_run, fresh_folder, refuse_existing, write_file


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Draws and saves samples."""
    out, label = _checked(arguments)

    from fkdiff.cli.cache import enable_cache
    from fkdiff.train.run import load_run

    enable_cache()
    loaded = load_run(arguments.run)
    known = loaded.config.sampling
    wanted = {"num_steps": arguments.steps, "solver": arguments.solver, "guidance": arguments.guidance}
    options = known.model_copy(update={k: v for k, v in wanted.items() if v is not None})
    loaded = loaded._replace(config=loaded.config.model_copy(update={"sampling": options}))
    labels = list(range(loaded.num_classes)) if label == "all" else [label]
    require(
        arguments.guidance is None or loaded.num_classes > 0,
        f"--guidance={arguments.guidance}: this model was trained without classes, and there is nothing to guide "
        "towards; leave it out.",
    )
    require(
        arguments.guidance is None or label is not None,
        f"--guidance={arguments.guidance} pushes towards a class and none was asked for; add --class.",
    )
    require(
        arguments.solver is None or not loaded.config.is_text,
        f"--solver={arguments.solver}: this model was trained on text, which is sampled by unmasking; leave it out.",
    )
    require(bool(labels), "--class=all: this model was trained without classes; leave it out.")
    if loaded.config.is_text:
        require(label is None, f"--class={label}: this model was trained without classes; leave it out.")
        _draw_text(loaded, arguments, out)
    else:
        _draw(loaded, labels, arguments, out)
    print(f"{arguments.out}: {arguments.num * len(labels)} samples.")
    return 0


def _checked(arguments: argparse.Namespace) -> tuple[Path, int | str | None]:
    """Everything that can be refused before JAX is imported."""
    out = check_name(arguments.out)
    refuse_existing(out)
    existing_run(arguments.run)
    for name, least in {"num": 1, "steps": 1}.items():
        value = getattr(arguments, name)
        require(value is None or value >= least, f"--{name}={value} must be a whole number of at least {least}.")
    require(0 <= arguments.seed < 2**32, f"--seed={arguments.seed} is outside [0, 2**32); choose one inside.")
    scale = arguments.guidance
    require(scale is None or math.isfinite(scale), f"--guidance={scale} must be a finite number; 1 is unguided.")
    if arguments.label in (None, "all"):
        return out, arguments.label
    try:
        return out, int(arguments.label)
    except ValueError:
        raise FkdiffError(f"--class={arguments.label} is neither a whole number nor all; pass a class label.") from None


def _draw_text(loaded, arguments: argparse.Namespace, out: Path) -> None:
    from fkdiff.core.keys import seed_key
    from fkdiff.train.pictures import sample_text, text_page

    tokens = sample_text(seed_key(arguments.seed), loaded, arguments.num)
    options = {"num_samples": arguments.num, "num_steps": loaded.config.sampling.num_steps, "seed": arguments.seed}
    _save(loaded, arguments, out, options, {"samples.txt": text_page(tokens).encode()}, tokens=tokens)


def _draw(loaded, labels, arguments: argparse.Namespace, out: Path) -> None:
    import numpy as np

    from fkdiff.core.keys import seed_key
    from fkdiff.train.pictures import examples_png, sample_classes

    count = arguments.num
    samples = sample_classes(seed_key(arguments.seed), loaded, labels, count)
    samples = samples.reshape(-1, *samples.shape[2:])
    require(bool(np.isfinite(samples).all()), "some samples are not finite; use more --steps, or --guidance nearer 1.")
    classes = np.repeat([-1 if label is None else label for label in labels], count)
    picture = examples_png(loaded, samples, count if len(labels) > 1 else math.ceil(math.sqrt(count)))
    options = loaded.config.sampling.model_dump() | {"num_samples": count, "seed": arguments.seed, "classes": labels}
    arrays = {"samples": samples, "classes": classes}
    known = getattr(loaded.config.data, "facts", None)
    if known is not None:
        # In the units of the file too, feature by feature.
        arrays["in_units"] = samples * np.asarray(known.scale, np.float32) + np.asarray(known.mean, np.float32)
    _save(loaded, arguments, out, options, {"samples.png": picture}, **arrays)


def _save(loaded, arguments: argparse.Namespace, out: Path, options, files: dict[str, bytes], **arrays) -> None:
    """Writes samples.npz, what there is to look at, and the settings."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    facts = {"run": str(arguments.run), "step": loaded.step, "config_hash": loaded.config_hash, "sampling": options}
    with fresh_folder(out) as folder:
        write_file(folder / "samples.npz", buffer.getvalue())
        for name, content in files.items():
            write_file(folder / name, content)
        write_file(folder / "sample.json", json.dumps(facts, indent=1).encode())
