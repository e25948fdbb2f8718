"""Hostile files, and a process that watches what fkdiff does with them. Run by `test_strangers.py`, in one process.

    python strangers.py FOLDER

prints one JSON object: for every case the exit code, what was said, the seconds, and what the audit hook saw.
"""

import json
import os
import pickle
import shutil
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np

TOY = "data: {kind: moons, num_points: 64}\nmodel: {kind: mlp, width: 8, depth: 1}\noptim: {steps: 2, batch_size: 8}\n"
MOONS = "kind: moons, num_points: 64"


class Payload:
    """Leaves a mark if anything unpickles it."""

    def __reduce__(self):
        return (os.mkdir, (str(Path(sys.argv[1]) / "mark"),))


# Configs ---------------------------------------------------------------------------------------------------


def bomb() -> str:
    """300 bytes that would be 10⁹ leaves."""
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    return text


TEXTS = {
    "alias bomb": bomb(),
    "alias": "data: &a {kind: digits}\nmodel: *a\n",
    "merge key": "data: {kind: digits}\nmodel: {<<: {kind: mlp}}\noptim: &x {steps: 1}\n",
    "python apply": "data: !!python/object/apply:os.system ['true']\n",
    "python name": "data: !!python/name:os.system\n",
    "python new": "data: !!python/object/new:subprocess.Popen [['true']]\n",
    "local tag": "data: !env HOME\n",
    "target": "data: {kind: digits, _target_: os.system}\n",
    "instantiator": "data: {kind: digits}\n_instantiator: subprocess.run\n",
    "dotted kind": "data: {kind: fkdiff.train.data.digits}\n",
    "interpolation": "data: {kind: '${oc.env:HOME}'}\n",
    "expression": "data: {kind: digits}\nseed: __import__('os').getpid()\n",
    "duplicate": "data: {kind: digits}\ndata: {kind: moons}\n",
    "deep flow": "data: " + "[" * 5000 + "]" * 5000,
    "deep block": "\n".join(" " * k + "a:" for k in range(200)),
    "nan": "data: {kind: digits}\noptim: {learning_rate: .nan}\n",
    "infinity": "data: {kind: digits}\noptim: {clip: .inf}\n",
    "huge integer": "data: {kind: digits}\nseed: " + "9" * 100_000,
    "huge file": "data: {kind: digits}\n#" + "x" * (1 << 20),
    "not utf-8": b"data: \xff\xfe\n",
    "null bytes": b"data: \x00\n",
    "two documents": "data: {kind: digits}\n---\ndata: {kind: moons}\n",
    "escape codes": 'data: {kind: "\\e[2J\\e]0;gone\\a"}\n',
    "million steps of nothing": "data: {kind: moons, num_points: 999999999}\n",
    "too many parameters": TOY.replace("width: 8, depth: 1", "width: 4096, depth: 64"),
    "batch of everything": TOY.replace("batch_size: 8", "batch_size: 65536"),
    "absolute place": "data: {kind: arrays, file: /etc/passwd}\n",
    "place above": "data: {kind: arrays, file: ../secret.npy}\n",
    "place above, hidden": "data: {kind: arrays, file: a/b/../../../secret.npy}\n",
    "link out of the root": "data: {kind: arrays, file: link.npy}\n",
    "pickled array": "data: {kind: arrays, file: pickled.npy}\n",
    "pickled labels": "data: {kind: arrays, file: pickled.npz}\n",
    "header of 2^60": "data: {kind: arrays, file: header.npy}\n",
    "zip bomb": "data: {kind: arrays, file: bomb.npz}\n",
    "path in a zip": "data: {kind: arrays, file: slip.npz}\n",
    "formula": "data: {kind: arrays, file: formula.csv}\n",
    "a device": "data: {kind: arrays, file: device.npy}\n",
    "a pipe": "data: {kind: arrays, file: pipe.npy}\n",
    "picture of 10^10 pixels": "data: {kind: images, folder: pictures, size: [8, 8], damaged: stop}\n",
    "folder out of the root": "data: {kind: images, folder: linked, size: [8, 8]}\n",
    "forged facts": "data: "
    "{kind: arrays, file: good.npy, facts: {shape: [65536, 65536], count: 9, mean: [0], scale: [1], "
    "sha256: " + "0" * 64 + "}}\n",
}


