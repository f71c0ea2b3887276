"""Self-supervised losses against loop twins, closed forms and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F

from thesislib.heterotopic.losses import barlow_twins, info_nce, negative_cosine, rotated


def rows(n, dim, seed=0, unit=True):
    drawn = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=1) if unit else drawn


@pytest.mark.parametrize("n, m, temperature", [(1, 1, 1.0), (4, 7, 0.2), (9, 3, 0.07)])
def test_info_nce_is_its_formula(n, m, temperature):
    z, keys, queue = rows(n, 5), rows(n, 5, 1), rows(m, 5, 2)
    total = 0.0
    for i in range(n):
        own = math.exp(float(z[i] @ keys[i]) / temperature)
        others = sum(math.exp(float(z[i] @ queue[j]) / temperature) for j in range(m))
        total -= math.log(own / (own + others))
    assert info_nce(z, keys, queue, temperature).item() == pytest.approx(total / n, rel=1e-12)


def test_info_nce_of_features_that_are_all_the_same_is_that_of_a_guess():
    z = rows(1, 6).expand(4, 6)
    assert info_nce(z, z, z[:1].expand(31, 6), 0.2).item() == pytest.approx(math.log(32))


def test_barlow_twins_is_its_formula():
    a, b = rows(6, 4, 0, unit=False), rows(6, 4, 1, unit=False)
    total = 0.0
    for i in range(4):
        for j in range(4):
            x, y = (c - c.mean() for c in (a[:, i], b[:, j]))
            c = float((x * y).mean() / ((x.square().mean() + 1e-5) * (y.square().mean() + 1e-5)).sqrt())
            total += (1 - c) ** 2 if i == j else 0.005 * c**2
    assert barlow_twins(a, b).item() == pytest.approx(total, rel=1e-12)


def test_barlow_twins_of_a_view_with_itself_leaves_only_what_is_redundant():
    independent = torch.linalg.qr(torch.cat([torch.ones(8, 1, dtype=torch.float64), rows(8, 3)], 1))[0][:, 1:]
    assert barlow_twins(100 * independent, 100 * independent).item() == pytest.approx(0, abs=1e-6)
    copies = independent[:, :1].expand(8, 3)
    assert barlow_twins(100 * copies, 100 * copies).item() == pytest.approx(6 * 0.005, rel=1e-5)


def test_negative_cosine_is_its_formula_and_moves_one_side_only():
    p, z = rows(5, 3, 0, unit=False).requires_grad_(), rows(5, 3, 1, unit=False).requires_grad_()
    loss = negative_cosine(p, z)
    pairs = zip(p.detach(), z.detach(), strict=True)
    expected = -sum(float(a @ b / (a.norm() * b.norm())) for a, b in pairs) / 5
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    assert p.grad.abs().sum() > 0 and z.grad is None


def test_gradients_are_those_of_finite_differences():
    z, keys, queue = rows(3, 4).requires_grad_(), rows(3, 4, 1), rows(5, 4, 2)
    assert torch.autograd.gradcheck(lambda z: info_nce(z, keys, queue, 0.2), z)
    a, b = rows(4, 3, 3, unit=False).requires_grad_(), rows(4, 3, 4, unit=False).requires_grad_()
    assert torch.autograd.gradcheck(barlow_twins, (a, b))
    assert torch.autograd.gradcheck(lambda a: negative_cosine(a, b.detach()), a)


def test_turns_are_quarter_turns_dealt_round():
    images = torch.arange(6 * 9.0).view(6, 1, 3, 3)
    turned, turns = rotated(images)
    assert turns.tolist() == [0, 0, 1, 1, 2, 3]
    order = [0, 4, 1, 5, 2, 3]
    for image, k, place in zip(turned, turns, order, strict=True):
        back = image
        for _ in range(4 - int(k)):
            back = back.transpose(1, 2).flip(1)  # a quarter turn by hand
        assert torch.equal(back, images[place])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: info_nce(rows(2, 3), rows(2, 3), rows(2, 3), 0.0), "temperature = 0.0; expected a positive"),
        (lambda: rotated(torch.zeros(2, 1, 3, 4)), r"images of shape \(2, 1, 3, 4\) cannot be turned"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
