"""Images: counts that are known, the same shape from every source, and each kind of bad input refused."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from sklearn.datasets import load_digits

from thesislib.datasets import DatasetError, Images, fingerprint, load_images
from thesislib.datasets.catalogue import IDX_FILES, known
from thesislib.datasets.images import read_idx


def real(name):
    return pytest.mark.skipif(not known(name).present, reason="set THESISLIB_DATA")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def write_npz(folder, images, labels, **more):
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", images=images, labels=labels, **more)
    return folder


def write_tree(folder, pictures):
    """`pictures`: class name to a list of Pillow images."""
    for split in ("train", "test"):
        for name, some in pictures.items():
            (folder / split / name).mkdir(parents=True)
            for k, picture in enumerate(some):
                picture.save(folder / split / name / f"{k}.png")
    return folder


class TestDigits:
    def test_split_is_every_fifth_of_a_class(self):
        whole, digits = load_digits(), load_images("digits")
        seen, train, test = [0] * 10, [], []
        for picture, digit in zip(whole.images, whole.target, strict=True):  # the slow twin
            seen[digit] += 1
            (test if seen[digit] % 5 == 0 else train).append((picture, digit))
        assert seen == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        assert (len(train), len(test)) == (1442, 355)
        for part, images, labels in (
            (train, digits.train_images, digits.train_labels),
            (test, digits.test_images, digits.test_labels),
        ):
            np.testing.assert_array_equal(labels, [digit for _, digit in part])
            back = images[..., 0] * (16 / 255)
            assert np.abs(back - [picture for picture, _ in part]).max() <= 0.5 * 16 / 255

    def test_each_class_gives_a_fifth(self):
        digits = load_images("digits")
        whole = np.bincount(np.concatenate([digits.train_labels, digits.test_labels]))
        np.testing.assert_array_equal(np.bincount(digits.test_labels), whole // 5)

    def test_shape_and_range(self):
        digits = load_images("digits")
        assert digits.train_images.shape == (1442, 8, 8, 1) and digits.train_images.dtype == np.uint8
        assert digits.train_labels.dtype == np.int64
        assert digits.train_images.min() == 0 and digits.train_images.max() == 255
        assert len(np.unique(digits.train_images)) == 17
        assert digits.classes == tuple("0123456789")
        assert digits.fingerprint == fingerprint("digits")


@real("mnist")
def test_mnist_is_the_original():
    mnist = load_images("mnist")
    assert mnist.train_images.shape == (60_000, 28, 28, 1) and mnist.test_images.shape == (10_000, 28, 28, 1)
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (60_000, 28, 28))
    raw = hashlib.md5(header + mnist.train_images.tobytes()).hexdigest()
    assert raw == "6bbc9ace898e44ae57da46a324031adb"  # of the file as published
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert mnist.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@real("cifar10")
def test_cifar10():
    cifar = load_images("cifar10")
    assert cifar.test_images.shape == (10_000, 32, 32, 3)
    assert cifar.classes[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(cifar.test_labels).tolist() == [1000] * 10
    if len(cifar.train_images) == 50_000:
        assert np.bincount(cifar.train_labels).tolist() == [5000] * 10
        mean = cifar.train_images.mean(axis=(0, 1, 2)) / 255
        np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)


@real("cifar100")
def test_cifar100_is_whole_or_long_tailed_by_the_usual_rule():
    cifar = load_images("cifar100")
    assert np.bincount(cifar.test_labels).tolist() == [100] * 100
    assert cifar.classes[0] == "apple" and cifar.classes[-1] == "worm"
    rule = [int(500 * 10 ** (-k / 99)) for k in range(100)]
    assert np.bincount(cifar.train_labels).tolist() in ([500] * 100, rule)


@real("tiny_imagenet18")
def test_tiny_imagenet18():
    tiny = load_images("tiny_imagenet18")
    assert tiny.train_images.shape == (9000, 64, 64, 3)
    assert np.bincount(tiny.train_labels).tolist() == [500] * 18
    assert np.bincount(tiny.test_labels).tolist() == [50] * 18


class TestIdx:
    @given(arrays(np.uint8, array_shapes(max_dims=4, max_side=5)))
    def test_round_trip(self, array):
        with tempfile.TemporaryDirectory() as folder:
            write_idx(Path(folder, "file"), array)
            np.testing.assert_array_equal(read_idx(Path(folder, "file")), array)

    @given(arrays(np.uint8, array_shapes(max_dims=3, max_side=4)), st.data())
    def test_any_other_length_is_refused(self, array, data):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "file")
            write_idx(file, array)
            content = file.read_bytes()
            keep = data.draw(st.integers(0, len(content) - 1))
            file.write_bytes(data.draw(st.sampled_from([content[:keep], content + b"\0"])))
            with pytest.raises(DatasetError, match=r"its header promises|is no idx file"):
                read_idx(file)

    def test_another_type_is_refused(self, tmp_path):
        (tmp_path / "file").write_bytes(bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]))  # 13: float
        with pytest.raises(DatasetError, match="starts with 00 00 0d 01, expected 00 00 08"):
            read_idx(tmp_path / "file")

    def test_a_folder_of_ones_own_needs_no_catalogue(self, tmp_path):
        for k, file in enumerate(IDX_FILES):
            write_idx(
                tmp_path / file, np.arange(3, dtype=np.uint8) if k % 2 else np.zeros((3, 4, 4), np.uint8)
            )
        mine = load_images(tmp_path)
        assert mine.train_images.shape == (3, 4, 4, 1) and mine.classes == ("0", "1", "2")

    def test_mnist_with_another_number_of_images_is_refused(self, tmp_path, monkeypatch):
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for k, file in enumerate(IDX_FILES):
            array = np.arange(10, dtype=np.uint8) if k % 2 else np.zeros((10, 28, 28), np.uint8)
            write_idx(raw / file, array)
        monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
        with pytest.raises(DatasetError, match="holds 10 train images, expected 60000"):
            load_images("mnist")


class TestArchives:
    @settings(max_examples=30)
    @given(
        st.sampled_from([(), (1,), (3,)]).flatmap(
            lambda channels: arrays(
                np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=6).map(lambda s: s + channels)
            )
        ),
        st.sampled_from([np.uint8, np.int16, np.int64, np.uint64]),
    )
    def test_round_trip(self, images, dtype):
        labels = np.arange(len(images)).astype(dtype)
        with tempfile.TemporaryDirectory() as folder:
            mine = load_images(write_npz(Path(folder, "mine"), images, labels))
        assert mine.name == "mine"
        assert mine.train_images.shape == (*images.shape[:3], images.shape[3] if images.ndim == 4 else 1)
        np.testing.assert_array_equal(mine.train_images.ravel(), images.ravel())
        np.testing.assert_array_equal(mine.test_labels, labels)
        assert mine.test_labels.dtype == np.int64
        assert mine.classes == tuple(str(k) for k in range(len(images)))

    @settings(max_examples=150)
    @given(st.data())
    def test_a_damaged_archive_is_refused_or_reads_the_same(self, data):
        images, labels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), np.array([0, 1])
        with tempfile.TemporaryDirectory() as folder:
            mine = write_npz(Path(folder, "mine"), images, labels)
            content = bytearray((mine / "train.npz").read_bytes())
            place = data.draw(st.integers(0, len(content) - 1))
            if data.draw(st.booleans()):
                content = content[:place]
            else:
                content[place] ^= data.draw(st.integers(1, 255))
            (mine / "train.npz").write_bytes(content)
            try:
                found = load_images(mine)
            except DatasetError:
                return
            np.testing.assert_array_equal(found.train_images, images)
            np.testing.assert_array_equal(found.train_labels, labels)

    def test_names_of_classes(self, tmp_path):
        images, labels = np.zeros((2, 3, 3), np.uint8), [1, 0]
        assert load_images(write_npz(tmp_path / "a", images, labels, classes=["cat", "dog"])).classes == (
            "cat",
            "dog",
        )
        folder = write_npz(tmp_path / "b", images, labels)
        np.savez(folder / "test.npz", images=images, labels=labels, classes=["cat", "dog"])
        assert load_images(folder).classes == ("cat", "dog")
        np.savez(folder / "train.npz", images=images, labels=labels, classes=["dog", "cat"])
        with pytest.raises(DatasetError, match=r"classes in train.npz and test.npz differ"):
            load_images(folder)

    GOOD = np.zeros((3, 4, 4), np.uint8)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (GOOD / 255, [0, 1, 2], r"mine: train images are float64, expected uint8"),
            (GOOD[0], [0, 1, 2], r"shape \(4, 4\), expected \(n, height, width\)"),
            (np.zeros((3, 3, 8, 8), np.uint8), [0, 1, 2], r"1 or 3 channels, channels last"),
            (GOOD[:0], [], r"shape \(0, 4, 4\)"),
            (GOOD, [0, 1], r"labels have shape \(2,\), expected \(3,\)"),
            (GOOD, [[0], [1], [2]], r"labels have shape \(3, 1\)"),
            (GOOD, [0.0, 1.0, 2.0], r"labels are float64, expected integers"),
            (GOOD, ["a", "b", "c"], r"labels are <U1, expected integers"),
            (GOOD, [-1, 0, 1], r"labels go down to -1"),
            (GOOD, [0, 0, 2], r"labels have no image of class 1"),
            (GOOD, [1, 2, 3], r"labels have no image of class 0"),
            (GOOD, np.array([0, 1, 2**63], np.uint64), r"labels have no image of class 2"),
            (np.array([None] * 3), [0, 1, 2], r"train.npz cannot be read: Object arrays"),
        ],
    )
    def test_bad_arrays_are_refused(self, tmp_path, images, labels, message):
        with pytest.raises(DatasetError, match=message):
            load_images(write_npz(tmp_path / "mine", images, labels))

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            (["cat"], "labels go up to 1, but there are 1 classes"),
            (["cat", "dog", "emu"], r"class 2 \(emu\)"),
        ],
    )
    def test_labels_must_fit_the_names(self, tmp_path, classes, message):
        folder = write_npz(tmp_path / "mine", self.GOOD[:2], [0, 1], classes=classes)
        with pytest.raises(DatasetError, match=message):
            load_images(folder)

    def test_both_parts_must_agree(self, tmp_path):
        folder = write_npz(tmp_path / "mine", self.GOOD, [0, 1, 2])
        np.savez(folder / "test.npz", images=self.GOOD, labels=[0, 1, 3])
        with pytest.raises(DatasetError, match="mine: test labels go up to 3, but there are 3 classes"):
            load_images(folder)
        np.savez(folder / "test.npz", images=self.GOOD, labels=[0, 1, 1])
        with pytest.raises(DatasetError, match=r"mine: test labels have no image of class 2 \(2\)"):
            load_images(folder)
        np.savez(folder / "test.npz", images=np.zeros((3, 5, 4), np.uint8), labels=[0, 1, 2])
        with pytest.raises(DatasetError, match="train images are 4 × 4 × 1, test images 5 × 4 × 1"):
            load_images(folder)

    def test_what_an_archive_lacks_is_named(self, tmp_path):
        folder = write_npz(tmp_path / "mine", self.GOOD, [0, 1, 2])
        np.savez(folder / "test.npz", x=self.GOOD, y=[0, 1, 2])
        with pytest.raises(DatasetError, match=r"test.npz lacks images and labels; it holds x, y"):
            load_images(folder)

    def test_a_known_set_with_another_number_of_images_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
        write_npz(tmp_path / "cifar10", np.zeros((10, 32, 32, 3), np.uint8), np.arange(10))
        with pytest.raises(DatasetError, match="holds 10 test images, expected 10000"):
            load_images("cifar10")


class TestTree:
    def test_colour_and_grey(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
        red, green, blue = map(Image.fromarray, pixels)
        tree = load_images(write_tree(tmp_path / "a", {"bee": [red, green], "ant": [blue]}))
        assert tree.classes == ("ant", "bee") and tree.train_labels.tolist() == [0, 1, 1]
        np.testing.assert_array_equal(tree.train_images, pixels[[2, 0, 1]])

        grey = Image.fromarray(pixels[0, ..., 0])
        tree = load_images(write_tree(tmp_path / "b", {"ant": [grey], "bee": [grey]}))
        np.testing.assert_array_equal(tree.test_images[1, ..., 0], pixels[0, ..., 0])
        assert tree.test_images.shape == (2, 5, 4, 1)

        tree = load_images(write_tree(tmp_path / "c", {"ant": [grey], "bee": [red]}))
        np.testing.assert_array_equal(tree.train_images[0], np.repeat(pixels[0, ..., :1], 3, axis=-1))
        np.testing.assert_array_equal(tree.train_images[1], pixels[0])

    def test_palette_alpha_and_jpeg(self, tmp_path):
        flat = np.full((8, 8, 3), (200, 30, 90), np.uint8)
        folder = write_tree(
            tmp_path / "a",
            {"ant": [Image.fromarray(flat).convert("P")], "bee": [Image.fromarray(flat).convert("RGBA")]},
        )
        Image.fromarray(flat).save(folder / "train" / "bee" / "9.JPG", quality=95)
        tree = load_images(folder)
        np.testing.assert_array_equal(tree.train_labels, [0, 1, 1])
        np.testing.assert_array_equal(tree.train_images[1], flat)
        assert np.abs(tree.train_images[2].astype(int) - flat).max() <= 4

    def test_other_sizes_are_refused(self, tmp_path):
        a, b = Image.new("RGB", (4, 5)), Image.new("RGB", (4, 6))
        with pytest.raises(DatasetError, match=r"1\.png is 6 × 4 pixels, .*0\.png 5 × 4; give all one size"):
            load_images(write_tree(tmp_path / "a", {"ant": [a, b]}))

    def test_other_depths_are_refused(self, tmp_path):
        deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
        with pytest.raises(DatasetError, match="mode I;16, expected 8-bit grey or RGB"):
            load_images(write_tree(tmp_path / "a", {"ant": [deep]}))

    def test_images_of_a_kind_that_is_not_read_are_not_left_out_in_silence(self, tmp_path):
        folder = write_tree(
            tmp_path / "a", {"ant": [Image.new("L", (4, 4))], "bee": [Image.new("L", (4, 4))]}
        )
        Image.new("L", (4, 4)).save(folder / "train" / "bee" / "1.bmp")
        with pytest.raises(
            DatasetError, match=r"1\.bmp is neither \.png nor \.jpg; convert it \(1 such file"
        ):
            load_images(folder)

    def test_damaged_images_are_refused(self, tmp_path):
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
        folder = write_tree(tmp_path / "a", {"ant": [noise]})
        file = folder / "train" / "ant" / "0.png"
        whole = file.read_bytes()
        for content in (b"", b"no image at all", whole[: len(whole) // 2]):
            file.write_bytes(content)
            with pytest.raises(DatasetError, match=r"0\.png cannot be read as an image"):
                load_images(folder)

    def test_classes_must_be_in_both_parts(self, tmp_path):
        folder = write_tree(
            tmp_path / "a", {"ant": [Image.new("L", (4, 4))], "bee": [Image.new("L", (4, 4))]}
        )
        (folder / "test" / "bee" / "0.png").unlink()
        with pytest.raises(DatasetError, match=r"test labels have no image of class 1 \(bee\)"):
            load_images(folder)
        (folder / "test" / "bee").rmdir()
        with pytest.raises(DatasetError, match="class bee is not a folder of both"):
            load_images(folder)

    def test_empty_trees_and_other_folders_are_refused(self, tmp_path):
        (tmp_path / "train").mkdir()
        with pytest.raises(DatasetError, match=r"expected train\.npz and test\.npz, or train/<class>/"):
            load_images(tmp_path)
        (tmp_path / "test").mkdir()
        with pytest.raises(DatasetError, match=r"no \.png or \.jpg under"):
            load_images(tmp_path)
        (tmp_path / "file.png").touch()
        with pytest.raises(DatasetError, match="is a file; images come as a folder"):
            load_images(tmp_path / "file.png")


def test_images_made_in_memory_are_checked_too():
    with pytest.raises(DatasetError, match="mine: test images are int64"):
        Images("mine", np.zeros((1, 2, 2), np.uint8), [0], np.zeros((1, 2, 2), int), [0], (), "")
