"""What the joint loss moves and what not, what is exported, and that weight 0 is the plain training."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.heterotopic.ensemble import HeterotopicEnsemble, cut
from thesislib.heterotopic.filters import PRESETS
from thesislib.heterotopic.joint import Views, fit_joint, weak_view
from thesislib.heterotopic.mutual_information import BOUNDS
from thesislib.heterotopic.self_supervision import METHODS, CollapseWarning, spread
from thesislib.heterotopic.views import StrongView
from thesislib.recipe import Recipe
from thesislib.training import fit, predict

RECIPE = Recipe(epochs=2, batch=8, lr=0.05, weight_decay=1e-3, pad=1, flip=True)


def pair(n=6, seed=0):
    return torch.rand(2, n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def grads(module):
    return [p.grad for p in module.parameters()]


@pytest.mark.parametrize("preset", ["", *PRESETS])
@pytest.mark.parametrize("ssl", METHODS)
def test_exported_is_the_classifier_and_nothing_else(classifier, around, pictures, preset, ssl):
    model = classifier()
    ensemble = around(model, preset, ssl)
    fit_joint(ensemble, pictures, RECIPE, strong=StrongView())
    exported = ensemble.exported()
    count = sum(p.numel() for p in classifier().parameters())
    assert (
        sum(p.numel() for p in exported.parameters()) == count == sum(p.numel() for p in model.parameters())
    )
    assert sorted(b.shape for b in exported.buffers()) == sorted(b.shape for b in model.buffers())
    assert model.state_dict().keys() == classifier().state_dict().keys()
    with torch.no_grad():
        images = pictures[0].float() / 255
        for other in (exported.eval()(images), ensemble.eval()(images)):
            assert torch.equal(other, model.eval()(images))


@pytest.mark.parametrize("preset", ["", *PRESETS])
@pytest.mark.parametrize("ssl", METHODS)
def test_weight_zero_is_the_plain_training_bit_for_bit(classifier, around, pictures, preset, ssl):
    plain, model = classifier(), classifier()
    fit(plain, pictures, RECIPE, seed=3)
    fit_joint(around(model, preset, ssl, lam=0.0), pictures, RECIPE, strong=StrongView(), seed=3)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_another_weight_is_another_training(classifier, around, pictures):
    plain, model = classifier(), classifier()
    fit(plain, pictures, RECIPE, seed=3)
    fit_joint(around(model, lam=0.5), pictures, RECIPE, strong=StrongView(), seed=3)
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("ssl", METHODS)
def test_classification_moves_the_classifier_alone_and_self_supervision_the_trunk_too(
    classifier, around, ssl
):
    ensemble = around(classifier(), ssl=ssl, bound=None)
    logits, terms = ensemble.joint(*pair())
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2])).backward(retain_graph=True)
    own = [ensemble.branch.filter, ensemble.branch.mlp, ensemble.method]
    assert all(g is None for module in own for g in grads(module))
    assert all(g is not None for g in grads(ensemble.branch.trunk) + grads(ensemble.classifier))
    ensemble.zero_grad()
    terms.ssl.backward()
    assert all(g is None for g in grads(ensemble.classifier))
    assert all(g.abs().sum() > 0 for g in grads(ensemble.branch.filter[0].conv1))
    assert sum(g.abs().sum() for g in grads(ensemble.branch.trunk)) > 0


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_constraint_moves_trunk_and_bound_and_not_what_it_holds_up(classifier, around, bound):
    ensemble = around(classifier(), bound=bound)
    _, terms = ensemble.joint(*pair())
    terms.mi.backward()
    for module in (ensemble.branch.filter, ensemble.branch.mlp, ensemble.method, ensemble.classifier):
        assert all(g is None for g in grads(module))
    assert sum(g.abs().sum() for g in grads(ensemble.branch.trunk)) > 0
    assert all(g is not None for g in grads(ensemble.bound))


def test_keys_carry_no_gradient_and_the_momentum_encoder_only_follows(classifier, around):
    ensemble = around(classifier())
    query, key = pair()
    key.requires_grad_()
    _, terms = ensemble.joint(query, key)
    terms.ssl.backward()
    assert key.grad is None
    assert all(p.grad is None and not p.requires_grad for p in ensemble.method.parameters())
    newest = ensemble.method.queue.keys[:6]
    assert torch.allclose(newest.norm(dim=1), torch.ones(6)) and int(ensemble.method.queue.next) == 6


def test_the_other_side_of_simsiam_is_held_fixed(classifier, around):
    """Without the predictor's path nothing is left to move: the gradient through the target would show."""
    ensemble = around(classifier(), ssl="SimSiam", bound=None)
    for p in ensemble.method.predictor.parameters():
        nn.init.constant_(p, 0.0)
    _, terms = ensemble.joint(*pair())
    terms.ssl.backward()
    assert all(g is None or not g.any() for g in grads(ensemble.branch))


