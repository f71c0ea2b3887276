"""Random views of a batch: the same images as the plain augmentation knows, cropped and mirrored."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thesislib.longtail import CropFlip, ResizedCropFlip


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 3), st.booleans(), st.integers(0, 99))
def test_every_view_is_a_crop_of_the_padded_image_or_of_its_mirror(pad, flip, seed):
    images = torch.rand(4, 2, 5, 6, generator=stream(seed))
    views = CropFlip(pad, flip)(images, stream(seed))
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    for image, view in zip(padded, views, strict=True):
        crops = [image[:, y : y + 5, x : x + 6] for y in range(2 * pad + 1) for x in range(2 * pad + 1)]
        found = [torch.equal(crop, view) for crop in crops]
        mirrored = [torch.equal(crop.flip(-1), view) for crop in crops]
        assert any(found) or (flip and any(mirrored))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_resized_crop_of_floats_stays_one(dtype):
    """Rounded to whole numbers, values in [0, 1] would be black and white."""
    whole = torch.randint(256, (6, 3, 12, 12), dtype=torch.uint8, generator=stream())
    view = ResizedCropFlip(8)
    floats = view((whole.float() / 255).to(dtype), stream(1))
    assert floats.dtype == dtype
    torch.testing.assert_close(255 * floats.float(), view(whole, stream(1)).float(), rtol=0, atol=1.6)


def test_places_and_flips_are_equally_likely():
    image = torch.arange(9.0).view(1, 1, 3, 3).expand(4000, 1, 3, 3)
    views = CropFlip(1, True)(image, stream())
    centre = views[:, 0, 1, 1]
    share = torch.stack([(centre == value).float().mean() for value in range(9)])
    torch.testing.assert_close(share, torch.full((9,), 1 / 9), atol=0.02, rtol=0)


def test_a_resized_crop_of_a_ramp_is_a_ramp_within_it():
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(200, 3, 32, 32)
    views = ResizedCropFlip(16)(ramp, stream()).float()
    assert views.shape == (200, 3, 16, 16) and views.min() >= 0 and views.max() <= 248
    steps = views.diff(dim=-1).mean((1, 2, 3))
    mirrored = steps < 0
    assert 0.35 < mirrored.float().mean() < 0.65
    width = (steps.abs() * 16 / 8 / 32).clamp(max=1)  # share of the image's width
    assert width.min() >= 0.2 and 0.55 < width.mean() < 0.8
    assert views.diff(dim=-2).abs().max() <= 1  # rows are alike


@pytest.mark.parametrize("view", [CropFlip(2, True), ResizedCropFlip(8)])
def test_the_stream_decides_alone(view):
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=stream())
    assert torch.equal(view(images, stream(3)), view(images, stream(3)))
    assert not torch.equal(view(images, stream(3)), view(images, stream(4)))
    assert view(images, stream()).dtype == torch.uint8
