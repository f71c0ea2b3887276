"""The two phases: what is trained on what, what starts where, what must stay as it is."""

import copy
import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.dual_phase.method import (
    PhaseTwo,
    Retentive,
    complete,
    head_images,
    imprint,
    phase_one,
    phase_two,
    select_bank,
)
from thesislib.longtail import CosineClassifier, passes_sampler
from thesislib.models.residual import cifar_resnet
from thesislib.recipe import Recipe
from thesislib.training import accuracy, fit, predict, seeded

SHORT = Recipe(epochs=2, batch=16, lr=0.05)
HEAD = (2, 0)  # not in the order of the classes


def toy(counts=(20, 6, 24, 4), seed=0):
    """Images whose class is the quarter that is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    images = 0.3 * torch.rand(len(labels), 3, 8, 8, generator=generator)
    for k, (down, right) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        images[labels == k, :, down : down + 4, right : right + 4] += 0.6
    return images, labels


def resnet(classes=2, seed=0):
    return seeded(seed, lambda: cifar_resnet(8, classes))


@pytest.fixture(scope="module")
def first():
    model, train = resnet(), toy()
    phase_one(model, train, HEAD, Recipe(epochs=10, batch=16, lr=0.05))
    return model, train


def test_phase_one_sees_head_images_alone_and_counts_along_the_head():
    images, labels = head_images(toy(), HEAD)
    assert torch.bincount(labels).tolist() == [24, 20] and len(images) == 44
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(192, 2)

        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return self.linear(x.flatten(1))

    phase_one(Watched(), toy(), HEAD, SHORT, length=54)
    assert sum(seen) == 2 * 54  # as many as the joint model, though the head has 44


def test_complete_keeps_the_head_rows_in_the_order_of_the_classes(first):
    model, (images, _) = first
    whole = complete(model, HEAD, 4, seed=1)
    old, new = predict(model, images), predict(whole, images)
    torch.testing.assert_close(new[:, list(HEAD)], old)
    assert whole[-1].weight.shape == (4, 64) and model[-1].weight.shape == (2, 64)


def test_double_precision_stays_double():
    train = toy()
    train = train[0].double(), train[1]
    model = resnet().double()
    how = PhaseTwo(recipe=SHORT, length=8, bank=2, tail_rows="imprinted")
    assert {p.dtype for p in phase_two(model, train, HEAD, how).parameters()} == {torch.float64}


def test_phase_two_learns_the_tail_and_leaves_the_first_model_alone(first):
    model, train = first
    before = copy.deepcopy(model.state_dict())
    how = PhaseTwo(recipe=Recipe(epochs=10, batch=16, lr=0.05), length=64, bank=4)
    made = phase_two(model, train, HEAD, how)
    assert accuracy(made, *train) > 0.9
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not made.training


def test_phase_two_sees_bank_and_tail_and_nothing_else(first):
    model, train = first
    marked = train[0].clone()
    seen = set()

    def watch(images, generator):
        seen.update(images[:, 0, 0, 0].tolist())
        return images

    how = PhaseTwo(recipe=SHORT, length=64, bank=3)
    phase_two(model, (marked, train[1]), HEAD, how, augment=watch)
    bank = select_bank(model, train, HEAD, 3)
    tail = (train[1] == 1) | (train[1] == 3)
    expected = set(marked[bank.indices][:, 0, 0, 0].tolist()) | set(marked[tail][:, 0, 0, 0].tolist())
    assert seen == expected and len(bank.indices) == 6
    assert set(train[1][bank.indices].tolist()) == set(HEAD)


def test_a_joint_model_keeps_its_rows_and_sees_the_same_kind_of_images(first):
    _, train = first
    joint, seen = resnet(4), set()
    before = copy.deepcopy(joint[-1])

    def watch(images, generator):
        seen.update(images[:, 0, 0, 0].tolist())
        return images

    still = PhaseTwo(recipe=Recipe(epochs=1, batch=16, lr=1e-12), length=64, bank=3)
    made = phase_two(joint, train, HEAD, still, augment=watch)
    torch.testing.assert_close(made[-1].weight, before.weight)
    torch.testing.assert_close(made[-1].bias, before.bias)
    bank = select_bank(joint, train, HEAD, 3)
    kept = torch.isin(train[1], torch.tensor([1, 3]))
    kept[bank.indices] = True
    assert seen == set(train[0][kept][:, 0, 0, 0].tolist()) and set(train[1][bank.indices].tolist()) == set(
        HEAD
    )
    with pytest.raises(ValueError, match="has 3 logits; expected 2, for the head, or 4"):
        phase_two(resnet(3), train, HEAD, still)


def test_balanced_sampling_draws_classes_equally_often(first):
    model, train = first
    labels = {value: k for value, k in zip(train[0][:, 0, 0, 0].tolist(), train[1].tolist(), strict=True)}
    drawn = []

    def watch(images, generator):
        drawn.extend(labels[value] for value in images[:, 0, 0, 0].tolist())
        return images

    counts = []
    for balanced in (False, True):
        drawn.clear()
        how = PhaseTwo(recipe=SHORT, length=48, bank=2, balanced=balanced)
        phase_two(model, train, HEAD, how, augment=watch)
        counts.append([drawn.count(k) for k in range(4)])
    assert counts[1] == [24] * 4 and counts[0][1] > counts[0][0]  # six images of class 1, two of class 0


def test_without_weight_the_loss_is_cross_entropy_alone(first):
    model, train = first
    how = PhaseTwo(recipe=SHORT, length=48, bank=4, retention=0.0)
    made = phase_two(model, train, HEAD, how)
    start = copy.deepcopy(complete(model, HEAD, 4, seed=0))
    bank = select_bank(model, train, HEAD, 4)
    chosen = torch.isin(train[1], torch.tensor([1, 3]))
    chosen[bank.indices] = True
    sampler = passes_sampler(int(chosen.sum()), 48)
    fit(start, (train[0][chosen], train[1][chosen]), SHORT, sampler=sampler)
    for one, other in zip(made.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_balanced_softmax_counts_what_phase_two_sees(first):
    model, train = first
    how = PhaseTwo(recipe=SHORT, length=48, bank=4, retention=0.0, balanced_softmax=True)
    made = phase_two(model, train, HEAD, how)
    start = copy.deepcopy(complete(model, HEAD, 4, seed=0))
    chosen = torch.isin(train[1], torch.tensor([1, 3]))
    chosen[select_bank(model, train, HEAD, 4).indices] = True
    seen = train[1][chosen]
    prior = (seen.bincount() / len(seen)).log()
    fit(
        start,
        (train[0][chosen], seen),
        SHORT,
        loss=lambda logits, labels, epoch: F.cross_entropy(logits + prior, labels),
        sampler=passes_sampler(int(chosen.sum()), 48),
    )
    for one, other in zip(made.state_dict().values(), start.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_imprinted_rows_are_class_means_of_the_heads_length(first):
    model, (images, labels) = first
    whole = complete(model, HEAD, 4, seed=0)
    before = whole[-1].weight.detach().clone()
    imprint(whole, (images, labels), HEAD)
    features, rows = predict(model[:-1], images), whole[-1].weight.detach()
    for k in (1, 3):
        mean = features[labels == k].mean(0)
        assert F.cosine_similarity(rows[k], mean, dim=0) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(rows[list(HEAD)], before[list(HEAD)])
    assert rows[[1, 3]].norm(dim=1).tolist() == pytest.approx(
        2 * [rows[list(HEAD)].norm(dim=1).mean().item()]
    )
    still = PhaseTwo(recipe=Recipe(epochs=1, batch=16, lr=1e-12), length=16, bank=2, tail_rows="imprinted")
    torch.testing.assert_close(phase_two(model, (images, labels), HEAD, still)[-1].weight, rows)


@pytest.mark.parametrize("use", [select_bank, imprint])
def test_heads_that_are_none_are_refused_by_the_parts_too(first, use):
    model, train = first
    whole, more = complete(model, HEAD, 4, seed=0), (2,) if use is select_bank else ()
    for head, said in (
        (np.array([True, False, True, False]), "head is a mask"),
        ((0, 9), "class 9 is head and has no image"),
    ):
        with pytest.raises(ValueError, match=said):
            use(whole, train, head, *more)
    for head in ([2], [2, 2], [True, False]):
        with pytest.raises(ValueError, match="expected 2 classes, one for each logit"):
            complete(model, head, 4, seed=0)
    with pytest.raises(ValueError, match="head reaches from 0 to 4; expected classes 0 to 3"):
        complete(model, (0, 4), 4, seed=0)


def test_a_tail_class_without_images_has_no_mean_to_imprint(first):
    model, (images, labels) = first
    kept = labels != 3
    with pytest.raises(ValueError, match="class 3 has no training image"):
        imprint(complete(model, HEAD, 4, seed=0), (images[kept], labels[kept]), HEAD)


def test_a_device_takes_the_model_as_a_whole(first):
    model, train = copy.deepcopy(first[0]), first[1]
    whole = complete(model, HEAD, 4, seed=0)
    for use in (lambda: select_bank(model, train, HEAD, 2, device="meta"),
                lambda: imprint(whole, train, HEAD, device="meta")):  # fmt: skip
        with pytest.raises((NotImplementedError, RuntimeError)):  # a meta tensor has no numbers
            use()
    for made in (model, whole):
        assert {p.device.type for p in made.parameters()} == {"meta"}


def test_a_cosine_classifier_s_logits_are_counted_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), CosineClassifier(4, 3))
    with pytest.raises(ValueError, match="the model has 3 logits; expected 2"):
        phase_one(model, toy(), HEAD, SHORT)


def test_facts_of_the_caller_join_those_of_the_phase_and_hide_none(tmp_path):
    how = {"checkpoint": tmp_path / "one.pt", "length": 54}
    phase_one(resnet(), toy(), HEAD, SHORT, facts={"run": 1}, **how)
    with pytest.raises(ValueError, match="run"):
        phase_one(resnet(), toy(), HEAD, SHORT, facts={"run": 2}, **how)
    with pytest.raises(ValueError, match="facts name head, length"):
        phase_one(resnet(), toy(), HEAD, SHORT, length=54, facts={"head": [], "length": 1})
    assert len(phase_one(resnet(), toy(), HEAD, SHORT, facts=None)) == SHORT.epochs


@pytest.mark.parametrize("retention", [0.0, 1.0])
def test_frozen_statistics_stay_those_of_phase_one(first, retention):
    model, train = first
    old = model.state_dict()
    for frozen in (False, True):
        how = PhaseTwo(recipe=SHORT, length=48, bank=4, retention=retention, frozen_statistics=frozen)
        new = phase_two(model, train, HEAD, how).state_dict()
        same = [torch.equal(new[k], v) for k, v in old.items() if "running" in k or "tracked" in k]
        assert same and all(same) == frozen
        assert not torch.equal(new["1.weight"], old["1.weight"])


def test_a_heavy_weight_keeps_the_features_nearer(first):
    model, train = first
    drift = []
    old = F.normalize(predict(model[:-1], train[0]), dim=1)
    for retention in (0.0, 20.0):
        how = PhaseTwo(
            recipe=Recipe(epochs=4, batch=16, lr=0.02),
            length=64,
            bank=4,
            retention=retention,
            form="pointwise",
        )
        new = predict(phase_two(model, train, HEAD, how)[:-1], train[0])
        drift.append((F.normalize(new, dim=1) - old).square().sum(1).mean().item())
    assert drift[1] < 0.5 * drift[0]


def test_the_old_features_stay_and_get_no_gradient(first):
    model, (images, labels) = first
    learner = Retentive(complete(copy.deepcopy(model), HEAD, 4, seed=0)).train()
    before = copy.deepcopy(learner.old.state_dict())
    F.cross_entropy(learner(images), labels).backward()
    old, new = learner.seen
    assert not old.requires_grad and new.requires_grad
    assert all(p.grad is None for p in learner.old.parameters())
    assert all(torch.equal(v, before[k]) for k, v in learner.old.state_dict().items())


def test_resuming_phase_one_gives_the_same_curve(tmp_path, monkeypatch):
    train, recipe = toy(), Recipe(epochs=4, batch=16, lr=0.05)
    whole = resnet()
    history = phase_one(whole, train, HEAD, recipe, length=54)

    class Killed(Exception):
        pass

    def kill(model, row):
        if row["epoch"] == 2:
            raise Killed

    file = tmp_path / "phase.pt"
    with pytest.raises(Killed):
        phase_one(resnet(), train, HEAD, recipe, length=54, checkpoint=file, on_epoch=kill)
    again = resnet()
    resumed = phase_one(again, train, HEAD, recipe, length=54, checkpoint=file)
    assert resumed["train_loss"].tolist() == history["train_loss"].tolist()
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in again.state_dict().items())


def test_a_loss_that_ceases_to_be_finite_stops_and_says_where(first, tmp_path):
    model, train = first
    how = PhaseTwo(recipe=Recipe(epochs=3, batch=16, lr=1e30), length=48, bank=4)
    with pytest.raises(FloatingPointError, match="epoch 0, step 1 of 3, lr = 1e"):
        phase_two(model, train, HEAD, how, checkpoint=tmp_path / "two.pt")
    heavy = PhaseTwo(recipe=SHORT, length=48, bank=4, retention=1e38)
    with pytest.raises(
        FloatingPointError, match=r"^phase II, retention = 1e\+38, cross-graph, .* lower retention$"
    ):
        phase_two(model, train, HEAD, heavy)


def test_a_head_of_every_class_is_in_the_order_of_the_logits():
    """Else the model of a phase I with its logits along the head would be read with its classes permuted."""
    model, train = resnet(4), toy()
    how = PhaseTwo(recipe=Recipe(epochs=1, batch=16, lr=1e-12), length=16, bank=4, retention=0.0)
    with pytest.raises(ValueError, match=r"head = \[2, 0, ...\] is every class, .* give range\(4\)"):
        phase_two(model, train, (2, 0, 1, 3), how)
    made = phase_two(model, train, range(4), how)
    torch.testing.assert_close(made[-1].weight, model[-1].weight, rtol=0, atol=1e-6)


def test_what_is_frozen_stays_frozen_and_a_copy_can_be_kept_in_every_epoch(first):
    model, train = copy.deepcopy(first[0]), first[1]
    model[1].requires_grad_(False)
    kept = []
    still = PhaseTwo(recipe=SHORT, length=16, bank=4, retention=0.0, frozen_statistics=True)
    phase_two(model, train, HEAD, still, on_epoch=lambda m, row: kept.append(copy.deepcopy(m)))
    kept.clear()
    how = PhaseTwo(recipe=SHORT, length=16, bank=4)
    made = phase_two(model, train, HEAD, how, on_epoch=lambda m, row: kept.append(copy.deepcopy(m)))
    assert torch.equal(made[1].weight, model[1].weight) and len(kept) == SHORT.epochs
    assert not torch.equal(made[-1].weight, kept[0].model[-1].weight)
    assert any(
        not torch.equal(a, b) for a, b in zip(made[:-1].parameters(), model[:-1].parameters(), strict=True)
    )


def test_a_checkpoint_goes_with_the_model_that_phase_two_began_from(first, tmp_path):
    model, train = first
    how = PhaseTwo(recipe=SHORT, length=16, bank=4, rule="random")
    phase_two(model, train, HEAD, how, checkpoint=tmp_path / "two.pt")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[1].weight[0] += 1e-3
    with pytest.raises(ValueError, match="another run: base was"):
        phase_two(other, train, HEAD, how, checkpoint=tmp_path / "two.pt")


def test_arrays_and_what_phase_two_has_itself_are_refused(first):
    model, (images, labels) = first
    how = PhaseTwo(recipe=SHORT, length=8, bank=2)
    for call in (
        lambda: phase_one(resnet(), (images, labels.numpy()), HEAD, SHORT),
        lambda: phase_two(model, (images, labels.numpy()), HEAD, how),
    ):
        with pytest.raises(TypeError, match="labels are ndarray, expected a tensor"):
            call()
    for call in (
        lambda pair: phase_one(resnet(), pair, HEAD, SHORT),
        lambda pair: phase_two(model, pair, HEAD, how),
    ):
        for fewer in (labels[:-3], torch.cat([labels, labels[:2]])):
            with pytest.raises(ValueError, match="54 images and labels of shape"):
                call((images, fewer))
        with pytest.raises(TypeError, match=r"labels are torch\.float32, expected torch\.int64"):
            call((images, labels.float()))
    far = labels.clone()
    far[0] = 10**11
    with pytest.raises(ValueError, match="class 4 has no image"):  # at once, and not after that many classes
        phase_two(model, (images, far), HEAD, how)
    assert len(head_images((images, far), HEAD)[1]) == 43
    with pytest.raises(TypeError, match="sampler: phase II has its own"):
        phase_two(model, (images, labels), HEAD, how, sampler=lambda epoch, generator: torch.arange(4))


def test_statistics_of_any_batch_norm_can_be_frozen():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    learner = Retentive(model, frozen_statistics=True).train()
    learner(toy()[0])
    assert model[2].num_batches_tracked == 0 and learner.training


def test_a_checkpoint_goes_with_its_own_settings_alone(first, tmp_path):
    model, train = first
    how = PhaseTwo(recipe=SHORT, length=16, bank=4)
    made = phase_two(model, train, HEAD, how, checkpoint=tmp_path / "two.pt")
    again = phase_two(model, train, HEAD, how, checkpoint=tmp_path / "two.pt")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in made.state_dict().items())
    for name, value in (("retention", 50.0), ("form", "pointwise"), ("temperature", 0.5), ("balanced", True)):
        with pytest.raises(ValueError, match=f"another run: {name} was"):
            other = dataclasses.replace(how, **{name: value})
            phase_two(model, train, HEAD, other, checkpoint=tmp_path / "two.pt")
    one = tmp_path / "one.pt"
    phase_one(resnet(), train, HEAD, SHORT, checkpoint=one)
    with pytest.raises(ValueError, match="another run: head was"):
        phase_one(resnet(), train, HEAD[::-1], SHORT, checkpoint=one)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ((), "one class or more"),
        ((0, 0), "none twice"),
        ((0.7, 2.0), "whole numbers"),
        ((False, True, True, False), "head is a mask; expected the classes' numbers"),
        ((0, 9), "class 9 is head and has no image"),
        ((0, -1), "class -1 is head and has no image"),
    ],
)
def test_heads_that_make_no_sense(head, words):
    how = PhaseTwo(recipe=SHORT, length=8, bank=2)
    for call in (
        lambda: phase_one(resnet(), toy(), head, SHORT),
        lambda: phase_two(resnet(), toy(), head, how),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_models_and_data_that_do_not_fit(first):
    _, train = first
    how = PhaseTwo(recipe=SHORT, length=8, bank=2)
    with pytest.raises(ValueError, match="3 logits; expected 2, one for each head class"):
        phase_one(resnet(3), train, HEAD, SHORT)
    with pytest.raises(ValueError, match="3 logits; expected 2, for the head, or 4"):
        phase_two(resnet(3), train, HEAD, how)
    with pytest.raises(ValueError, match="the last layer has no bias"):
        phase_two(nn.Sequential(nn.Flatten(), nn.Linear(192, 2, bias=False)), train, HEAD, how)
    keep = train[1] != 1
    with pytest.raises(ValueError, match="class 1 has no image"):
        phase_two(resnet(), (train[0][keep], train[1][keep]), HEAD, how)
    short = train[1] != 3
    assert phase_two(resnet(), (train[0][short], train[1][short]), HEAD, how)[-1].out_features == 3
    with pytest.raises(ValueError, match="class 3 has no image"):
        phase_two(resnet(), (train[0][short], train[1][short]), HEAD, how, classes=4)
    with pytest.raises(ValueError, match="a label is 3; expected less than 3"):
        phase_two(resnet(), train, HEAD, how, classes=3)
    with pytest.raises(ValueError, match="the least -1"):
        phase_one(resnet(), (train[0], train[1] - 1), HEAD, SHORT)


def test_bad_input(first):
    _, train = first
    for field, value in (
        ("bank", -1),
        ("bank", 2.5),
        ("retention", -0.5),
        ("retention", "1"),
        ("temperature", None),
        ("form", "none"),
        ("rule", "best"),
        ("temperature", 0.0),
        ("tail_rows", "mean"),
    ):
        with pytest.raises(ValueError, match=f"{field} = "):
            PhaseTwo(recipe=SHORT, length=8, **{field: value})
    assert PhaseTwo(recipe=SHORT, length=np.int64(8), bank=np.int64(2)).length == 8  # as counts come
    with pytest.raises(ValueError, match="one class or more"):
        head_images(train, ())
    with pytest.raises(ValueError, match="class 7 is head and has no image"):
        head_images(train, (0, 7))
    how = PhaseTwo(recipe=SHORT, length=8, bank=0, retention=0.0)
    with pytest.raises(ValueError, match="every class and the bank is empty"):
        phase_two(resnet(4), train, (0, 1, 2, 3), how)


SCRIPT = """
import sys, torch
from torch import nn
from thesislib.dual_phase.method import PhaseTwo, phase_two
from thesislib.recipe import Recipe
from thesislib.training import seeded
g = torch.Generator().manual_seed(0)
labels = torch.arange(40) % 4
images = torch.rand(40, 1, 4, 4, generator=g) + labels.view(-1, 1, 1, 1) / 8
images = images / images.max()
model = seeded(0, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)))
how = PhaseTwo(recipe=Recipe(epochs=2, batch=8, lr=0.1), length=24, bank=3, form=sys.argv[2])
made = phase_two(model, (images, labels), (0, 1), how)
import os
if os.environ.get("RANK", "0") == "0":
    torch.save(made.state_dict(), sys.argv[1])
"""


def test_two_processes_end_in_the_weights_of_one(tmp_path):
    """Of a form that is a mean over nodes; the graph of a shared batch has each process's own nodes alone."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    subprocess.run([sys.executable, script, one, "pointwise"], env=env, check=True, timeout=120)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, script, two, "pointwise"], env=env, check=True, timeout=120, capture_output=True)
    first, second = torch.load(one), torch.load(two)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)
