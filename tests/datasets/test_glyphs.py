"""Glyphs: what was asked for is drawn, the same everywhere, and can be learned from its shape alone."""

import dataclasses
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from thesislib.datasets import DatasetError, fingerprint, glyphs, load_images
from thesislib.datasets.catalogue import FACES, FONTS, available, known
from thesislib.datasets.glyphs import PRESETS, SYMBOLS, Drawing, coverage, draw

SMALL = Drawing(classes=4, size=12, train=6, test=3)


@pytest.fixture(params=list(PRESETS))
def images(request):
    return load_images(request.param)


def test_the_catalogue_lists_every_preset_and_counts_it():
    drawn = [entry for entry in available() if entry.drawn_by == "glyphs.py" and entry.kinds == ("images",)]
    assert [entry.name for entry in drawn] == list(PRESETS)
    for entry in drawn:
        drawing = PRESETS[entry.name]
        assert entry.counts == {
            "train images": sum(drawing.counts("train")),
            "test images": sum(drawing.counts("test")),
            "rows of pixels": drawing.size,
            "channels": 3,
            "classes": drawing.classes,
        }


def test_shapes_types_and_balance(images):
    drawing = PRESETS[images.name]
    for part in ("train", "test"):
        pixels, labels = getattr(images, f"{part}_images"), getattr(images, f"{part}_labels")
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (drawing.size, drawing.size, 3)
        np.testing.assert_array_equal(np.bincount(labels), drawing.counts(part))
        assert len(np.unique(labels[: drawing.classes])) > drawing.classes / 3  # in no order
    assert images.classes == tuple(SYMBOLS[: drawing.classes])


def test_a_change_of_variables_freezes_no_pixel(images):
    pixels = images.train_images
    assert np.mean((pixels == 0) | (pixels == 255)) < 1e-4
    assert np.mean((pixels < 13) | (pixels > 242)) < 0.01
    assert pixels.std(axis=(1, 2)).min() > 2  # and none is flat


def test_no_image_comes_twice(images):
    both = np.concatenate([images.train_images, images.test_images])
    assert len(np.unique(both.reshape(len(both), -1), axis=0)) == len(both)


def test_the_parts_differ_even_where_they_are_of_one_size():
    train, _, test, *_ = draw(dataclasses.replace(SMALL, train=5, test=5))
    assert len(np.unique(np.concatenate([train, test]).reshape(40, -1), axis=0)) == 40


def ink(pixels):
    """Distance from the ground's colour, which is the most common one; of unit length."""
    values = pixels / 255
    far = np.abs(values - np.median(values, axis=(1, 2), keepdims=True)).sum(axis=-1).reshape(len(values), -1)
    return far / np.linalg.norm(far, axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "least"), [("glyphs", 0.8), ("glyphs_many", 0.6)])
def test_the_shape_tells_the_class_and_colours_do_not(name, least):
    images = load_images(name)

    def accuracy(features):
        model = RidgeClassifier().fit(features(images.train_images), images.train_labels)
        return model.score(features(images.test_images), images.test_labels)

    assert accuracy(ink) > least
    assert accuracy(lambda pixels: pixels.mean(axis=(1, 2))) < 2 / len(images.classes)
    assert accuracy(lambda pixels: pixels[:, 0].reshape(len(pixels), -1)) < 3 / len(images.classes)


# ---- always the same


