"""What the joint loss moves and what not, what is exported, and that weight 0 is the plain training."""

import copy
import dataclasses
import math
import os
import socket
import subprocess
import sys
import warnings

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.heterotopic import runs
from thesislib.heterotopic.ensemble import HeterotopicEnsemble, cut
from thesislib.heterotopic.filters import PRESETS
from thesislib.heterotopic.joint import Views, _collapse, fit_joint, weak_view
from thesislib.heterotopic.losses import barlow_twins, info_nce
from thesislib.heterotopic.mutual_information import BOUNDS
from thesislib.heterotopic.pool import case
from thesislib.heterotopic.self_supervision import (
    METHODS,
    BarlowTwins,
    CollapseWarning,
    MoCo,
    dimensions,
    spread,
)
from thesislib.heterotopic.settings import OURS
from thesislib.heterotopic.settings import resolve as chapter
from thesislib.heterotopic.views import StrongView
from thesislib.recipe import Recipe
from thesislib.training import fit, predict, seeded

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
    (terms.mi + terms.fit).backward()
    for module in (ensemble.branch.filter, ensemble.branch.mlp, ensemble.method, ensemble.classifier):
        assert all(g is None for g in grads(module))
    assert sum(g.abs().sum() for g in grads(ensemble.branch.trunk)) > 0
    assert all(g is not None for g in grads(ensemble.bound))


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_weight_of_the_constraint_is_the_trunk_s_and_never_its_decoder_s(classifier, around, bound):
    """A decoder that lambda and eta slowed down would know nothing, and the bound say nothing."""
    found = {}
    for eta in (0.1, 0.2):
        ensemble = around(classifier(), bound=bound, lam=0.3, eta=eta)
        _, terms = ensemble.joint(*pair())
        weights = list(ensemble.bound.parameters())
        trunk = list(ensemble.branch.trunk.parameters())
        fitted = torch.autograd.grad(terms.fit, weights, retain_graph=True)
        added = ensemble.weighted(terms)
        assert added.item() == pytest.approx(0.3 * (terms.ssl + eta * terms.mi).item(), rel=1e-6)
        moved = torch.autograd.grad(added - 0.3 * terms.ssl, trunk + weights, retain_graph=True)
        for ours, theirs in zip(moved[len(trunk) :], fitted, strict=True):
            assert torch.equal(ours, theirs)
        found[eta] = moved[: len(trunk)]
    for once, twice in zip(found[0.1], found[0.2], strict=True):
        assert torch.allclose(2 * once, twice, atol=1e-6)


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


def test_in_evaluation_mode_nothing_moves_and_keys_have_statistics_of_their_own(classifier, around, pictures):
    ensemble = around(classifier())
    fit_joint(ensemble, pictures, RECIPE, strong=StrongView(flip=False))
    copied = [m for m in ensemble.method.keys.copy.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    own = [m for m in ensemble.branch.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert copied[0].num_batches_tracked == own[0].num_batches_tracked > 0
    assert not torch.equal(copied[0].running_mean, own[0].running_mean)  # of other images and other weights
    before = copy.deepcopy(ensemble.state_dict())
    with torch.no_grad():
        first, second = (ensemble.eval().joint(*pair())[1].ssl for _ in range(2))
    assert first.item() == second.item()
    assert all(torch.equal(value, before[name]) for name, value in ensemble.state_dict().items())


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
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_joint(around(halves), pictures, RECIPE, on_epoch=stop, **options)
    again = fit_joint(around(halves), pictures, RECIPE, **options)
    assert again.drop(columns="seconds").equals(history.drop(columns="seconds"))
    for a, b in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"supervised": False}, "supervised was True, is False"),
        ({"lam": 0.5}, "lam was 1.0, is 0.5"),
        ({"eta": 0.2}, "eta was 0.1, is 0.2"),
        ({"temperature": 0.5}, "ssl options was .*'temperature': 0.2.*, is .*'temperature': 0.5"),
        ({"momentum": 0.5}, "ssl options was .*'momentum': 0.99.*, is .*'momentum': 0.5"),
        ({"ssl": "rotation"}, "ssl was 'MoCo v2', is 'rotation'"),
        ({"bound": None}, "bound was 'variational Gaussian', is None"),
        ({"facts": {"note": 1}}, "note was None, is 1"),
        ({"strong": StrongView(smallest=0.9)}, "strong was .*'smallest': 0.08.*, is .*'smallest': 0.9"),
    ],
)
def test_a_checkpoint_of_another_joint_loss_is_refused(
    classifier, around, pictures, tmp_path, changes, message
):
    path, recipe = tmp_path / "joint.pt", Recipe(epochs=1, batch=20)
    fit_joint(around(classifier()), pictures, recipe, strong=StrongView(), checkpoint=path)
    of_fit = {"strong": StrongView()}
    of_fit |= {name: changes[name] for name in ("supervised", "facts", "strong") if name in changes}
    model = around(classifier(), **{name: changes[name] for name in changes.keys() - of_fit})
    with pytest.raises(ValueError, match=f"is of another run: {message}"):
        fit_joint(model, pictures, recipe, checkpoint=path, **of_fit)