def test_the_joint_loss_is_its_formula(classifier, around):
    ensemble = around(classifier(), lam=0.7, eta=0.3)
    _, terms = ensemble.joint(*pair())
    assert ensemble.weighted(terms).item() == pytest.approx(0.7 * (terms.ssl.item() + 0.3 * terms.mi.item()))
    assert ensemble.weighted(terms).item() != pytest.approx(0.7 * terms.ssl.item())


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(epochs=1)], ids=["crop and flip", "no draws"])
def test_the_second_view_has_draws_of_its_own_in_every_step(classifier, recipe):
    images = torch.rand(5, 3, 8, 8)

    def epoch(seed):
        generator = torch.Generator().manual_seed(seed)
        return [views(images, generator) for _ in range(2)]

    views = Views(weak_view(recipe), StrongView(), classifier())
    first, again, other = epoch(0), epoch(1), epoch(0)
    plain = torch.Generator().manual_seed(0)
    for made in first:  # the weak view takes the plain training's draws, step after step
        assert torch.equal(made[:, :3], weak_view(recipe)(images, plain))
    assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))  # an epoch repeats itself
    seconds = [made[:, 3:] for made in (*first, *again)]
    assert not any(torch.equal(a, b) for k, a in enumerate(seconds) for b in seconds[:k])


def test_a_continued_training_is_the_uninterrupted_one(classifier, around, pictures, tmp_path):
    whole, halves = classifier(), classifier()
    history = fit_joint(around(whole), pictures, RECIPE, strong=StrongView())
    options = {"strong": StrongView(), "checkpoint": tmp_path / "joint.pt"}

    def stop(model, row):
        raise KeyboardInterrupt

    views = Views(weak_view(RECIPE), StrongView(), halves)
    ensemble = around(halves)
    with pytest.raises(KeyboardInterrupt):
        fit(ensemble, pictures, RECIPE, augment=views, checkpoint=options["checkpoint"],
            loss=lambda s, y, epoch: F.cross_entropy(s, y) + ensemble.weighted(ensemble.terms)
            if epoch < 1 else stop(None, None))  # fmt: skip
    again = fit_joint(around(halves), pictures, RECIPE, **options)
    assert len(again) == len(history) == 2
    for a, b in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_classifier_s_statistics_are_those_of_its_own_view(classifier, around):
    for ssl in METHODS:
        ensemble, plain = around(classifier(), ssl=ssl), classifier()
        query, key = pair()
        ensemble.joint(query, key + 5)
        plain.train()(query)
        names = [n for n, _ in plain.named_buffers() if "running" in n or "tracked" in n]
        theirs = dict(ensemble.exported().named_buffers())
        mine = dict(plain.named_buffers())
        assert len(names) > 10
        assert all(torch.equal(mine[n], theirs["0." + n]) for n in names), ssl


def test_self_supervision_alone_leaves_the_linear_layer(classifier, around, pictures):
    model = classifier()
    history = fit_joint(
        around(model), pictures, RECIPE, strong=StrongView(), weak=StrongView(), supervised=False
    )
    assert torch.equal(model[-1].weight, classifier()[-1].weight)
    assert not torch.equal(model[1].weight, classifier()[1].weight)
    assert {"ssl_loss", "mi_loss", "spread"} <= set(history)


