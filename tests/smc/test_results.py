"""What a result says about itself, and that a file holds all of it or is refused."""

import re
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.errors import FkdiffError, FkdiffWarning
from tests.smc import walks

KEY = jax.random.key(0)


class Pair(NamedTuple):
    x: jax.Array
    flags: tuple


@pytest.fixture(scope="module")
def out():
    return smc.run_smc(KEY, walks.model(), jnp.asarray(walks.GRID), 64, resample=smc.adaptive(smc.systematic, 0.9))


def test_print_is_for_people(out):
    text = str(out)
    assert text == repr(out)
    for word in (
        "64 particles",
        "5 steps",
        "log Z",
        "ESS",
        "resamplings",
        "systematic",
        "ancestors",
        "status       ok",
    ):
        assert word in text, text
    assert "18 evaluations + 12 jvps per particle" in text
    assert "Array(" not in text
    jax.jit(lambda o: (repr(o), o.log_weights)[1])(out)  # traced results print without reading values
    assert "SMCResult" in repr(jax.tree.map(lambda a: a[None], out))


def doubts(**changes):
    """The warnings of a run whose diagnostics are edited."""
    count, steps = 200, 4
    info = smc.SMCInfo(
        times=jnp.linspace(0.0, 1.0, steps + 1),
        ess=jnp.full(steps + 1, 100.0),
        residual=jnp.zeros(steps),
        resampled=jnp.asarray([False, True, False, False]),
        spread=jnp.zeros(steps),
        ancestors=jnp.arange(count),
        evaluations=jnp.int32(0),
        jvps=jnp.int32(0),
        status=jnp.int32(0),
        status_step=jnp.int32(0),
        bad_count=jnp.int32(0),
        bad_index=jnp.int32(0),
        killed=jnp.int32(0),
    )
    for name, value in changes.items():
        object.__setattr__(info, name, value)
    edited = smc.SMCResult(jnp.zeros(count), jnp.zeros(count), jnp.float32(0), info, None, "systematic")
    assert fk.core.check is not None
    errors, found = edited.problems()
    assert not errors
    return [re.search(r"SYMPTOMS\.md#([\w-]+)$", sentence).group(1) for sentence in found]


def test_warnings_name_their_symptom():
    assert doubts() == []
    assert doubts(ess=jnp.asarray([100.0, 9.9, 100.0, 100.0, 100.0])) == ["collapsed-weights"]
    assert doubts(ess=jnp.full(5, 10.0)) == []
    assert doubts(ancestors=jnp.maximum(jnp.arange(200) - 101, 0)) == ["one-ancestor"]
    low = jnp.full(5, 20.0)  # a tenth of N: accounts for lineages as unequal as these
    assert doubts(ess=low, ancestors=jnp.maximum(jnp.arange(200) - 99, 0)) == []
    assert doubts(residual=jnp.full(4, 0.51)) == ["starved-modes"]
    assert doubts(residual=jnp.full(4, 0.5)) == []
    assert doubts(ess=low, ancestors=jnp.arange(200) % 19) == ["few-ancestors"]
    assert doubts(ess=low, ancestors=jnp.arange(200) % 20) == []
    assert doubts(ess=low, ancestors=jnp.arange(200) % 19, resampled=jnp.zeros(4, bool)) == []
    # N Σq² = 10 where one resampling at N/2 and an end at N/2 account for 3; 8.7 would be within 3 × 3.
    assert doubts(ancestors=jnp.arange(200) % 20) == ["starved-modes"]
    assert doubts(ancestors=jnp.arange(200) % 23) == []
    assert doubts(killed=jnp.int32(2)) == ["killed-particles"]


def test_every_symptom_has_its_entry():
    package = Path(fk.__file__).parent
    entries = (package / "SYMPTOMS.md").read_text()
    named = {s for path in package.rglob("*.py") for s in re.findall(r"SYMPTOMS\.md#([\w-]+)", path.read_text())}
    assert len(named) >= 5
    assert [s for s in sorted(named) if f"## {s}\n" not in entries] == []