def test_an_option_at_its_default_is_the_option_left_out(classifier, around):
    assert around(classifier()).facts == around(classifier(), temperature=0.2).facts
    assert around(classifier(), ssl="Barlow Twins").facts["ssl options"] == {"scale": 0.1}


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


def test_dimensions_are_counted_where_features_vary():
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(64, 1, generator=generator) * torch.tensor([[1.0, -2.0, 3.0]])
    assert dimensions(line + 5).item() == pytest.approx(1)
    assert spread(line).item() == pytest.approx(1, abs=0.02)  # which is why there are two measures
    assert dimensions(torch.cat([torch.eye(6), -torch.eye(6)])).item() == pytest.approx(6)
    assert dimensions(torch.ones(5, 3)).item() == 0
    variances = torch.tensor([4.0, 1.0, 1.0])
    several = torch.randn(20_000, 3, generator=generator) * variances.sqrt()
    assert dimensions(several).item() == pytest.approx(6**2 / 18, rel=0.03)


def test_collapse_is_measured_and_said(classifier, around, pictures):
    ensemble = around(classifier(), ssl="rotation")
    with torch.no_grad():
        for p in ensemble.branch.mlp[-1].parameters():
            p.zero_()
        ensemble.branch.mlp[-1].bias.fill_(1.0)
    for p in ensemble.branch.mlp.parameters():
        p.requires_grad_(False)
    with pytest.warns(CollapseWarning, match=r"collapsed: spread 0(\.0\d*)? of 1, 0 of 8 dimensions"):
        fit_joint(ensemble, pictures, RECIPE, strong=StrongView())