def test_two_processes_draw_the_same_without_importing_matplotlib():
    code = (
        "import hashlib, sys; from thesislib.datasets.glyphs import Drawing, draw; "
        "arrays = draw(Drawing(classes=4, size=12, train=6, test=3)); "
        "print(hashlib.sha256(b''.join(a.tobytes() for a in arrays[:4])).hexdigest(), 'matplotlib' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(a.tobytes() for a in draw(SMALL)[:4])).hexdigest()
    assert found.stdout.split() == [here, "False"]


def test_what_a_caller_does_to_a_set_stays_with_the_caller():
    first = load_images("glyphs")
    before = first.train_images.copy()
    first.train_images[:] = 0
    np.testing.assert_array_equal(load_images("glyphs").train_images, before)


def test_the_fingerprint_is_of_the_code_the_parameters_and_the_fonts():
    own = hashlib.sha256(Path(glyphs.__file__).read_bytes()).hexdigest()
    for name in PRESETS:
        assert fingerprint(name) == load_images(name).fingerprint == own
    base = Path(importlib.util.find_spec("matplotlib").submodule_search_locations[0])
    fonts = b"".join((base / font).read_bytes() for font in FONTS)
    assert hashlib.sha256(fonts).hexdigest() == glyphs.FONTS_SHA256


# ---- what can be asked for

ANOTHER = {
    "seed": 1,
    "height": 0.6,
    "rotation": 20.0,
    "shear": 0.3,
    "zoom": 0.2,
    "shift": 0.1,
    "ground": (0.1, 0.2),
    "contrast": (0.1, 0.2),
    "slope": 0.0,
    "texture": 0.0,
    "noise": 0.0,
    "faces": ("STIXGeneral",),
}


@pytest.mark.parametrize("name", ANOTHER)
def test_every_parameter_matters(name):
    assert set(ANOTHER) == {
        f.name for f in dataclasses.fields(Drawing) if f.default is not dataclasses.MISSING
    }
    other = draw(dataclasses.replace(SMALL, **{name: ANOTHER[name]}))
    assert (draw(SMALL)[0] != other[0]).any() and (draw(SMALL)[2] != other[2]).any()


def test_colours_are_where_they_were_asked_for():
    flat = Drawing(classes=2, size=16, train=40, test=1, ground=(0.2, 0.3), contrast=(0.4, 0.4),
                   slope=0.0, texture=0.0, noise=0.0, faces=("DejaVuSans-Bold",))  # fmt: skip
    pixels = draw(flat)[0] / 255
    ground = pixels[:, 0, 0]
    light = ground.mean(axis=1) < 0.5
    assert 16 < light.sum() < 64
    behind = np.where(light[:, None], ground, 1 - ground)
    assert behind.min() > 0.197 and behind.max() < 0.303
    far = np.abs(pixels - pixels[:, :1, :1]).max(axis=(1, 2, 3))
    assert np.abs(far - 0.4).max() < 0.01


def test_a_long_tail():
    tail = dataclasses.replace(SMALL, train=(50, 13, 3, 1))
    images, labels = draw(tail)[:2]
    assert len(images) == 67
    np.testing.assert_array_equal(np.bincount(labels), (50, 13, 3, 1))


def test_numbers_may_be_numpys():
    counts = tuple(np.array([3, 2, 1, 1]))
    assert len(draw(dataclasses.replace(SMALL, train=counts, size=np.int64(9)))[0]) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "classes = 1, expected a whole number from 2 to 84"),
        ({"classes": 85, "train": 1}, "classes = 85"),
        ({"size": 7}, "size = 7, expected a whole number from 8 to 128"),
        ({"size": 16.0}, r"size = 16\.0"),
        ({"train": 0}, "train = 0, expected a whole number from 1"),
        ({"test": (1, 1, 1, 0)}, "test = 0"),
        ({"train": (1, 1, 1)}, "train has 3 numbers for 4 classes; give one each"),
        ({"train": [1, 1, 1, 1]}, r"train = \[1, 1, 1, 1\], expected a whole number"),
        ({"seed": -1}, "seed = -1"),
        ({"height": 0.0}, r"height = 0\.0, expected a number from 0\.2 to 1"),
        ({"rotation": -1.0}, "rotation"),
        ({"rotation": float("nan")}, "rotation = nan"),
        ({"noise": "much"}, "noise = 'much', expected a number"),
        (
            {"contrast": (0.4, 0.3)},
            r"contrast = \(0\.4, 0\.3\), expected a tuple \(least, largest\) within 0 and 1",
        ),
        ({"ground": 0.3}, "ground = 0.3, expected a tuple"),
        ({"ground": (0.5, 0.6)}, "give ink above 1; lower one"),
        ({"faces": ()}, "expected a tuple out of DejaVuSans,"),
        ({"faces": ("Comic Sans",)}, "Comic Sans"),
    ],
)
def test_the_impossible_is_refused(change, message):
    with pytest.raises(DatasetError, match=message):
        dataclasses.replace(SMALL, **change)