def test_check_warns_and_returns_its_argument(out):
    few = smc.run_smc(KEY, walks.model(sharpness=300.0), jnp.asarray(walks.GRID), 64)
    with pytest.warns(FkdiffWarning, match=r"SYMPTOMS\.md#"):
        assert fk.check(few) is few


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.array_equal(x, y, equal_nan=jnp.issubdtype(x.dtype, jnp.inexact))


def test_arrays_that_cannot_belong_together_are_refused(out, tmp_path):
    for where in (lambda r: r.info.ancestors, lambda r: r.info.ess, lambda r: r.particles):
        short = eqx.tree_at(where, out, where(out)[:-1])
        short.save(tmp_path / "short.npz")
        with pytest.raises(FkdiffError, match="is damaged or not a saved result"):
            smc.SMCResult.load(tmp_path / "short.npz")
    with pytest.raises(FkdiffError, match="does not exist; make"):
        out.save(tmp_path / "nowhere" / "run.npz")


def test_save_and_load(out, tmp_path):
    out.save(tmp_path / "run.npz")
    back = smc.SMCResult.load(tmp_path / "run.npz")
    assert_same(out, back)
    assert jax.tree.structure(out) == jax.tree.structure(back)
    assert str(back) == str(out)
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_trees_of_particles_come_back_by_name(out, tmp_path):
    tree = {"pair": Pair(jnp.ones((64, 2), jnp.bfloat16), (jnp.zeros(64, bool), jnp.arange(64))), "n": jnp.zeros(64)}
    nested = smc.SMCResult(tree, out.log_weights, out.log_normalizer, out.info, {"t": jnp.ones(3)}, "residual")
    nested.save(tmp_path / "run.npz")
    back = smc.SMCResult.load(tmp_path / "run.npz")
    assert back.particles["pair"]["x"].dtype == jnp.bfloat16
    assert back.particles["pair"]["flags"][0].dtype == bool
    assert back.particles["pair"]["flags"][1].tolist() == list(range(64))
    assert back.collected["t"].tolist() == [1, 1, 1]
    assert back.scheme == "residual"


def test_damage_is_refused_in_one_sentence_or_harmless(out, tmp_path):
    path = tmp_path / "run.npz"
    out.save(path)
    whole = path.read_bytes()
    sentences = []
    for position in np.linspace(0, len(whole) - 1, 60).astype(int):
        spoiled = bytearray(whole)
        spoiled[position] ^= 0x10
        path.write_bytes(bytes(spoiled))
        try:
            back = smc.SMCResult.load(path)
        except FkdiffError as error:
            sentences.append(str(error))
        else:
            assert_same(out, back)  # a time stamp, say
    assert len(sentences) > 30
    assert all(re.fullmatch(r"[^\n]*run.npz' is damaged or not a saved result[^\n]*", s) for s in sentences)
    for content in (whole[: len(whole) // 2], b"", b"PK nonsense", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(FkdiffError, match="is damaged or not a saved result"):
            smc.SMCResult.load(path)


def test_pickles_missing_files_and_keys_are_refused(out, tmp_path):
    with pytest.raises(FkdiffError, match="no result at"):
        smc.SMCResult.load(tmp_path / "none.npz")
    np.savez(tmp_path / "evil.npz", index=np.array([{"a": print}], dtype=object))
    with pytest.raises(FkdiffError, match="is damaged or not a saved result"):
        smc.SMCResult.load(tmp_path / "evil.npz")
    with pytest.raises(FkdiffError, match=r"must end in \.npz"):
        out.save(tmp_path / "run.bin")
    keyed = smc.SMCResult(jax.random.split(KEY, 64), out.log_weights, out.log_normalizer, out.info)
    with pytest.raises(FkdiffError, match=r"out\.particles is a random key"):
        keyed.save(tmp_path / "keys.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.npz"]
