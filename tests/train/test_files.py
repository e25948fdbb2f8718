"""A person's own files: read as they are meant, standardised by what is trained on, and refused in one sentence."""

import os
import time

import numpy as np
import pytest

from fkdiff.core import FkdiffError
from fkdiff.train import loop
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import held_out, load_data, resolve
from fkdiff.train.data.dataset import part_of
from fkdiff.train.files import load_numbers

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(40, 3)) * [1.0, 5.0, 0.2] + [0.0, 10.0, -3.0]


def config(data, **more):
    model = {"kind": "mlp", "width": 8, "depth": 1}
    optim = {"steps": 4, "batch_size": 8}
    return TrainConfig.model_validate({"data": data, "model": model, "optim": optim, **more})


def arrays(file, **more):
    return config({"kind": "arrays", "file": file, **more})


def test_features_are_standardised_by_the_training_rows_alone(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    known, report = resolve(arrays("x.npy", held_out=0.25), tmp_path)
    rows = part_of(40, "train", 0.25)
    assert len(rows) == 30
    np.testing.assert_allclose(known.data.facts.mean, TABLE[rows].mean(0), rtol=1e-12)
    np.testing.assert_allclose(known.data.facts.scale, TABLE[rows].std(0), rtol=1e-10)
    train, aside = load_data(known, tmp_path), held_out(known, tmp_path)
    back = np.concatenate([train.examples, aside.examples]) * known.data.facts.scale + known.data.facts.mean
    np.testing.assert_allclose(back[np.lexsort(back.T)], TABLE[np.lexsort(TABLE.T)], rtol=1e-5)
    assert train.examples.dtype == np.float32
    assert str(report) == (
        f"x.npy: 40 examples of shape (3,), float64, from {TABLE.min():.4g} to {TABLE.max():.4g}, in memory; "
        "30 to train on, 10 held out."
    )


@pytest.mark.slow
def test_what_is_read_from_disk_is_what_memory_would_hold(tmp_path):
    signals = RNG.normal(size=(50, 6)).astype(np.float32) * 3 + 1
    np.save(tmp_path / "x.npy", signals)
    near, _ = resolve(arrays("x.npy"), tmp_path)
    far, report = resolve(arrays("x.npy", in_memory=100), tmp_path)
    assert "read from disk" in str(report)
    assert near.data.facts == far.data.facts
    streamed = load_data(far, tmp_path)
    assert not isinstance(streamed.examples, np.ndarray)
    np.testing.assert_array_equal(streamed.examples[:], load_data(near, tmp_path).examples)
    a = loop.train(far, tmp_path / "far", picture=False, data_root=tmp_path)
    b = loop.train(near, tmp_path / "near", picture=False, data_root=tmp_path)
    assert a.loss == b.loss


def test_labels_and_conditions_find_their_examples(tmp_path):
    examples, labels = np.arange(60).reshape(20, 3), np.arange(20) % 4
    np.savez(tmp_path / "z.npz", examples=examples, labels=labels)
    known, report = resolve(arrays("z.npz", normalize="none"), tmp_path)
    data = load_data(known, tmp_path)
    np.testing.assert_array_equal(data.labels, (data.examples[:, 0] / 3).astype(int) % 4)
    assert (known.data.num_classes, known.data.facts.quantum) == (4, 1.0)
    assert "4 classes" in str(report)
    np.savez(tmp_path / "c.npz", examples=examples * 1.0, cond=np.stack([labels, -labels], 1) * 0.5)
    known, _ = resolve(arrays("c.npz"), tmp_path)
    assert (known.data.num_classes, known.data.cond_length) == (0, 2)
    assert load_data(known, tmp_path).labels.dtype == np.float32


def test_a_table_with_a_header(tmp_path):
    rows = "\n".join(f"{a:.6f},{i % 3},{b:.6f}" for i, (a, b, _) in enumerate(TABLE))
    (tmp_path / "t.csv").write_text(f"height,kind,weight\n{rows}\n")
    known, _ = resolve(arrays("t.csv", label_column="kind", normalize="none"), tmp_path)
    data = load_data(known, tmp_path)
    order = part_of(40, "train", 0.1)
    np.testing.assert_allclose(data.examples, TABLE[order][:, :2], atol=1e-5)
    np.testing.assert_array_equal(data.labels, order % 3)
    known, _ = resolve(arrays("t.csv", cond_columns=["kind"]), tmp_path)
    assert (known.data.cond_length, known.data.facts.shape) == (1, (2,))


def pictures(folder, count=6, size=(12, 10)):
    from PIL import Image

    folder.mkdir(parents=True)
    for k in range(count):
        Image.fromarray(RNG.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{k}.png")


def images(folder, **more):
    data = {"kind": "images", "folder": folder, "size": [8, 8], **more}
    return config(data, model={"kind": "unet", "channels": 4})


def test_a_folder_of_pictures_and_its_classes(tmp_path):
    pictures(tmp_path / "all" / "cats")
    pictures(tmp_path / "all" / "dogs", 5)
    (tmp_path / "all" / "dogs" / "bad.png").write_bytes(b"nothing to see")
    known, report = resolve(images("all"), tmp_path)
    assert known.data.facts.shape == (8, 8, 3)
    assert (known.data.num_classes, known.data.facts.count) == (2, 11)
    assert "2 classes (cats, dogs)" in str(report)
    assert "1 left out: dogs/bad.png" in str(report)
    train, aside = load_data(known, tmp_path), held_out(known, tmp_path)
    assert train.examples.shape == (10, 8, 8, 3)
    assert aside.examples.shape == (1, 8, 8, 3)
    assert abs(train.examples.mean()) <= 1e-4
    assert abs(train.examples.std() - 1) <= 1e-4
    np.testing.assert_array_equal(np.sort(np.concatenate([train.labels, aside.labels])), [0] * 6 + [1] * 5)
    with pytest.raises(FkdiffError, match=r"dogs/bad\.png .* is not a picture"):
        resolve(images("all", damaged="stop"), tmp_path)


def test_a_run_on_files_is_loaded_without_them_and_not_resumed_on_others(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    given = arrays("x.npy")
    loop.train(given, tmp_path / "run", data_root=tmp_path)
    time.sleep(0.01)
    np.save(tmp_path / "x.npy", TABLE + 1)
    with pytest.raises(FkdiffError, match=r"another data\.facts\.mean\.0"):
        loop.train(given, tmp_path / "run", resume=True, data_root=tmp_path)
    os.remove(tmp_path / "x.npy")
    from fkdiff.train import load_run

    assert load_run(tmp_path / "run").shape == (3,)
    assert (tmp_path / "run" / "samples.png").exists()


def save(name, **contents):
    return lambda folder: np.savez(folder / name, **contents)


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def array(value):
    return lambda folder: np.save(folder / "x.npy", value)


def linked_out(folder):
    outside = folder.parent / f"{folder.name}-outside.npy"
    np.save(outside, TABLE)
    (folder / "x.npy").symlink_to(outside)


BAD = {
    "missing": (lambda folder: None, "x.npy", {}, "there is no x.npy below the data root"),
    "above the root": (linked_out, "x.npy", {}, "leads out of the data root"),
    "empty": (write("x.npy", ""), "x.npy", {}, "is empty"),
    "not an array": (write("x.npy", "hello"), "x.npy", {}, r"x\.npy cannot be read"),
    "pickled": (array(np.array([{"a": 1}], object)), "x.npy", {}, "cannot be read: Object arrays"),
    "strings": (array(np.array([["a"], ["b"]])), "x.npy", {}, "not real numbers"),
    "complex": (array(np.ones((4, 2), complex)), "x.npy", {}, "not real numbers"),
    "one number": (array(np.array(3.0)), "x.npy", {}, "holds one number"),
    "one example": (array(np.ones((1, 3))), "x.npy", {}, "two or more are needed"),
    "five axes": (array(np.ones((3, 2, 2, 2, 2))), "x.npy", {}, "pass vectors"),
    "no numbers": (array(np.ones((3, 0))), "x.npy", {}, "pass vectors"),
    "nan": (array(np.where(np.arange(12).reshape(6, 2) == 7, np.nan, 1.0)), "x.npy", {}, r"nan at \(3, 1\)"),
    "overflow": (array(np.where(np.arange(12).reshape(6, 2) == 4, 1e300, 1.0)), "x.npy", {}, "too large for single"),
    "another ending": (write("x.txt", "1"), "x.txt", {}, "none of .npy, .npz and .csv"),
    "not a zip": (write("x.npz", "PK but not really"), "x.npz", {}, "cannot be read"),
    "other names": (save("x.npz", data=TABLE), "x.npz", {}, "holds data; save `examples`"),
    "too large to unpack": (save("x.npz", examples=np.zeros(10**5)), "x.npz", {"in_memory": 1000}, "unpacks to"),
    "labels of words": (
        save("x.npz", examples=TABLE, labels=np.array(["a"] * 40)),
        "x.npz",
        {},
        "number classes from 0",
    ),
    "half labels": (save("x.npz", examples=TABLE, labels=np.ones(40) / 2), "x.npz", {}, "not whole numbers"),
    "few labels": (save("x.npz", examples=TABLE, labels=np.ones(3, int)), "x.npz", {}, "3 conditions"),
    "more classes": (save("x.npz", examples=TABLE, labels=np.arange(40)), "x.npz", {"classes": 5}, "allows 0 to 4"),
    "no header": (write("x.csv", "1,2\n3,4\n5,6\n"), "x.csv", {}, "no header"),
    "ragged": (write("x.csv", "a,b\n1,2\n3\n"), "x.csv", {}, r"ragged: line 3 has 1 columns"),
    "a word": (write("x.csv", "a,b\n1,2\n3,four\n"), "x.csv", {}, "'four' and not a number in line 3"),
    "no rows": (write("x.csv", "a,b\n"), "x.csv", {}, "no rows"),
    "names and columns": (write("x.csv", "a,b,c\n1,2\n3,4\n"), "x.csv", {}, "3 names and 2 columns"),
    "no such column": (write("x.csv", "age,b\n1,2\n3,4\n"), "x.csv", {"label_column": "ages"}, 'did you mean "age"'),
    "columns of an array": (array(TABLE), "x.npy", {"label_column": "a"}, "columns of a .csv"),
}


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, name):
    make, file, options, sentence = BAD[name]
    make(tmp_path)
    with pytest.raises(FkdiffError, match=sentence) as found:
        resolve(arrays(file, **options), tmp_path)
    assert "\n" not in str(found.value)


class Payload:
    """Leaves a mark if anything brings it to life."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


@pytest.mark.parametrize("mapped", [False, True])
def test_objects_in_a_file_of_numbers_are_never_brought_to_life(tmp_path, mapped):
    mark = tmp_path / "mark"
    np.save(tmp_path / "x.npy", np.array([Payload(str(mark))], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        load_numbers(tmp_path / "x.npy", mapped)
    assert not mark.exists()
    np.load(tmp_path / "x.npy", allow_pickle=True)  # what a reader that trusts it would have done
    assert mark.exists()


@pytest.mark.parametrize("place", ["/etc/passwd", "../x.npy", "a/../../x.npy", "", "x\n.npy", "a\\b"])
def test_places_outside_the_root_are_refused_before_anything_is_read(place):
    with pytest.raises(ValueError, match="below the data root"):
        arrays(place)


def test_empty_folders_and_folders_of_text_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(FkdiffError, match="has 0 pictures"):
        resolve(images("none"), tmp_path)
    (tmp_path / "none" / "a.png").write_text("no")
    with pytest.raises(FkdiffError, match=r"1 that cannot: a\.png"):
        resolve(images("none"), tmp_path)
    (tmp_path / "none" / "b.png").symlink_to("/etc/passwd")
    with pytest.raises(FkdiffError, match="1 that cannot"):
        resolve(images("none"), tmp_path)


def test_a_network_that_cannot_take_the_shape_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((10, 6, 6, 1)) * np.arange(10).reshape(-1, 1, 1, 1))
    given = arrays("x.npy").model_dump(mode="json")
    for model, sentence in (
        ({"kind": "unet", "levels": 3}, "multiples of 4"),
        ({"kind": "dit", "patch": 4}, "does not divide"),
    ):
        with pytest.raises(FkdiffError, match=sentence):
            resolve(TrainConfig.model_validate({**given, "model": model}), tmp_path)