@pytest.mark.parametrize("ssl", METHODS)
def test_features_on_a_line_are_a_collapse_that_their_spread_does_not_show(classifier, around, pictures, ssl):
    ensemble = around(classifier(), ssl=ssl)
    last = [layer for layer in ensemble.branch.mlp if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.copy_(torch.linspace(1, 2, len(last.weight))[:, None] * last.weight[:1])
        if last.bias is not None:
            last.bias.zero_()
    last.requires_grad_(False)
    advice = "lower lr or lam$" if ssl == "MoCo v2" else "lower lr or lam, or take a method with negatives$"
    with pytest.warns(CollapseWarning, match=rf"collapsed: spread \S+ of 1, 1 of 8 dimensions.*; {advice}"):
        history = fit_joint(ensemble, pictures, RECIPE, strong=StrongView())
    if isinstance(ensemble.branch.mlp[-1], nn.BatchNorm1d):
        assert history["spread"].min() > 0.7  # which shows nothing


@pytest.mark.parametrize("ssl", METHODS)
def test_features_that_vary_have_not_collapsed(classifier, around, pictures, ssl):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_joint(around(classifier(), ssl=ssl), pictures, RECIPE, strong=StrongView())


@pytest.mark.parametrize(("ssl", "said"), [("MoCo v2", True), ("SimSiam", True), ("rotation", False)])
def test_little_more_than_a_line_is_a_collapse_but_of_rotation(classifier, around, ssl, said):
    """1.1 of 63 dimensions: upright images, which rotation's are, are drawn together by the task itself."""
    ensemble = around(classifier(), ssl=ssl)
    ensemble.branch.mlp[-1] = nn.BatchNorm1d(64) if ssl == "SimSiam" else nn.Linear(8, 64)
    rows = {"spread": [0.5, 0.9], "dimensions": [6.0, 1.1]}
    assert bool(_collapse(ensemble, pd.DataFrame(rows), 64)) == said
    rows["dimensions"][-1] = 1.3
    assert _collapse(ensemble, pd.DataFrame(rows), 64) is None


def test_features_that_batch_normalisation_cannot_restore_are_a_collapse(classifier, around, pictures):
    ensemble = around(classifier(), ssl="Barlow Twins")
    last, norm = ensemble.branch.mlp[-2:]
    with torch.no_grad():
        last.weight.mul_(1e-4)
    last.requires_grad_(False)
    norm.momentum = 0.9  # or statistics take longer than these few steps
    with pytest.warns(CollapseWarning, match=r"collapsed: spread .* variance \S+ before its normalisation"):
        fit_joint(ensemble, pictures, RECIPE, strong=StrongView())


@pytest.mark.parametrize("ssl", METHODS)
def test_an_untrained_network_has_not_collapsed(ssl, pictures):
    """Without normalisation in its trunk it hardly tells images apart."""
    options = {"filter": nn.Identity(), "channels": 8, "ssl": ssl, "dim": 8, "bound": None}
    options |= {"queue": 16} if ssl == "MoCo v2" else {}

    def make():
        trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        return HeterotopicEnsemble(trunk, nn.Linear(8, 3), **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe = Recipe(epochs=2, batch=20, lr=1e-9)
        history = fit_joint(seeded(0, make), pictures, recipe, strong=StrongView())
    if not isinstance(make().branch.mlp[-1], nn.BatchNorm1d):
        assert history["spread"].max() < 0.05


def test_a_spread_that_training_has_lost_is_a_collapse(classifier, around, pictures):
    ensemble = around(classifier(), ssl="rotation", bound=None)
    recipe = Recipe(epochs=2, batch=8, lr=1e-6)

    def flatten(model, row):
        with torch.no_grad():
            model.branch.mlp[-1].weight.mul_(0.01)

    with pytest.warns(CollapseWarning, match=r"collapsed: spread 0\.00\d+ of 1"):
        history = fit_joint(ensemble, pictures, recipe, strong=StrongView(), on_epoch=flatten)
    assert history["spread"].iloc[-1] > 1e-3


def test_a_batch_of_two_images_always_lies_on_a_line_and_says_nothing(classifier, around, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe = Recipe(epochs=1, batch=2, lr=1e-6)
        history = fit_joint(around(classifier(), ssl="SimSiam"), pictures, recipe, strong=StrongView())
    assert history["dimensions"].iloc[0] == pytest.approx(1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lam": -0.1}, "lam = -0.1; expected a number, 0 or more"),
        ({"lam": "1"}, "lam = '1'; expected a number, 0 or more"),
        ({"eta": math.nan}, "eta = nan; expected a number, 0 or more"),
        ({"queue": 16.5}, "a queue of 16.5 keys of length 8; expected positive whole numbers"),
        ({"ssl": "SimCLR"}, "ssl = 'SimCLR' is not one of rotation, MoCo v2, SimSiam, Barlow Twins"),
        ({"bound": "MINE"}, "bound = 'MINE' is not one of variational Gaussian, InfoNCE, CLUB"),
        ({"preset": "attention"}, "filter = 'attention' is not one of residual block, private stage, plain"),
        ({"temperature": -1}, "temperature = -1; expected a positive number"),
        ({"temperature": math.nan}, "temperature = nan; expected a positive number"),
    ],
)
def test_bad_input_is_refused_with_what_would_do(classifier, around, options, message):
    with pytest.raises(ValueError, match=message):
        around(classifier(), **options)


def test_one_view_where_two_are_asked_for_is_refused(classifier, around, pictures):
    with pytest.raises(ValueError, match="no pairs of views; call joint"):
        around(classifier()).train()(torch.rand(4, 3, 8, 8))
    with pytest.raises(TypeError, match="strong = None, but MoCo v2 has a second view; give one, StrongView"):
        fit_joint(around(classifier()), pictures, RECIPE, strong=None)
    fit_joint(around(classifier(), ssl="rotation"), pictures, RECIPE, strong=None)


def test_images_that_are_no_floating_point_are_told_what_would_do(classifier, around, pictures):
    """In a loop of one's own nobody divides them by 255."""
    images = pictures[0][:4]
    for query, key, name in ((images, images / 255, "query"), (images / 255, images, "key")):
        with pytest.raises(
            TypeError, match=rf"{name} is torch.uint8; .* in \[0, 1\], images.float\(\) / 255"
        ):
            around(classifier()).joint(query, key)


def test_a_batch_of_one_and_a_queue_too_long_are_refused(classifier, around, pictures):
    with pytest.raises(ValueError, match=r"a batch of 1; self-supervision contrasts .*drop_last=True"):
        around(classifier(), ssl="SimSiam").joint(*pair(1))
    query, key = pair(4)
    with pytest.raises(ValueError, match=r"query \(4, .*\) and key \(3, .*\); expected two views"):
        around(classifier(), ssl="SimSiam").joint(query, key[:3])
    with pytest.raises(TypeError, match=r"strong is a class; StrongView\(\) makes a view"):
        fit_joint(around(classifier()), pictures, RECIPE, strong=StrongView)
    with pytest.raises(ValueError, match="batch = 1 of 40 images"):
        fit_joint(around(classifier()), pictures, Recipe(epochs=1, batch=1), strong=StrongView())
    with pytest.raises(ValueError, match="a queue of 40 keys with 40 images"):
        fit_joint(around(classifier(), queue=40), pictures, RECIPE, strong=StrongView())


@pytest.mark.parametrize("ssl", ["SimSiam", "MoCo v2"])
@pytest.mark.parametrize(("n", "batch"), [(53, 2), (7, 2), (1, 8)])
def test_a_last_step_of_one_image_is_refused_beforehand(classifier, around, pictures, n, batch, ssl):
    few = torch.arange(n) % 40
    data = pictures[0][few], pictures[1][few]
    with pytest.raises(ValueError, match=f"batch = {batch} of {n} images makes a step of 1; self-superv"):
        fit_joint(around(classifier(), ssl=ssl), data, Recipe(epochs=1, batch=batch), strong=StrongView())


def test_a_sampler_s_steps_are_its_own(classifier, around, pictures):
    recipe = Recipe(epochs=1, batch=4)
    data = pictures[0][:5], pictures[1][:5]
    model = around(classifier(), ssl="SimSiam")
    fit_joint(model, data, recipe, strong=StrongView(), sampler=lambda epoch, generator: torch.arange(8) % 5)


def test_numbers_of_channels_that_do_not_fit_are_refused():
    trunk, strong = nn.Conv2d(1, 8, 3), StrongView()
    data, recipe = (torch.rand(10, 1, 8, 8), torch.arange(10) % 2), Recipe(epochs=1, batch=5)
    same = {"filter": nn.Identity(), "channels": 16, "queue": 4}
    with pytest.raises(ValueError, match="channels = 16, but the classifier takes 8"):
        HeterotopicEnsemble(trunk, nn.Linear(8, 2), **same)
    with pytest.raises(ValueError, match="channels = 16, but the Filter's maps have 8 channels"):
        fit_joint(
            HeterotopicEnsemble(trunk, nn.Linear(8, 2), bound=None, **same), data, recipe, strong=strong
        )
    with pytest.raises(ValueError, match="channels = 16, but the map that is classified has 8"):
        fit_joint(HeterotopicEnsemble(trunk, nn.Linear(16, 2), **same), data, recipe, strong=strong)
    for size in ({"dim": 2.5}, {"dim": 0}, {"channels": -8}):
        ((name, value),) = size.items()
        with pytest.raises(ValueError, match=f"{name} = {value}; expected a whole number from 1 on"):
            HeterotopicEnsemble(trunk, nn.Linear(8, 2), **same | size)
    wider = {"filter": nn.Conv2d(8, 16, 1), "channels": 16, "queue": 4}  # which without a bound will do
    fit_joint(HeterotopicEnsemble(trunk, nn.Linear(8, 2), bound=None, **wider), data, recipe, strong=strong)


def test_a_trunk_that_pools_or_makes_tokens_is_told_what_would_do():
    for trunk, shape in (
        (nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"\(4, 8\)"),
        (nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(2)), r"\(4, 8, 36\)"),
    ):
        joint = HeterotopicEnsemble(trunk, nn.Linear(8, 2), filter=nn.Identity(), channels=8, queue=8)
        with pytest.raises(ValueError, match=f"made {shape} of 4 images, expected .*Unflatten"):
            joint.joint(*torch.rand(2, 4, 1, 8, 8))


def test_options_that_the_joint_training_has_a_use_for_itself(classifier, around, pictures):
    strong = StrongView()
    with pytest.raises(TypeError, match="give its views as weak and strong"):
        fit_joint(around(classifier()), pictures, RECIPE, strong=strong, augment=strong)
    with pytest.raises(ValueError, match="a loss of labels with supervised = False"):
        fit_joint(
            around(classifier()),
            pictures,
            RECIPE,
            strong=strong,
            supervised=False,
            loss=lambda logits, labels, epoch: logits.sum(),
        )
    rows = []

    def seen(model, row):
        rows.append(row)
        return {"twice": 2 * row["spread"]}

    history = fit_joint(around(classifier()), pictures, RECIPE, strong=strong, on_epoch=seen)
    assert history["twice"].tolist() == [2 * row["spread"] for row in rows] and len(rows) == 2
    assert {"train_loss", "ssl_loss", "mi_loss", "dimensions"} <= set(rows[0])


def test_classification_may_have_another_loss(classifier, around, pictures):
    def smoothed(logits, labels, epoch):
        return F.cross_entropy(logits, labels, label_smoothing=0.1 * epoch)

    plain, model = classifier(), classifier()
    fit(plain, pictures, RECIPE, seed=3, loss=smoothed)
    ensemble = around(model, lam=0.0)
    fit_joint(ensemble, pictures, RECIPE, strong=StrongView(), seed=3, loss=smoothed)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_training_s_loss_is_that_of_its_joint_training(monkeypatch):
    training = case(chapter("smoke"), "digits_lt", OURS, 0)[0]
    given = []

    def stop(*args, **options):
        given.append(options["loss"])
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit_joint", stop)
    for loss in ("CE", "Balanced softmax"):
        with pytest.raises(KeyboardInterrupt):
            runs.trained.__wrapped__("digits_lt", dataclasses.replace(training, loss=loss))
    assert given[0] is None
    logits = torch.zeros(10, 10)
    counts = runs.images_of("digits_lt", None)["counts"].double()
    expected = -(counts / counts.sum()).log().mean().item()  # of equal logits, the prior is all that is left
    assert given[1](logits, torch.arange(10), 0).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("ssl", METHODS)
def test_the_method_is_shown_the_other_view_if_it_wants_two(classifier, around, ssl):
    ensemble, shown = around(classifier(), ssl=ssl), []
    ensemble.method.register_forward_hook(lambda module, given, made: shown.append(given[2]))
    query, key = pair()
    ensemble.joint(query, key)
    assert torch.equal(shown[0], key if ensemble.method.two_views else query)


def test_moco_follows_then_compares_with_old_keys_then_keeps_the_new(classifier, around):
    """Each step by hand, after the encoder has moved away from its copy."""
    branch, (query, key) = around(classifier()).branch.double(), pair()
    query, key = query.double(), key.double()
    method = MoCo(branch, 8, queue=16, momentum=0.5, temperature=0.7).double()
    with torch.no_grad():
        for p in branch.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    u, before = branch(query), method.queue.keys.clone()
    slow = copy.deepcopy(method.keys.copy)
    with torch.no_grad():
        for mine, theirs in zip(slow.parameters(), branch.parameters(), strict=True):
            mine.lerp_(theirs, 0.5)
        keys = F.normalize(slow(key), dim=1)
    loss = method(u, branch, key)
    assert loss.item() == pytest.approx(info_nce(F.normalize(u, dim=1), keys, before, 0.7).item(), rel=1e-10)
    torch.testing.assert_close(method.queue.keys[:6], keys)
    assert torch.equal(method.queue.keys[6:], before[6:])


def test_barlow_twins_is_scaled(classifier, around):
    branch, (query, key) = around(classifier(), ssl="Barlow Twins").branch, pair()
    u = branch(query)
    for scale in (0.1, 0.4):
        found = BarlowTwins(branch, 8, scale=scale)(u, branch, key)
        assert found.item() == pytest.approx(scale * barlow_twins(u, branch(key)).item(), rel=1e-5)


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
    with pytest.raises(ValueError, match="ReLU is no Sequential"):
        cut(nn.ReLU(), 8)
    with pytest.raises(ValueError, match="never halves its map"):
        cut(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(4, 2)), 8)  # fmt: skip