# ---- characters


@pytest.mark.parametrize("face", FACES)
def test_no_two_characters_look_alike(face):
    """Of all pairs, at one place: the part of the ink that differs. A face without a character draws a box."""
    size = 24
    pose = np.array([[0.8, 0.0, 0.0, 0.0, 0.0]])
    pictures = coverage([(symbol, face) for symbol in SYMBOLS], size, np.repeat(pose, len(SYMBOLS), axis=0))
    assert len(set(SYMBOLS)) == len(SYMBOLS) and pictures.max(axis=(1, 2)).min() > 0.5
    flat = pictures.reshape(len(SYMBOLS), -1)
    apart = np.abs(flat[:, None] - flat[None]).sum(axis=-1) / np.minimum(flat.sum(-1)[:, None], flat.sum(-1))
    np.fill_diagonal(apart, 1)
    one, two = np.unravel_index(apart.argmin(), apart.shape)
    assert apart.min() > 0.15, f"{SYMBOLS[one]} and {SYMBOLS[two]}"


def test_a_pose_does_what_it_says():
    def middle(pose):
        picture = coverage([("H", "DejaVuSans")], 64, np.array([pose]))[0]
        rows, columns = np.mgrid[:64, :64] + 0.5
        whole = picture.sum()
        return picture, np.array([(picture * columns).sum(), (picture * rows).sum()]) / whole / 64

    plain, centre = middle([0.5, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(centre, 0.5, atol=0.005)
    rows = np.flatnonzero(plain.max(axis=1) > 0.5)
    assert abs(len(rows) - 32) <= 1  # H is taller than wide: half of 64
    np.testing.assert_allclose(middle([0.5, 0.0, 0.0, 0.1, -0.2])[1], [0.6, 0.3], atol=0.005)
    turned = middle([0.5, np.pi / 2, 0.0, 0.0, 0.0])[0]
    assert np.abs(turned - np.rot90(plain)).mean() < 0.01
    assert np.abs(middle([0.5, 0.0, 0.4, 0.0, 0.0])[0] - plain).mean() > 0.02


# ---- fonts


def test_without_matplotlib_the_error_says_what_would_do(monkeypatch):
    monkeypatch.setattr(glyphs, "find_spec", lambda name: None)
    monkeypatch.setattr("thesislib.datasets.catalogue.find_spec", lambda name: None)
    assert not known("glyphs").present
    for call in (load_images, fingerprint):
        with pytest.raises(DatasetError, match="glyphs is drawn from fonts that come with matplotlib"):
            call("glyphs")
    glyphs._fonts.cache_clear()
    with pytest.raises(DatasetError, match="pip install matplotlib"):
        glyphs._fonts()


@pytest.mark.parametrize("damage", ["lost", "other"])
def test_fonts_that_are_not_the_right_ones_are_refused(monkeypatch, tmp_path, damage):
    base = Path(importlib.util.find_spec("matplotlib").submodule_search_locations[0])
    for font in FONTS:
        (tmp_path / font).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / font).write_bytes((base / font).read_bytes())
    spec = dataclasses.make_dataclass("Spec", ["submodule_search_locations"])([str(tmp_path)])
    monkeypatch.setattr(glyphs, "find_spec", lambda name: spec)
    monkeypatch.setattr("thesislib.datasets.catalogue.find_spec", lambda name: spec)
    glyphs._fonts.cache_clear()
    assert len(glyphs._fonts()) == len(FACES)
    glyphs._fonts.cache_clear()
    if damage == "lost":
        (tmp_path / FONTS[3]).unlink()
        assert not known("glyphs").present
        message = r"matplotlib has no DejaVuSans-BoldOblique\.ttf here: install it anew"
    else:
        (tmp_path / FONTS[3]).write_bytes(b"another font")
        message = "not those of its releases 3.10 and 3.11"
    with pytest.raises(DatasetError, match=message):
        glyphs._fonts()


@pytest.fixture(autouse=True)
def _clean():
    """Fonts that a test put in place of the real ones are not remembered."""
    yield
    glyphs._fonts.cache_clear()
