"""Bounds on correlated Gaussians, whose mutual information is known; what they move and what not."""

import math

import pytest
import torch
import torch.nn.functional as F

from thesislib.heterotopic.mutual_information import (
    BOUNDS,
    CLUB,
    InfoNCE,
    VariationalGaussian,
    constant_loss,
    constraint,
    make_bound,
)

DIM = 4


def pairs(n, rho, seed):
    """g and z of unit variance, correlated dimension by dimension; z scaled as a unit vector's entries would be."""
    generator = torch.Generator().manual_seed(seed)
    g, noise = torch.randn(2, n, DIM, generator=generator)
    return g, (rho * g + math.sqrt(1 - rho**2) * noise) / math.sqrt(DIM)


def truth(rho):
    """Nats a dimension."""
    return -0.5 * math.log(1 - rho**2)


def fitted(bound, rho, steps=400, batch=128):
    optimiser = torch.optim.Adam(bound.parameters(), 1e-2)
    for step in range(steps):
        optimiser.zero_grad()
        bound.fit(*pairs(batch, rho, step)).backward()
        optimiser.step()
    return bound.requires_grad_(False)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_gaussian_bound_finds_the_information_of_gaussians(rho):
    torch.manual_seed(0)
    bound = fitted(VariationalGaussian(DIM, DIM), rho)
    found = 0.5 - bound(*pairs(20_000, rho, 10_000)).item()
    assert found == pytest.approx(truth(rho), abs=0.02 + 0.1 * truth(rho))
    assert found <= truth(rho) + 0.02  # a lower bound, to the error of 20,000 pairs


def test_against_a_constant_decoder_a_feature_that_knows_nothing_has_no_information():
    """1/2 - loss would say that it has: off-centre, of few dimensions, of unequal variance."""
    torch.manual_seed(0)
    basis, scale = torch.randn(3, DIM), torch.tensor([1.0, 0.2, 0.1])

    def draw(n, share, seed):
        g, noise = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(seed))
        code = share * g + math.sqrt(1 - share**2) * noise
        return g, F.normalize((code * scale) @ basis + 0.5, dim=1)

    found = []
    for share in (0.0, 0.7):
        bound = VariationalGaussian(3, DIM)
        optimiser = torch.optim.Adam(bound.parameters(), 1e-2)
        for step in range(400):
            optimiser.zero_grad()
            bound(*draw(256, share, step)).backward()
            optimiser.step()
        g, z = draw(20_000, share, 10_000)
        loss = bound(g, z).item()
        found.append((0.5 - loss, constant_loss(z).item() - loss))
    (naive, none), (_, some) = found
    assert naive > 0.3 and abs(none) < 0.02 and some > 0.1


def test_no_constant_decoder_loses_less():
    z = F.normalize(torch.randn(500, DIM) * torch.tensor([1.0, 2.0, 0.5, 0.1]) + 1, dim=1)
    t = z * math.sqrt(DIM)
    best = constant_loss(z).item()
    for mean in (t.mean(0), t.mean(0) + 0.05):
        for variance in (t.var(0), 1.2 * t.var(0), 0.8 * t.var(0), torch.ones(DIM)):
            loss = ((t - mean).square() / variance + variance.log()).mean().item() / 2
            assert loss >= best - 2e-3


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.7])
def test_club_bounds_the_information_of_gaussians_from_above(rho):
    torch.manual_seed(0)
    bound = fitted(CLUB(DIM, DIM), rho)
    found = bound(*pairs(20_000, rho, 10_000)).item()
    assert found >= truth(rho) - 0.02
    of_true_q = rho**2 / (1 - rho**2)
    assert found == pytest.approx(of_true_q, abs=0.03 + 0.1 * of_true_q)


def test_info_nce_finds_information_below_its_cap_and_never_more():
    torch.manual_seed(0)
    bound = InfoNCE(DIM, DIM)
    for rho, low in ((0.0, -0.1), (0.7, 0.6 * DIM * truth(0.7))):  # a cosine is no perfect critic
        fitted(bound.requires_grad_(True), rho, steps=250)
        found = math.log(512) - sum(bound(*pairs(512, rho, 10_000 + k)).item() for k in range(10)) / 10
        assert low <= found <= DIM * truth(rho) + 0.1


def test_the_gaussian_loss_is_its_formula():
    bound = VariationalGaussian(3, 2).double()
    with torch.no_grad():
        bound.rho.copy_(torch.tensor([0.3, -0.7]))
    g, z = torch.randn(5, 3, dtype=torch.float64), F.normalize(torch.randn(5, 2, dtype=torch.float64), dim=1)
    total = 0.0
    for b in range(5):
        mean = bound.mean(g[b])
        for d in range(2):
            v = math.log1p(math.exp(bound.rho[d].item() + math.log(math.e - 1))) + 1e-5
            total += 0.5 * ((mean[d].item() - math.sqrt(2) * z[b, d].item()) ** 2 / v + math.log(v))
    assert bound(g, z).item() == pytest.approx(total / 10, rel=1e-12)


def test_club_is_its_double_sum():
    bound = CLUB(3, 2).double()
    g, z = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    mean, variance, t = bound.mean(g), bound.log_variance(g).exp(), z * math.sqrt(2)

    def log_q(i, j):
        return -((t[j] - mean[i]).square() / variance[i] / 2).sum()

    own = sum(log_q(i, i) for i in range(6)) / 6
    crossed = sum(log_q(i, j) for i in range(6) for j in range(6)) / 36
    assert bound(g, z).item() == pytest.approx(((own - crossed) / 2).item(), rel=1e-10)


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_the_constraint_moves_g_by_the_bound_and_the_bounds_weights_by_their_fit(name):
    torch.manual_seed(0)
    bound = make_bound(name, 3, 4).double()
    g, z = (torch.randn(6, n, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    moves, fit = constraint(bound, g, z)
    weights = list(bound.parameters())
    assert moves.item() == bound(g, z).item() and fit.item() == bound.fit(g, z).item()
    (of_moves,) = torch.autograd.grad(moves, g, retain_graph=True)
    (of_bound,) = torch.autograd.grad(bound(g, z), g)
    assert torch.equal(of_moves, of_bound) and of_moves.abs().sum() > 0
    for ours, theirs in zip(
        torch.autograd.grad(fit, weights, retain_graph=True),
        torch.autograd.grad(bound.fit(g, z), weights),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    for value, others in ((moves, [z, *weights]), (fit, [g, z])):
        assert all(
            grad is None for grad in torch.autograd.grad(value, others, retain_graph=True, allow_unused=True)
        )


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(1)
    bound = make_bound(name, 3, 2).double()
    g, z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, 2, dtype=torch.float64)
    for value in (bound, bound.fit):
        assert torch.autograd.gradcheck(lambda g, value=value: value(g, z), g)


def test_an_unknown_bound_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="bound = 'MINE' is not one of variational Gaussian, InfoNCE, CLUB"):
        make_bound("MINE", 3, 2)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"temperature = 0\.0; expected a positive number"):
        InfoNCE(3, 2, temperature=0.0)