def test_spread_is_one_on_the_sphere_and_zero_when_collapsed():
    even = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert spread(even).item() == pytest.approx(1, abs=0.01)
    assert spread(torch.ones(10, 16)).item() == pytest.approx(0, abs=1e-6)
    half = torch.cat([torch.eye(2)[:1].expand(8, 2), torch.eye(2)[1:].expand(8, 2)])
    assert spread(half).item() == pytest.approx(math.sqrt(0.5))


def test_collapse_is_measured_and_said(classifier, around, pictures):
    ensemble = around(classifier(), ssl="rotation")
    with torch.no_grad():
        for p in ensemble.branch.mlp[-1].parameters():
            p.zero_()
        ensemble.branch.mlp[-1].bias.fill_(1.0)
    for p in ensemble.branch.mlp.parameters():
        p.requires_grad_(False)
    with pytest.warns(CollapseWarning, match=r"collapsed: spread 0(\.0\d*)? of 1"):
        fit_joint(ensemble, pictures, RECIPE, strong=StrongView())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_joint(around(classifier(), ssl="Barlow Twins"), pictures, RECIPE, strong=StrongView())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lam": -0.1}, "lam = -0.1; expected a weight of 0 or more"),
        ({"eta": math.nan}, "eta = nan; expected a weight of 0 or more"),
        ({"ssl": "SimCLR"}, "ssl = 'SimCLR' is not one of rotation, MoCo v2, SimSiam, Barlow Twins"),
        ({"bound": "MINE"}, "bound = 'MINE' is not one of variational Gaussian, InfoNCE, CLUB"),
        ({"preset": "attention"}, "filter = 'attention' is not one of residual block, private stage, plain"),
    ],
)
def test_bad_input_is_refused_with_what_would_do(classifier, around, options, message):
    with pytest.raises(ValueError, match=message):
        around(classifier(), **options)


def test_one_view_where_two_are_asked_for_is_refused(classifier, around):
    with pytest.raises(ValueError, match="no pairs of views; call joint"):
        around(classifier()).train()(torch.rand(4, 3, 8, 8))


def test_a_batch_of_one_and_a_queue_too_long_are_refused(classifier, around, pictures):
    with pytest.raises(ValueError, match="a batch of 1; self-supervision contrasts images"):
        around(classifier(), ssl="SimSiam").joint(*pair(1))
    with pytest.raises(ValueError, match="batch = 1 of 40 images"):
        fit_joint(around(classifier()), pictures, Recipe(epochs=1, batch=1), strong=StrongView())
    with pytest.raises(ValueError, match="a queue of 40 keys with 40 images"):
        fit_joint(around(classifier(), queue=40), pictures, RECIPE, strong=StrongView())


def test_a_checkpoint_of_another_architecture_is_refused(classifier, around, pictures, tmp_path):
    path = tmp_path / "joint.pt"
    fit_joint(around(classifier()), pictures, RECIPE, strong=StrongView(), checkpoint=path)
    with pytest.raises(ValueError, match="is of another architecture"):
        fit_joint(
            around(classifier(), "private stage"), pictures, RECIPE, strong=StrongView(), checkpoint=path
        )


def test_a_network_is_cut_where_it_last_shrinks(classifier):
    model = classifier()
    body, last, head = cut(model, 8)
    images = torch.rand(2, 3, 8, 8)
    model.eval()
    assert body(images).shape == (2, 6, 4, 4) and last(body(images)).shape == (2, 8, 2, 2)
    assert torch.equal(head(last(body(images))), model(images))
    with pytest.raises(ValueError, match="ends in pooling, Flatten and a Linear layer"):
        cut(model[:-1], 8)
    with pytest.raises(ValueError, match="never halves its map"):
        cut(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(4, 2)), 8)  # fmt: skip


def test_any_trunk_and_classifier_can_be_given_an_ensemble():
    trunk = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    ensemble = HeterotopicEnsemble(trunk, nn.Linear(8, 2), filter=nn.Conv2d(8, 8, 1), channels=8, queue=4)
    images = torch.rand(10, 1, 8, 8)
    fit_joint(ensemble, (images, torch.arange(10) % 2), RECIPE, strong=StrongView())
    assert predict(ensemble.exported(), images).shape == (10, 2)
