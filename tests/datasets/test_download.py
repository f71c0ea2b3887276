"""Downloads, tried on file:// addresses: what passes its check arrives whole, the rest leaves nothing."""

import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from thesislib.datasets import DatasetError, fetch, load_features, load_images
from thesislib.datasets import download as room


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that stands for the publisher's site; returns a function that puts a data set there."""
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "site").mkdir()

    def publish(name, contents, digest=None):
        """`contents` in the order of the name's sources; checksums are made to fit unless given."""
        sources = []
        for source, content in zip(room.SOURCES[name], contents, strict=True):
            file = tmp_path / "site" / source.url.rpartition("/")[2]
            file.write_bytes(content)
            kind = source.checksum.partition(":")[0]
            fitting = f"{kind}:{hashlib.new(kind, content).hexdigest()}" if kind else ""
            sources.append(source._replace(url=file.as_uri(), checksum=digest or fitting))
        monkeypatch.setitem(room.SOURCES, name, tuple(sources))
        return tmp_path / "data"

    return publish


def idx(array):
    return (
        bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    )


def mnist_files():
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20, dtype=np.uint8) % 10] * 2
    return parts, [gzip.compress(idx(part)) for part in parts]


def like_mushrooms(rows=8124):
    """Text with as many rows, columns and non-zeros as the real file: 21 ones in each row."""
    rng = np.random.default_rng(0)
    X = np.zeros((rows, 112))
    np.put_along_axis(X, rng.permuted(np.tile(np.arange(112), (rows, 1)), axis=1)[:, :21], 1, axis=1)
    text = io.BytesIO()
    dump_svmlight_file(X, np.arange(rows) % 2 + 1, text, zero_based=False)
    return X, text.getvalue()