def test_cutting_leaves_each_module_s_mode(classifier):
    model = classifier().eval()
    model[1].train()
    modes = [m.training for m in model.modules()]
    cut(model, 8)
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(RuntimeError):
        cut(model, 0)
    assert [m.training for m in model.modules()] == modes


def test_any_trunk_and_classifier_can_be_given_an_ensemble():
    trunk = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    ensemble = HeterotopicEnsemble(trunk, nn.Linear(8, 2), filter=nn.Conv2d(8, 8, 1), channels=8, queue=4)
    images = torch.rand(10, 1, 8, 8)
    fit_joint(ensemble, (images, torch.arange(10) % 2), RECIPE, strong=StrongView())
    assert predict(ensemble.exported(), images).shape == (10, 2)


SCRIPT = """
import sys, torch
from torch import nn
from thesislib.heterotopic.ensemble import HeterotopicEnsemble
from thesislib.heterotopic.joint import fit_joint
from thesislib.heterotopic.views import StrongView
from thesislib.recipe import Recipe
from thesislib.training import seeded

images = torch.randint(256, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
data, recipe = (images, torch.arange(24) % 3), Recipe(epochs=2, batch=8)

def make(ssl="MoCo v2", **options):
    trunk = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    options = dict(filter=nn.Conv2d(8, 8, 1), channels=8, ssl=ssl, dim=4) | options
    return HeterotopicEnsemble(trunk, nn.Linear(8, 3), **options)

results = []
for options, supervised in ((dict(queue=8), True), (dict(queue=8), False), (dict(ssl="SimSiam"), False)):
    model = seeded(0, lambda: make(**options))
    history = fit_joint(model, data, recipe, strong=StrongView(), supervised=supervised)
    results.append((model.state_dict(), history.to_dict("list")))
try:
    fit_joint(model, data, Recipe(epochs=1, batch=3), strong=StrongView())
except ValueError as error:
    results.append(str(error))
torch.save(results, sys.argv[1])
"""


