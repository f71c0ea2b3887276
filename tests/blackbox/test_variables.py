"""Perturbation variables: every point is an image, none is where the image was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thesislib.blackbox.variables import VARIABLES

clean = arrays("float64", (2, 3), elements=st.floats(0, 1))
moves = arrays("float64", (2, 3), elements=st.floats(-5, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", VARIABLES)
@given(x=clean, delta=moves)
@settings(max_examples=60)
def test_every_point_is_an_image_and_zero_is_the_clean_one(name, dtype, x, delta):
    x, delta, space = torch.tensor(x, dtype=dtype), torch.tensor(delta, dtype=dtype), VARIABLES[name]
    image = space.image(x, delta)
    assert image.min() >= 0 and image.max() <= 1
    torch.testing.assert_close(space.image(x, torch.zeros_like(x)), x, rtol=0, atol=1e-6)
    projected = space.project(x, delta)
    torch.testing.assert_close(space.image(x, projected), image, rtol=0, atol=1e-6)
    torch.testing.assert_close(space.project(x, projected), projected, rtol=0, atol=1e-6)
    # The image follows the sign of the perturbation: a step along a gradient goes its way.
    assert ((image - x) * delta.sign() >= -1e-6).all()


def test_pixels_are_clipped():
    x, delta = torch.tensor([0.9, 0.1, 0.5]), torch.tensor([0.3, -0.3, 0.2])
    assert VARIABLES["pixels"].image(x, delta).tolist() == pytest.approx([1, 0, 0.7])
    assert VARIABLES["pixels"].project(x, delta).tolist() == pytest.approx([0.1, -0.1, 0.2])


def test_tanh_is_the_released_formula():
    x = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    w = torch.arctanh((2 * x - 1) * (1 - 1e-6))
    for delta in (-0.7, 0.01, 2.0):
        expected = (torch.tanh(w + delta) + 1) / 2
        found = VARIABLES["tanh"].image(x, torch.full_like(x, delta))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    step = VARIABLES["tanh"].image(x, torch.full_like(x, 0.01)) - x
    assert step[2] == pytest.approx(0.005, rel=1e-3)  # at the middle a pixel moves by half the step
    assert step[0] < 1e-6 and abs(step[3]) < 1e-6  # at the border it does not


def test_leading_axes_broadcast():
    x, delta = torch.rand(3, 4), torch.rand(3, 4, 2)
    for space in VARIABLES.values():
        found = space.image(x[:, :, None], delta)
        torch.testing.assert_close(found[:, :, 1], space.image(x, delta[:, :, 1]))
