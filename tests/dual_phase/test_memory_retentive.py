"""The memory-retentive loss: hand-computed values, gradients, and what each form is blind to."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from thesislib.dual_phase.memory_retentive import (
    LOSSES,
    coefficients,
    cross_graph_floor,
    cross_graph_loss,
    graph_matching_loss,
    memory_retentive_loss,
    one_way_loss,
)

OLD = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
NEW = torch.tensor([[0.96, 0.28], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
# Temperature: first row of a, one way at g = f and apart, both ways, graph matching at g = f and apart.
BY_HAND = {
    0.1: ((0.880762, 0.119198, 0.000040, 0.0), 0.053731, 0.120377, 0.119177, 0.004952, 0.053956),
    1.0: ((0.418672, 0.342779, 0.154021, 0.084528), 0.637756, 0.657898, 0.673711, 0.204941, 0.252169),
}


@pytest.mark.parametrize("temperature", BY_HAND)
def test_values_by_hand(temperature):
    row, floor, one_way, both, still, apart = BY_HAND[temperature]
    found = [
        cross_graph_floor(OLD, temperature),
        one_way_loss(OLD, NEW, temperature),
        cross_graph_loss(OLD, NEW, temperature),
        graph_matching_loss(OLD, OLD, temperature),
        graph_matching_loss(OLD, NEW, temperature),
    ]
    torch.testing.assert_close(coefficients(OLD, temperature)[0], torch.tensor(row), atol=1e-6, rtol=0)
    wanted = torch.tensor([floor, one_way, both, still, apart])
    torch.testing.assert_close(torch.stack(found), wanted, atol=1e-6, rtol=0)


def test_at_rest_both_ways_is_the_floor():
    torch.testing.assert_close(cross_graph_loss(OLD, OLD), cross_graph_floor(OLD))


@pytest.mark.parametrize("form", LOSSES)
def test_gradient(form):
    generator = torch.Generator().manual_seed(0)
    old, new = torch.randn(2, 5, 3, dtype=torch.double, generator=generator)
    if form == "cross-graph":  # its second coefficients are constants by definition, which no difference sees
        numeric = _with_constant_coefficients(F.normalize(old, dim=1), F.normalize(new, dim=1))
        new = F.normalize(new, dim=1).requires_grad_()
        (analytic,) = torch.autograd.grad(cross_graph_loss(F.normalize(old, dim=1), new), new)
        torch.testing.assert_close(analytic, numeric)
    else:
        assert torch.autograd.gradcheck(lambda g: memory_retentive_loss(old, g, form), new.requires_grad_())


def _with_constant_coefficients(old, new):
    a, b = coefficients(old, 0.1), coefficients(new, 0.1)
    gradient = torch.zeros_like(new)
    for i in range(len(old)):
        for j in range(len(old)):
            gradient[j] += a[i, j] * 2 * (new[j] - old[i]) / len(old) / 2
            gradient[i] += b[i, j] * 2 * (new[i] - old[j]) / len(old) / 2
    return gradient


@given(st.sampled_from(list(LOSSES)), st.integers(0, 999))
def test_the_order_of_the_nodes_and_the_lengths_of_features_do_not_matter(form, seed):
    generator = torch.Generator().manual_seed(seed)
    old, new = torch.randn(2, 6, 4, dtype=torch.double, generator=generator)
    order = torch.randperm(6, generator=generator)
    value = memory_retentive_loss(old, new, form)
    torch.testing.assert_close(memory_retentive_loss(old[order], new[order], form), value)
    torch.testing.assert_close(memory_retentive_loss(3 * old, 0.5 * new, form), value)
    assert value >= 0


def test_only_relations_survive_a_common_rotation():
    generator = torch.Generator().manual_seed(1)
    old = F.normalize(torch.randn(6, 3, generator=generator), dim=1)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    assert memory_retentive_loss(old, old @ rotation, "relational") < 1e-10
    assert memory_retentive_loss(old, old @ rotation, "pointwise") > 0.1


def test_cold_coefficients_make_it_pointwise():
    torch.testing.assert_close(
        memory_retentive_loss(OLD, NEW, "one-way", 1e-3), memory_retentive_loss(OLD, NEW, "pointwise")
    )


def test_bad_input():
    with pytest.raises(ValueError, match="'graph' is not one of"):
        memory_retentive_loss(OLD, NEW, "graph")
    with pytest.raises(ValueError, match=r"shapes \(4, 2\) and \(3, 2\)"):
        memory_retentive_loss(OLD, NEW[:3])
    with pytest.raises(ValueError, match="temperature = 0"):
        memory_retentive_loss(OLD, NEW, temperature=0)
