"""The catalogue, finding a data set, and the hash of its content."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

import thesislib.datasets
from thesislib import sources
from thesislib.datasets import DatasetError, available, fingerprint, load_features, load_images
from thesislib.datasets.catalogue import known
from thesislib.datasets.download import SOURCES


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from thesislib.datasets import available; [e.present for e in available()]; "
        "print({'numpy', 'scipy', 'sklearn', 'PIL', 'av', 'cv2'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_caches_see_the_lazily_imported_loaders():
    files, _ = sources.closure(Path(thesislib.datasets.__file__))
    homes = {Path(sys.modules[getattr(thesislib.datasets, n).__module__].__file__) for n in _public()}
    assert homes <= set(files)


def _public():
    return [name for name in thesislib.datasets.__all__ if name != "DatasetError"]


def test_every_entry_says_how_to_get_it_and_names_are_unique():
    entries = available()
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert (
            entry.get
            and entry.terms
            and entry.size
            and set(entry.kinds) <= {"images", "features", "clips", "longtail"}
        )
        assert ("--fetch" in entry.get) == (entry.name in SOURCES)
        assert (entry.origin == "embedded") == (entry.path == "")


def test_embedded_files_are_the_arrays_the_loaders_return():
    digits = np.loadtxt(known("digits").place(), delimiter=",")
    np.testing.assert_array_equal(digits[:, :-1], load_digits().data)
    np.testing.assert_array_equal(digits[:, -1], load_digits().target)
    cancer = np.loadtxt(known("breast_cancer").place(), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(cancer[:, :-1], load_breast_cancer().data)
    np.testing.assert_array_equal(cancer[:, -1], load_breast_cancer().target)


def test_present_follows_the_files(monkeypatch, tmp_path):
    monkeypatch.delenv("THESISLIB_DATA", raising=False)
    embedded = ["digits", "breast_cancer", "glyphs", "glyphs_many"]
    embedded += ["moves", "moves_panning", "looks", "looks_many", "digits_lt"]
    embedded += ["glyphs_lt", "glyphs_lt_steep", "glyphs_lt_fine", "glyphs_lt_many"]
    assert [entry.name for entry in available() if entry.present] == embedded
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.npz").touch()
    assert not known("cifar10").present
    (tmp_path / "cifar10" / "test.npz").touch()
    assert known("cifar10").present and not known("a9a").present
    (tmp_path / "libsvm").mkdir()
    (tmp_path / "libsvm" / "a9a").touch()
    assert known("a9a").present and not known("a9a.t").present
    (tmp_path / "libsvm" / "a9a.t.bz2").touch()
    assert known("a9a.t").place() == tmp_path / "libsvm" / "a9a.t.bz2"


@pytest.mark.parametrize("call", [load_images, load_features, fingerprint])
@pytest.mark.parametrize("name", ["no_such_set", "", "some/where"])
def test_unknown_names_are_refused_with_the_known_ones(call, name):
    with pytest.raises(DatasetError, match="not a file or folder here, and not one of digits, breast_cancer"):
        call(name)


@pytest.mark.parametrize(
    ("call", "name", "message"),
    [
        (load_images, "a9a", "a9a holds features, not images: use load_features"),
        (load_features, "mnist", "mnist holds images, not features: use load_images"),
    ],
)
def test_the_other_kind_is_refused(call, name, message):
    with pytest.raises(DatasetError, match=message):
        call(name)


def test_missing_data_says_what_to_set_and_what_to_get(monkeypatch, tmp_path):
    monkeypatch.delenv("THESISLIB_DATA", raising=False)
    with pytest.raises(DatasetError, match="mnist: set THESISLIB_DATA to the folder that holds MNIST/raw"):
        load_images("mnist")
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
    with pytest.raises(
        DatasetError, match="mnist: no MNIST/raw/train-images-idx3-ubyte under THESISLIB_DATA="
    ):
        load_images("mnist")
    with pytest.raises(DatasetError, match=r"a9a: no libsvm/a9a.bz2 under .*thesis data --fetch a9a"):
        fingerprint("a9a")


def test_a_path_object_is_never_a_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "digits", images=np.zeros((2, 5, 5), np.uint8), labels=[0, 1])
    assert load_images("digits").train_images.shape[1] == 8
    assert load_images("./digits").train_images.shape[1] == 5
    assert load_images(Path("digits")).train_images.shape[1] == 5
    assert fingerprint("./digits") == fingerprint(Path("digits")) != fingerprint("digits")


def test_fingerprint_of_a_file_is_its_sha256(tmp_path):
    file = tmp_path / "some.txt"
    file.write_bytes(b"+1 1:2\n-1 2:1\n")
    assert fingerprint(file) == hashlib.sha256(b"+1 1:2\n-1 2:1\n").hexdigest()


@settings(max_examples=25)
@given(st.data())
def test_fingerprint_changes_with_any_byte_and_only_then(data):
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one"), Path(folder, "two")
        _write(one, images=np.arange(18, dtype=np.uint8).reshape(2, 3, 3), labels=[0, 1])
        before = fingerprint(one)
        shutil.copytree(one, two)
        (two / "notes.txt").write_text("not read")
        os.utime(two / "train.npz", ns=(1, 1))
        assert fingerprint(two) == before

        file = two / data.draw(st.sampled_from(["train.npz", "test.npz"]))
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        os.utime(file, ns=(2, 2))
        assert fingerprint(two) != before


def test_fingerprint_of_a_tree_knows_the_class_of_an_image(tmp_path):
    for split in ("train", "test"):
        for k, name in enumerate(["ant", "bee"]):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.full((4, 4), k, np.uint8)).save(tmp_path / split / name / "1.png")
    before = fingerprint(tmp_path)
    assert load_images(tmp_path).fingerprint == before
    (tmp_path / "train" / "ant" / "Thumbs.db").touch()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / ".cache" / "9.png").touch()
    assert fingerprint(tmp_path) == before
    (tmp_path / "train" / "ant" / "1.png").rename(tmp_path / "train" / "bee" / "2.png")
    assert fingerprint(tmp_path) != before


def _write(folder, **arrays):
    folder.mkdir()
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", **arrays)