def png(width: int, height: int) -> bytes:
    """A picture that says it is large and holds nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def data_files(folder: Path) -> None:
    """What the configs name, below `folder`, and a secret beside it."""
    folder.mkdir()
    np.save(folder.parent / "secret.npy", np.ones((8, 2)))
    np.save(folder / "good.npy", np.arange(16.0).reshape(8, 2))
    (folder / "link.npy").symlink_to(folder.parent / "secret.npy")
    (folder / "linked").symlink_to("/etc")
    (folder / "device.npy").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.npy")
    np.save(folder / "pickled.npy", np.array([Payload(), Payload()], object), allow_pickle=True)
    np.savez(folder / "pickled.npz", examples=np.ones((2, 2)), labels=np.array([Payload(), Payload()], object))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976, 2), }"
    header = header.ljust(118) + b"\n"
    (folder / "header.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        stream = archive.open("examples.npy", "w", force_zip64=True)
        for _ in range(20):
            stream.write(bytes(1 << 26))
        stream.close()
    with zipfile.ZipFile(folder / "slip.npz", "w") as archive:
        archive.writestr("../../slipped.npy", "nothing")
    (folder / "formula.csv").write_text("a,b\n\"=cmd|'/c calc'!A1\",2\n")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "large.png").write_bytes(png(100_000, 100_000))


# Run folders -----------------------------------------------------------------------------------------------


def changed_manifest(change):
    """A folder whose manifest says something else, properly sealed."""

    def damage(run: Path) -> None:
        from fkdiff.train import checkpoint

        for step in (run / "checkpoints").iterdir():
            file = step / "manifest.json"
            manifest = json.loads(file.read_bytes())["manifest"]
            change(manifest)
            file.write_bytes(checkpoint._seal(manifest))

    return damage


def raw_manifest(content: bytes):
    def damage(run: Path) -> None:
        for step in (run / "checkpoints").iterdir():
            (step / "manifest.json").write_bytes(content)

    return damage


def parameters(content):
    """A folder whose parameters are something else."""

    def damage(run: Path) -> None:
        for step in (run / "checkpoints").iterdir():
            file = step / "ema.safetensors"
            file.unlink()
            if callable(content):
                content(file)
            else:
                file.write_bytes(content)

    return damage


def wide(manifest) -> None:
    manifest["config"]["model"] |= {"width": 4096, "depth": 64}


def targeted(manifest) -> None:
    manifest["config"]["data"]["_target_"] = "os.system"


def enormous(manifest) -> None:
    manifest["files"]["ema.safetensors"]["bytes"] = 2**60


def shaped(manifest) -> None:
    for array in manifest["files"]["ema.safetensors"]["arrays"].values():
        array[0] = [2**40, 2**20]


def elsewhere(manifest) -> None:
    manifest["files"]["../../../secret.safetensors"] = manifest["files"].pop("ema.safetensors")


def newer(manifest) -> None:
    manifest["format"] = 99


def infinite(manifest) -> None:
    manifest["config"]["optim"]["learning_rate"] = float("inf")


RUNS = {
    "a config with a target": changed_manifest(targeted),
    "a model of 2·10⁹ parameters": changed_manifest(wide),
    "files of 2^60 bytes": changed_manifest(enormous),
    "arrays of 2^60 numbers": changed_manifest(shaped),
    "a file elsewhere": changed_manifest(elsewhere),
    "a newer version": changed_manifest(newer),
    "an infinite rate": changed_manifest(infinite),
    "a manifest of brackets": raw_manifest(b"[" * 200_000),
    "a manifest that is none": raw_manifest(b"\x80\x04\x95"),
    "an empty manifest": raw_manifest(b""),
    "a pickle for parameters": parameters(pickle.dumps(Payload())),
    "a header of 2^62 bytes": parameters(struct.pack("<Q", 2**62) + b"{}"),
    "a link to a secret": parameters(lambda file: file.symlink_to("/etc/passwd")),
    "a pipe": parameters(lambda file: os.mkfifo(file)),
    "a folder": parameters(lambda file: file.mkdir()),
}


def hostile_report(run: Path) -> None:
    """Records that no writer of ours would leave."""
    (run / "metrics.jsonl").write_text("[" * 200_000 + "\n")
    (run / "evaluation.json").write_text("[" * 200_000)


def linked_config(run: Path) -> None:
    (run / "config.yaml").unlink()
    (run / "config.yaml").symlink_to("/etc/passwd")


REPORTS = {"records of brackets": hostile_report, "a config that is a link": linked_config}


# The watch -------------------------------------------------------------------------------------------------


class Watch:
    """An audit hook: it cannot be taken off, so it listens only while a case runs."""

    def __init__(self, roots: list[Path]):
        self.seen: list[str] | None = None
        self.roots = tuple(str(root) for root in roots)
        sys.addaudithook(self)

    def __call__(self, event: str, arguments) -> None:
        if self.seen is None:
            return
        if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "pickle.", "ctypes.dlopen")):
            self.seen.append(f"{event} {arguments!r}"[:200])
        elif event == "import" and arguments[0] not in sys.modules:
            self.seen.append(f"import {arguments[0]}")
        elif event == "exec":
            self.seen.append(f"exec {getattr(arguments[0], 'co_filename', arguments[0])}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            if os.path.islink(arguments[0]) and arguments[2] & os.O_NOFOLLOW:
                return  # the system refuses it
            place = os.path.realpath(os.fsdecode(arguments[0]))
            if not place.startswith(self.roots):
                self.seen.append(f"open {place}")


def main() -> None:
    """Warms up on honest files, then runs every case under the watch."""
    folder = Path(sys.argv[1])
    data, work = folder / "data", folder / "work"
    data_files(data)
    work.mkdir()
    os.chdir(work)
    import contextlib
    import io

    from fkdiff.cli import cache
    from fkdiff.cli import main as fkdiff

    cache.enable_cache = lambda: None
    found = {}

    def case(name: str, words: list[str], watch: Watch | None) -> None:
        said, out = io.StringIO(), io.StringIO()
        if watch is not None:
            watch.seen = []
        began = time.monotonic()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
            try:
                code = fkdiff(words)
            except BaseException as error:  # a crash is a finding, not the end of the run
                code = repr(error)[:300]
        seconds = time.monotonic() - began
        seen, text = [] if watch is None else watch.seen, said.getvalue()
        if watch is not None:
            watch.seen = None
        if watch is not None or code != 0:
            found[name] = {"code": code, "said": text, "seconds": seconds, "seen": seen}

    (work / "honest.yaml").write_text(TOY)
    (work / "bad.yaml").write_text("data: {kind: digit}\n")
    (work / "arrays.yaml").write_text(TOY.replace(MOONS, "kind: arrays, file: good.npy, held_out: 0"))
    pictures = data / "honest"
    pictures.mkdir()
    from PIL import Image

    for k in range(9):
        Image.fromarray(np.full((9, 9, 3), k * 9, np.uint8)).save(pictures / f"{k}.png")
    (work / "pictures.yaml").write_text(TOY.replace(MOONS, "kind: images, folder: honest, size: [4, 4]"))
    (data / "table.csv").write_text("a,b\n" + "1,2\n3,4\n5,7\n" * 5)
    (work / "table.yaml").write_text(TOY.replace(MOONS, "kind: arrays, file: table.csv"))
    root = ["--data-root", str(data)]
    np.savez(data / "good.npz", examples=np.ones((20, 2)) * np.arange(20)[:, None])
    (work / "zipped.yaml").write_text(TOY.replace(MOONS, "kind: arrays, file: good.npz"))
    for name in ("honest", "arrays", "pictures", "table", "zipped"):
        case(name, ["train", f"{name}.yaml", "--out", f"run_{name}", *root], None)
    case("warm refusal", ["train", "bad.yaml", "--out", "x"], None)
    case("warm sample", ["sample", "run_honest", "--out", "drawn", "--num", "2"], None)
    case("warm report", ["report", "run_honest"], None)
    case("warm info", ["info", "run_honest"], None)
    found.pop("warm refusal")
    watch = Watch([folder, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path("/dev/null")])
    for name, text in TEXTS.items():
        (work / "hostile.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        case(f"config: {name}", ["train", "hostile.yaml", "--out", "never", *root], watch)
    for name in ("a\nb", "a b", "x" * 65, "\x1b[2J", ".hidden", "-flag"):
        case(f"name: {name!r}", ["train", "honest.yaml", f"--out={name}"], watch)
    for name, damage in RUNS.items():
        shutil.rmtree(work / "victim", ignore_errors=True)
        shutil.copytree(work / "run_honest", work / "victim")
        damage(work / "victim")
        case(f"run: {name}", ["sample", "victim", "--out", "never", "--num", "2"], watch)
    for name, damage in REPORTS.items():
        shutil.rmtree(work / "victim", ignore_errors=True)
        shutil.copytree(work / "run_honest", work / "victim")
        damage(work / "victim")
        case(f"report: {name}", ["report", "victim"], watch)
        case(f"info: {name}", ["info", "victim"], watch)
    found["written"] = sorted(str(p.relative_to(folder)) for p in folder.iterdir())
    # Of this program alone: getrusage would count what the process was before it became one.
    status = Path("/proc/self/status").read_text()
    found["megabytes"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    found["never"] = (work / "never").exists()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
