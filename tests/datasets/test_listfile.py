"""List files of the large sets: a miniature in the real layout, the published counts, and what is refused."""

import contextlib
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from thesislib.datasets import DatasetError, listfile
from thesislib.datasets.listfile import PUBLISHED, ListImages, check_list, pack, read_list, train_transform
from thesislib.datasets.listfile import test_transform as eval_transform
from thesislib.dual_phase.method import PhaseTwo, phase_one, phase_two
from thesislib.longtail import ResizedCropFlip
from thesislib.models.residual import ResNet10
from thesislib.recipe import Recipe
from thesislib.training import predict, seeded


@pytest.fixture
def places(tmp_path):
    """Three images in the layout of Places-LT."""
    lines = []
    for number, (folder, label) in enumerate((("a/airfield", 0), ("a/alley", 1), ("a/alley", 1))):
        file = tmp_path / "data_256" / folder / f"{number:08}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (320, 260), (60 * number, 0, 0)).save(file)
        lines.append(f"data_256/{folder}/{number:08}.jpg {label}\n")
    path = tmp_path / "Places_LT_train.txt"
    path.write_text("".join(lines))
    return path


def test_a_miniature_in_the_real_layout(places):
    images = ListImages(places, places.parent, eval_transform("places_lt"))
    assert images.labels.tolist() == [0, 1, 1] and len(images) == 3
    loader = torch.utils.data.DataLoader(images, batch_size=3)
    batch, labels = next(iter(loader))
    assert batch.shape == (3, 3, 224, 224) and labels.tolist() == [0, 1, 1]
    assert batch[2, 0].mean().item() == pytest.approx(120 / 255, abs=0.02)
    view, _ = ListImages(places, places.parent, train_transform("places_lt"))[0]
    assert view.shape == (3, 224, 224)


def test_packed_once_and_trained_on(places):
    """The whole path of the large sets: list, packed file, both phases on an ImageNet network."""
    file = places.parent / "train.npy"
    images, labels = pack(places, places.parent, file, side=64)
    assert images.shape == (3, 3, 64, 64) and labels.tolist() == [0, 1, 1]
    assert images[2, 0].float().mean().item() == pytest.approx(120, abs=4)
    before = file.stat().st_mtime_ns
    again, _ = pack(places, places.parent, file, side=64)
    assert torch.equal(images, again) and file.stat().st_mtime_ns == before
    assert not list(places.parent.glob(".*part"))
    recipe = Recipe(epochs=1, batch=4, lr=0.01)
    model, view = seeded(0, lambda: ResNet10(1)), ResizedCropFlip(32)
    phase_one(model, (images, labels), [1], recipe, augment=view)
    made = phase_two(model, (images, labels), [1], PhaseTwo(recipe=recipe, length=4, bank=1), augment=view)
    assert predict(made, images).shape == (3, 2)
    with pytest.raises(DatasetError, match=r"holds \(3, 3, 64, 64\), expected \(3, 3, 32, 32\)"):
        pack(places, places.parent, file, side=32)