def cifar_tar(members):
    """As the publisher's: pickles of Python 2's protocol, with the module names of the NumPy of its day."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            pickled = pickle.dumps(content, protocol=2).replace(b"numpy._core.", b"numpy.core.")
            member = tarfile.TarInfo(f"some-folder/{name}")
            member.size = len(pickled)
            tar.addfile(member, io.BytesIO(pickled))
    return buffer.getvalue()


def leftovers(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_mnist_arrives_as_torchvision_lays_it(site):
    parts, files = mnist_files()
    data = site("mnist", files)
    assert fetch("mnist") == data / "MNIST" / "raw"
    assert len(leftovers(data)) == 4 and len(list((data / "MNIST" / "raw").iterdir())) == 4
    mine = load_images(data / "MNIST" / "raw")
    np.testing.assert_array_equal(mine.train_images[..., 0], parts[0])
    np.testing.assert_array_equal(mine.test_labels, parts[3])


def test_what_is_there_is_left_alone(site):
    _, files = mnist_files()
    data = site("mnist", files)
    fetch("mnist")
    site("mnist", [b"nothing good"] * 4)
    assert fetch("mnist") == data / "MNIST" / "raw"
    lost = data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    lost.unlink()
    site("mnist", files)
    fetch("mnist")
    assert lost.is_file()


def test_a_wrong_checksum_leaves_nothing(site):
    _, files = mnist_files()
    data = site("mnist", files, digest="sha256:" + "0" * 64)
    got = hashlib.sha256(files[0]).hexdigest()
    with pytest.raises(DatasetError, match=f"expected sha256:{'0' * 64}, got sha256:{got}"):
        fetch("mnist")
    assert leftovers(data) == [] and not list((data / "MNIST" / "raw").iterdir())


def test_the_built_in_checksums_refuse_other_content(site, monkeypatch):
    real = {name: [source.checksum for source in room.SOURCES[name]] for name in ("cifar10", "cifar100")}
    for name, (checksum,) in real.items():
        data = site(name, [b"not the archive"], digest=checksum)
        with pytest.raises(DatasetError, match=f"expected {checksum}, got md5:"):
            fetch(name)
    assert leftovers(data) == []


def test_an_address_that_does_not_answer(site, tmp_path):
    data = site("a9a", [b""])
    (tmp_path / "site" / "a9a").unlink()
    with pytest.raises(DatasetError, match=r"site/a9a cannot be downloaded"):
        fetch("a9a")
    assert leftovers(data) == [] and not list((data / "libsvm").iterdir())


def test_libsvm_files_are_counted(site):
    X, text = like_mushrooms()
    data = site("mushrooms", [text])
    assert fetch("mushrooms") == data / "libsvm" / "mushrooms"
    assert not [path for path in (data / "libsvm").iterdir() if path.name != "mushrooms"]
    found, y = load_features("mushrooms")
    np.testing.assert_array_equal(found.toarray(), X)
    assert (y == 1).sum() == 4062


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (8123, r"thrown away: .* holds 8123 rows, expected 8124"),
        (0, r"thrown away: .* holds 0 rows, expected 8124"),
    ],
)
def test_a_short_libsvm_file_leaves_nothing(site, keep, message):
    _, text = like_mushrooms()
    data = site("mushrooms", [b"".join(text.splitlines(keepends=True)[:keep])])
    with pytest.raises(DatasetError, match=message):
        fetch("mushrooms")
    assert leftovers(data) == [] and not list((data / "libsvm").iterdir())


def test_a_page_in_place_of_the_file_leaves_nothing(site):
    data = site("a9a", [b"<html>404 not found</html>"])
    with pytest.raises(DatasetError, match=r"thrown away: .* not LIBSVM's format"):
        fetch("a9a")
    assert leftovers(data) == []


@pytest.mark.parametrize(
    ("name", "batches", "key", "meta", "meta_key"),
    [
        (
            "cifar10",
            ["data_batch_1", "data_batch_2", "data_batch_3"],
            "labels",
            "batches.meta",
            "label_names",
        ),
        ("cifar100", ["train"], "fine_labels", "meta", "fine_label_names"),
    ],
)
def test_cifar_becomes_two_archives_in_the_publishers_order(site, name, batches, key, meta, meta_key):
    rng = np.random.default_rng(0)
    test = "test_batch" if name == "cifar10" else "test"
    parts = {b: rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8) for b in [*batches, test]}
    labels = {b: rng.permutation([0, 1, 2, 3]).tolist() for b in parts}
    coarse = {"coarse_labels": [9] * 4} if name == "cifar100" else {}
    members = {b: {"data": parts[b].reshape(4, -1), key: labels[b], **coarse} for b in reversed(parts)}
    members[meta] = {meta_key: ["ant", "bee", "cat", "dog"]}
    data = site(name, [cifar_tar(members)])
    assert fetch(name) == data / name
    assert leftovers(data) == ["test.npz", "train.npz"]
    cifar = load_images(data / name)
    assert cifar.classes == ("ant", "bee", "cat", "dog")
    train = np.concatenate([parts[b] for b in batches])
    np.testing.assert_array_equal(np.moveaxis(cifar.train_images, 3, 1), train)
    assert cifar.train_labels.tolist() == [label for b in batches for label in labels[b]]
    np.testing.assert_array_equal(np.moveaxis(cifar.test_images, 3, 1), parts[test])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "digits needs no download: it comes with scikit-learn"),
        ("tiny_imagenet18", r"not downloaded; .*ImageNet's terms.* expected tiny_imagenet18/train.npz and"),
        ("imagenet", "no data set 'imagenet' to download; there are mnist, cifar10"),
    ],
)
def test_what_cannot_be_fetched_says_why(monkeypatch, tmp_path, name, message):
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=message):
        fetch(name)


def test_there_must_be_a_place_to_put_it(monkeypatch):
    monkeypatch.delenv("THESISLIB_DATA", raising=False)
    with pytest.raises(DatasetError, match="set THESISLIB_DATA to the folder"):
        fetch("mnist")