def test_two_processes_train_jointly_with_and_without_labels(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    both = []
    for rank in "01":  # as torchrun starts them, which itself takes seconds
        environment = {**os.environ, **where, "OMP_NUM_THREADS": "1", "RANK": rank, "WORLD_SIZE": "2"}
        command = [sys.executable, "-W", "ignore", script, tmp_path / f"{rank}.pt"]
        both.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in both:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in "01")
    assert (
        first.pop()
        == second.pop()
        == (
            "batch = 3 of 24 images makes a step of 1 in one of 2 processes; self-supervision contrasts images, "
            "give a batch that leaves 2 or more"
        )
    )
    for (weights, history), (others, theirs) in zip(first, second, strict=True):
        assert all(torch.equal(weights[name], others[name]) for name in weights)
        assert all(map(math.isfinite, history["spread"])) and history["train_loss"] == theirs["train_loss"]
        assert "spread" not in theirs


def test_what_is_no_filter_no_option_and_no_ensemble_is_said(classifier, pictures):
    trunk, head = nn.Conv2d(1, 8, 3), nn.Linear(8, 2)
    with pytest.raises(TypeError, match="filter = 'standard'; expected a module"):
        HeterotopicEnsemble(trunk, head, filter="standard", channels=8)
    for ssl, has in (("SimSiam", "none"), ("MoCo v2", "queue, momentum, temperature"), ("rotation", "none")):
        with pytest.raises(TypeError, match=f"{ssl} has no option size; it has {has}"):
            HeterotopicEnsemble(trunk, head, filter=nn.Identity(), channels=8, ssl=ssl, size=3)
    with pytest.raises(TypeError, match="model is Sequential; expected HeterotopicEnsemble"):
        fit_joint(classifier(), pictures, RECIPE, strong=StrongView())