@pytest.fixture
def two(tmp_path):
    """A black image a, a white image b, and their list."""
    Image.new("RGB", (8, 8), (0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "b.png")
    path = tmp_path / "list.txt"
    path.write_text("a.png 0\nb.png 1\n")
    return path


def test_a_packed_file_of_the_same_images_in_another_order_is_refused(two):
    file = two.parent / "train.npy"
    pack(two, two.parent, file, side=8)
    two.write_text("a.png 1\nb.png 0\n")  # classes are the list's, not the file's
    images, labels = pack(two, two.parent, file, side=8)
    assert images[:, 0, 0, 0].tolist() == [0, 255] and labels.tolist() == [1, 0]
    two.write_text("b.png 0\na.png 1\n")
    with pytest.raises(DatasetError, match=r"does not hold the images of .* in their order"):
        pack(two, two.parent, file, side=8)
    file.unlink()
    assert pack(two, two.parent, file, side=8)[0][:, 0, 0, 0].tolist() == [255, 0]


def test_a_packed_file_cut_short_or_of_unknown_origin_is_refused_and_left_as_it_is(two):
    file = two.parent / "train.npy"
    pack(two, two.parent, file, side=8)
    whole = file.read_bytes()
    for kept, message in ((whole[:-100], "damaged"), (whole[:-30], "cut short"), (b"", "damaged")):
        file.write_bytes(kept)
        with pytest.raises(DatasetError, match=f"{message}.* remove it"):
            pack(two, two.parent, file, side=8)
        assert file.read_bytes() == kept
    np.save(file, np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(DatasetError, match="from before lists were kept"):
        pack(two, two.parent, file, side=8)


def test_packing_that_fails_leaves_no_file(two):
    (two.parent / "b.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        pack(two, two.parent, two.parent / "train.npy", side=8)
    assert sorted(file.name for file in two.parent.iterdir()) == ["a.png", "b.png", "list.txt"]


def test_of_several_that_pack_one_writes_and_the_others_wait(two, monkeypatch):
    """As under torchrun. Threads stand in for processes: each opens the lock for itself, as those do."""
    file, first, go, written = two.parent / "train.npy", threading.Event(), threading.Event(), []
    (two.parent / ".train.npy.killed.part").write_bytes(b"half")  # of who was killed
    plain = np.lib.format.open_memmap

    def slow(part, *rest, **how):
        if how:  # to be read
            return plain(part, **how)
        written.append(part)
        first.set()
        assert go.wait(30)
        return plain(part, *rest)

    monkeypatch.setattr(np.lib.format, "open_memmap", slow)
    found = []
    workers = [
        threading.Thread(target=lambda: found.append(pack(two, two.parent, file, side=8))) for _ in "ab"
    ]
    workers[0].start()
    assert first.wait(30)
    workers[1].start()
    workers[1].join(0.3)
    go.set()
    for worker in workers:
        worker.join()
    assert len(written) == 1 and [images[:, 0, 0, 0].tolist() for images, _ in found] == [[0, 255]] * 2
    assert sorted(f.name for f in two.parent.iterdir()) == ["a.png", "b.png", "list.txt", "train.npy"]


def test_two_that_cannot_lock_write_files_of_their_own(two, monkeypatch):
    parts, plain = [], np.lib.format.open_memmap
    monkeypatch.setattr(listfile.memo, "alone", lambda _: contextlib.nullcontext(False))

    def once_more(part, *rest, **how):
        if how:  # to be read
            return plain(part, **how)
        parts.append(part)
        if len(parts) == 1:  # another process packs while this one has begun
            pack(two, two.parent, two.parent / "train.npy", side=8)
        return plain(part, *rest)

    monkeypatch.setattr(np.lib.format, "open_memmap", once_more)
    images, _ = pack(two, two.parent, two.parent / "train.npy", side=8)
    assert len(set(parts)) == 2 and images[:, 0, 0, 0].tolist() == [0, 255]


def test_what_is_changed_in_packed_images_changes_no_file(two):
    file = two.parent / "train.npy"
    images, _ = pack(two, two.parent, file, side=8)
    before = file.read_bytes()
    images.bitwise_not_()
    assert images[:, 0, 0, 0].tolist() == [255, 0]
    assert file.read_bytes() == before
    assert pack(two, two.parent, file, side=8)[0][:, 0, 0, 0].tolist() == [0, 255]


def test_a_missing_image_and_a_damaged_one(places):
    first = next(places.parent.glob("data_256/a/airfield/*"))
    first.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        ListImages(places, places.parent, eval_transform("places_lt"))[0]
    first.unlink()
    with pytest.raises(DatasetError, match=r"1 of 3 images .* are not under .*, first data_256/a/airfield"):
        ListImages(places, places.parent, eval_transform("places_lt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\n", "line 1: 'a.jpg' is not a path and a class number"),
        ("a.jpg 0\nb.jpg -1\n", "line 2"),
        ("a.jpg 0\nb.jpg 2\n", "class 1 of 3 has no image"),
        ("a.jpg 0\n\nb.jpg 99999999999\n", "list.txt: class 1 of .* line 3 names class 99999999999,"),
        ("a.jpg 0\nü.jpg 1\n".encode("latin-1"), "list.txt is no UTF-8 text: .* at byte 8; save it as such"),
        (f"a.jpg 0\nb.jpg {'9' * 20}\n", "list.txt: class 1 of .* line 2 names class 99999999999999999999,"),
        ("\n", "names no image"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=message):
        read_list(path)


def test_the_mark_some_editors_put_before_a_text_is_no_part_of_a_path(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("ü.jpg 0\n", encoding="utf-8-sig")
    assert read_list(path)[0] == ["ü.jpg"]


def test_images_of_sixteen_bits_are_refused_and_not_cut_off(two):
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(ramp).save(two.parent / "b.png")
    with pytest.raises(DatasetError, match=r"b\.png has pixels of mode I;16, expected 8-bit"):
        ListImages(two, two.parent, eval_transform("places_lt"))[1]


def test_a_path_may_hold_blanks(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("my images/a b.jpg 0\n")
    assert read_list(path)[0] == ["my images/a b.jpg"]
    with pytest.raises(DatasetError, match="no list file"):
        read_list(tmp_path / "other.txt")


def like(name):
    """Labels with a set's published counts."""
    want = PUBLISHED[name]
    many, medium, few = want.groups
    counts = np.array([want.largest] + [101] * (many - 1) + [50] * medium + [want.smallest] * few)
    spare = want.images - counts.sum()
    for k in range(1, many):  # the rest on classes that are Many anyway
        more = min(spare, want.largest - counts[k])
        counts[k] += more
        spare -= more
    assert spare == 0
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_counts_pass_and_others_do_not(name):
    labels = like(name)
    check_list(name, labels)
    with pytest.raises(DatasetError, match=f"images {len(labels) - 1}, expected {len(labels)}"):
        check_list(name, labels[1:])
    labels[labels == 0] = 1
    with pytest.raises(DatasetError, match=r"has (largest|smallest) \d+, expected"):
        check_list(name, np.append(labels[1:], 0))


def test_an_unknown_set_is_named_with_the_known_ones():
    with pytest.raises(DatasetError, match="no published list 'imagenet'; known: imagenet_lt, places_lt"):
        check_list("imagenet", np.array([0]))
    with pytest.raises(DatasetError, match="no published list 'places'; known: imagenet_lt"):
        train_transform("places")
