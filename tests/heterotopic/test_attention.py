"""Maps of sensitivity: the norms of the Jacobian's columns, known for a linear feature."""

import pytest
import torch

from thesislib.heterotopic.attention import overlap, sensitivity


def test_a_linear_feature_s_map_is_the_norm_of_its_columns():
    weight = torch.randn(5, 2 * 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.rand(3, 2, 3, 3, dtype=torch.float64)
    found = sensitivity(lambda x: x.flatten(1) @ weight.T, images, probes=20_000)
    columns = weight.square().sum(0).view(2, 9).sum(0).sqrt().view(3, 3)  # both channels of a pixel together
    assert torch.allclose(found, columns.expand(3, 3, 3), rtol=0.05)


def test_with_one_number_the_estimate_is_exact_and_each_image_has_its_own():
    images = torch.rand(4, 1, 2, 2, dtype=torch.float64)
    found = sensitivity(lambda x: x.flatten(1).square().sum(1, keepdim=True), images, probes=1)
    assert torch.allclose(found, 2 * images[:, 0])


def test_pixels_that_do_not_matter_are_zero():
    found = sensitivity(lambda x: x[:, 0, :1].flatten(1), torch.rand(2, 1, 3, 3))
    assert (found[:, 1:] == 0).all() and (found[:, 0] > 0).all()


def test_overlap_is_one_for_the_same_map_at_any_scale_and_zero_for_disjoint_ones():
    first = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    second = torch.tensor([[[3.0, 6.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 5.0]]])
    assert overlap(first, second).tolist() == pytest.approx([1.0, 0.0])
