"""The self-supervised view: its range, its draws, and each of its parts against a closed form."""

import dataclasses

import pytest
import torch

from thesislib.heterotopic.views import GREY, StrongView

NOTHING = StrongView(smallest=1.0, jitter=0.0, hue=0.0, grey=0.0, blur=0.0, flip=False)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=200, channels=3, size=8):
    return torch.rand(n, channels, size, size, generator=draws(9))


def view(images, **changes):
    return dataclasses.replace(NOTHING, **changes)(images, draws())


@pytest.mark.parametrize("channels", [1, 3])
def test_views_keep_shape_and_range_and_differ_from_image_to_image(channels):
    same = pictures(1, channels).expand(50, -1, -1, -1)
    made = StrongView()(same, draws())
    assert made.shape == same.shape and made.min() >= 0 and made.max() <= 1
    assert len({tuple(row) for row in made.flatten(1).tolist()}) == 50
    assert torch.equal(made, StrongView()(same, draws())) and not torch.equal(
        made, StrongView()(same, draws(1))
    )


def test_whole_bytes_are_taken_as_shares_of_255():
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(StrongView()(images, draws()), StrongView()(images / 255, draws()))


def test_nothing_changed_is_the_image_but_for_the_form_of_the_crop():
    # A crop of the whole area may still be narrower than the image and cut at its sides, never beyond.
    images = pictures(4)[:, :, :, :1].expand(-1, -1, -1, 8)  # the same in every column
    still = view(torch.full((4, 3, 8, 8), 0.3))
    assert torch.allclose(still, torch.full((4, 3, 8, 8), 0.3), atol=1e-6)
    assert torch.allclose(view(images).std(-1), torch.zeros(4, 3, 8), atol=1e-6)


def test_mirror_images_are_as_frequent_as_not():
    ramp = torch.linspace(0, 1, 8).expand(400, 3, 8, 8)
    falling = view(ramp, flip=True)[:, 0, 0].diff(dim=-1).mean(-1) < 0
    assert 0.42 < falling.float().mean() < 0.58
    assert not (view(ramp)[:, 0, 0].diff(dim=-1).mean(-1) < 0).any()


def test_a_fifth_of_the_views_is_grey():
    made = view(pictures(), grey=0.2)
    flat = (made - made.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-5
    assert 0.1 < flat.float().mean() < 0.3
    all_grey = view(pictures(), grey=1.0)
    luma = (view(pictures()) * torch.tensor(GREY).view(1, 3, 1, 1)).sum(1)
    assert torch.allclose(all_grey[:, 1], luma, atol=1e-5)


def test_hue_turns_about_grey():
    grey = torch.full((50, 3, 8, 8), 0.4)
    assert torch.allclose(view(grey, hue=0.5), grey, atol=1e-5)
    colour = torch.tensor([0.5, 0.4, 0.45]).view(1, 3, 1, 1).expand(50, 3, 8, 8)
    turned = view(colour, hue=0.5)
    away = (turned - turned.mean(1, keepdim=True)).square().sum(1)
    expected = (colour - colour.mean(1, keepdim=True)).square().sum(1)
    assert torch.allclose(turned.mean(1), colour.mean(1), atol=1e-5)
    assert torch.allclose(away, expected, atol=1e-5) and turned[:, 0].std() > 0.01


def test_jitter_scales_brightness_and_contrast_within_its_range():
    flat = torch.full((400, 1, 8, 8), 0.5)
    factor = view(flat, jitter=0.4)[:, 0, 0, 0] / 0.5
    assert 0.6 - 1e-4 <= factor.min() < 0.65 and 1.35 < factor.max() <= 1.4 + 1e-4
    assert 0.1 < ((factor - 1).abs() < 1e-6).float().mean() < 0.3  # one in five is left as it is


def test_blur_is_the_weighted_mean_of_neighbours_and_keeps_flat_ground():
    flat = torch.full((30, 3, 8, 8), 0.7)
    assert torch.allclose(view(flat, blur=1.0), flat, atol=1e-6)
    dot = torch.zeros(1, 1, 8, 8)
    dot[0, 0, 4, 4] = 1
    side = torch.tensor([0.2])
    u = torch.stack([side, torch.zeros(1)])
    made = dataclasses.replace(NOTHING, blur=1.0)._blurred(dot, u)[0, 0]
    weight = torch.exp(-0.5 / (0.1 + 1.9 * side).square())
    kernel = torch.tensor([weight, 1, weight]) / (1 + 2 * weight)
    assert torch.allclose(made[3:6, 3:6], kernel[:, None] * kernel, atol=1e-6)
    assert made.sum().item() == pytest.approx(1, rel=1e-5)


def test_crops_show_a_part_of_the_image():
    ramp = torch.linspace(0, 1, 32).expand(300, 1, 32, 32)
    made = view(ramp, smallest=0.25)
    seen = made[:, 0, 0, -1] - made[:, 0, 0, 0]
    # Width between half of the image over the widest form and all of it.
    assert seen.min() > 0.25 and seen.max() <= 1.0 + 1e-5 and seen.std() > 0.05


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"smallest = 0.0; expected a share, 0 to 1"):
        StrongView(smallest=0.0)
    with pytest.raises(ValueError, match=r"blur = 1.5; expected a share, 0 to 1"):
        StrongView(blur=1.5)


@pytest.mark.parametrize(
    ("images", "reach"),
    [
        (pictures(4) * 255, r"0\.\d+ to 25\d\S*"),
        ((pictures(4) - 0.5) / 0.25, r"-\S+ to [12]\S*"),
        (torch.full((4, 3, 8, 8), torch.nan), "nan to nan"),
    ],
    ids=["to 255", "standardised", "NaN"],
)
def test_images_that_would_be_clipped_are_refused(images, reach):
    with pytest.raises(ValueError, match=rf"images reach from {reach}; expected \[0, 1\], or uint8"):
        StrongView()(images, draws())


def test_a_view_of_a_view_is_none_of_them():
    made = StrongView()(pictures(), draws())
    assert StrongView()(made + 1e-7, draws(1)).max() <= 1
