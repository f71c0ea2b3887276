"""The training loop: the mathematics of a step, and runs that are the same however they were run."""

import copy
import doctest
import math
import os
import runpy
import socket
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Generator, nn

from thesislib import recipe, training
from thesislib.augment import crop, flip
from thesislib.training import Recipe, accuracy, fit, learning_rate, predict, seeded

FLOAT, WHOLE = torch.float32, torch.uint8


@pytest.fixture(scope="module")
def digits():
    found = load_digits()
    images = torch.from_numpy((found.images * 255 / 16).round().astype("uint8")).unsqueeze(1)
    labels, test = torch.from_numpy(found.target).long(), torch.arange(len(images)) % 5 == 0
    return (images[~test], labels[~test]), (images[test], labels[test])


def random_data(n=40, classes=3, seed=0):
    images = torch.randint(256, (n, 1, 6, 6), dtype=WHOLE, generator=Generator().manual_seed(seed))
    return images, torch.arange(n) % classes


def small_net():
    """With everything that has a state or draws: batch statistics and dropout."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.5), nn.Linear(64, 3)),
    )


def linear_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def content(model):
    """The bytes of a model's state."""
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def plain(history):
    return history.drop(columns="seconds").to_csv()


# ---- the same run


FULL = {"epochs": 4, "batch": 16, "lr": 0.05, "pad": 1, "flip": True}
RECIPES = [
    Recipe(**FULL, nesterov=True, weight_decay=1e-3, schedule="one-cycle"),
    Recipe(**FULL, optimiser="Adam", keep_best=True),
    Recipe(**FULL, optimiser="AdamW", weight_decay=0.1, warmup=2, test_every=3),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.optimiser)
def test_a_seed_decides_everything(recipe):
    data, test = random_data(), random_data(seed=1)
    runs = []
    for scramble, seed in ((0, 5), (1, 5), (0, 6)):
        model = seeded(0, small_net)
        torch.manual_seed(scramble)
        before = torch.get_rng_state()
        history = fit(model, data, recipe, test=test, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        runs.append((content(model), plain(history)))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0] and runs[0][1] != runs[2][1]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.optimiser)
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, recipe, stop):
    data, test = random_data(), random_data(seed=1)
    model = seeded(0, small_net)
    history = fit(model, data, recipe, test=test, on_epoch=lambda m, row: {"twice": 2 * row["lr"]})

    def interrupted(_, row):
        if row["epoch"] == stop:
            raise KeyboardInterrupt
        return {"twice": 2 * row["lr"]}

    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(seeded(0, small_net), data, recipe, test=test, on_epoch=interrupted, checkpoint=file)
    assert file.exists() == (stop > 0)
    again = seeded(0 if stop == 0 else 9, small_net)  # what it starts from is in the file, if there is one
    rest = fit(
        *(again, data, recipe), test=test, on_epoch=lambda m, row: {"twice": 2 * row["lr"]}, checkpoint=file
    )
    assert content(again) == content(model)
    assert plain(rest) == plain(history)
    assert list(tmp_path.iterdir()) == [file]


def test_a_finished_run_is_read_and_not_repeated(tmp_path):
    file, recipe = tmp_path / "run.pt", RECIPES[1]
    first, second = seeded(0, small_net), seeded(1, small_net)
    history = fit(first, random_data(), recipe, test=random_data(seed=1), checkpoint=file)
    again = fit(second, random_data(), recipe, test=random_data(seed=1), checkpoint=file)
    assert content(first) == content(second)
    assert again.equals(history)  # the seconds, too


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": Recipe(epochs=2, lr=0.2)}, "lr was 0.1, is 0.2"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"precision": "bf16"}, "precision was 'float32', is 'bf16'"),
        ({"facts": {"lam": 2.0}}, "lam was None, is 2.0"),
        ({"train": random_data(seed=3)}, "of another run: images"),
        ({"train": (random_data()[0], random_data()[1].flip(0))}, "of another run: labels"),
        ({"model": small_net()}, "another architecture"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(36, 4))}, "another architecture: 1.bias differs"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, change, words):
    file = tmp_path / "run.pt"
    asked = {"model": linear_net(), "train": random_data(), "recipe": Recipe(epochs=2)}
    fit(**asked, checkpoint=file)
    asked |= change
    before = content(asked["model"])
    with pytest.raises(ValueError, match=words):
        fit(**asked, checkpoint=file)
    assert content(asked["model"]) == before


def test_test_data_that_choose_the_best_epoch_belong_to_a_checkpoint(tmp_path):
    file, (images, labels) = tmp_path / "run.pt", random_data(seed=1)
    asked = {"model": linear_net(), "train": random_data(), "recipe": Recipe(epochs=2, keep_best=True)}
    fit(**asked, test=(images, labels), checkpoint=file)
    fit(**asked, test=(images.clone(), labels), checkpoint=file)
    for test, words in (((images.flip(0), labels), "test images"), ((images, labels.flip(0)), "test labels")):
        with pytest.raises(ValueError, match=f"of another run: {words} was"):
            fit(**asked, test=test, checkpoint=file)
    # Where they choose nothing, a training may go on with others, or with none.
    asked["recipe"] = Recipe(epochs=2)
    fit(**asked, test=(images, labels), checkpoint=tmp_path / "other.pt")
    fit(**asked, test=(images.flip(0), labels), checkpoint=tmp_path / "other.pt")
    fit(**asked, checkpoint=tmp_path / "other.pt")


def test_numbers_of_numpy_end_in_a_checkpoint_that_is_read_again(tmp_path):
    """As a sweep hands them over; pickled as they are, nothing would read them again."""
    rates, seeds = np.logspace(-2, -1, 2), np.arange(3)
    how = Recipe(epochs=np.int64(2), lr=rates[0], milestones=np.array([1.0]), schedule="steps")
    assert how == Recipe(epochs=2, lr=0.01, milestones=(1.0,), schedule="steps") and type(how.lr) is float
    options = {
        "seed": seeds[1],
        "facts": {"beta": np.float64(0.9), "classes": [np.int64(3), 4], "note": None},
    }
    one = fit(linear_net(), random_data(), how, checkpoint=tmp_path / "run.pt", **options)
    assert fit(linear_net(), random_data(), how, checkpoint=tmp_path / "run.pt", **options).equals(one)
    with pytest.raises(ValueError, match=r"beta was 0\.9, is 0\.8"):
        fit(linear_net(), random_data(), how, checkpoint=tmp_path / "run.pt", seed=1,
            facts=options["facts"] | {"beta": 0.8})  # fmt: skip


def test_facts_hide_nothing_and_are_plain(tmp_path):
    options = {"checkpoint": tmp_path / "run.pt", "recipe": Recipe(epochs=1, lr=0.1)}
    own = {"lr": 5.0, "data": "mine", "path": "here", "recipe": 1, "seed": "x", "images": 0}
    fit(linear_net(), random_data(), facts=own, **options)
    with pytest.raises(ValueError, match=r"facts\['lr'\] was 5.0, is 6.0"):
        fit(linear_net(), random_data(), facts=own | {"lr": 6.0}, **options)
    with pytest.raises(ValueError, match=r"another run: lr was 0.1, is 0.2"):
        fit(linear_net(), random_data(), facts=own, **options | {"recipe": Recipe(epochs=1, lr=0.2)})
    with pytest.raises(
        TypeError, match=r"view = .* of type object; a checkpoint keeps numbers, text and lists"
    ):
        fit(linear_net(), random_data(), facts={"view": object()}, **options)


def test_a_seed_for_the_cpu_is_no_gpu_s(monkeypatch):
    """Whoever trains on a GPU and calls `seeded` in between would have the same dropout again and again."""

    def never(*_):
        raise AssertionError("a GPU's generator was seeded")

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, never)
    first = seeded(3, lambda: torch.rand(4))
    assert torch.equal(first, seeded(3, lambda: torch.rand(4)))
    assert torch.equal(first, torch.rand(4, generator=Generator().manual_seed(3)))
    fit(small_net(), random_data(), Recipe(epochs=1))


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    file = tmp_path / "run.pt"
    fit(linear_net(), random_data(), Recipe(epochs=1), checkpoint=file)
    file.write_bytes(file.read_bytes()[:500] if damage is None else damage)
    with pytest.raises(ValueError, match=r"run\.pt is no checkpoint of a training; remove it"):
        fit(linear_net(), random_data(), Recipe(epochs=1), checkpoint=file)


SCRIPT = """
import sys, torch
from torch import nn
from thesislib.training import Recipe, fit, seeded

images = torch.randint(256, (29, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
labels = torch.arange(29) % 3
net = lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))
results = []
for batch, epochs, optimiser in ((7, 3, "SGD"), (29, 3, "Adam"), (1, 1, "SGD")):
    model = seeded(0, net)
    recipe = Recipe(epochs=epochs, batch=batch, optimiser=optimiser, lr=0.01)
    file = f"{sys.argv[2]}-batch-{batch}.pt"
    history = fit(model, (images, labels), recipe, test=(images, labels), checkpoint=file)
    results.append((model.state_dict(), history.drop(columns="seconds").to_dict("list")))
torch.save(results, f"{sys.argv[1]}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path, monkeypatch):
    """Whole batches, odd ones, and batches of one image, of which the second process has no part."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    both = []
    for rank in "01":  # as torchrun starts them, which itself takes seconds
        environment = {**os.environ, **where, "OMP_NUM_THREADS": "1", "RANK": rank, "WORLD_SIZE": "2"}
        command = [sys.executable, script, tmp_path / f"two-{rank}", tmp_path / "two"]
        both.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "one"), str(tmp_path / "alone")])
    runpy.run_path(str(script))
    for process in both:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt") for name in ("one", "two-0", "two-1"))
    for (weights, history), *pair in zip(alone, *ranks, strict=True):
        for theirs, metrics in pair:
            for name, weight in weights.items():
                torch.testing.assert_close(theirs[name], weight, rtol=1e-4, atol=1e-6)
            assert metrics == {
                name: pytest.approx(column, rel=1e-5, abs=1e-6) for name, column in history.items()
            }
        (first, _), (second, _) = pair
        assert all(torch.equal(first[name], second[name]) for name in first)


# ---- a step


@pytest.mark.parametrize(
    ("recipe", "own"),
    [
        (
            Recipe(epochs=3, batch=10, lr=0.1, nesterov=True, weight_decay=0.01),
            lambda weights: torch.optim.SGD(weights, 0.1, 0.9, weight_decay=0.01, nesterov=True),
        ),
        (
            Recipe(epochs=3, batch=10, lr=0.01, optimiser="AdamW", weight_decay=0.1),
            lambda weights: torch.optim.AdamW(weights, 0.01, weight_decay=0.1),
        ),
    ],
)
def test_fit_is_the_loop_one_would_write(recipe, own):
    images, labels = random_data()
    model, twin = seeded(0, linear_net), seeded(0, linear_net)
    history = fit(model, (images, labels), recipe, sampler=lambda epoch, _: torch.arange(40).roll(epoch))
    optimiser, losses = own(twin.parameters()), []
    for epoch in range(3):
        for rows in torch.arange(40).roll(epoch).split(10):
            loss = F.cross_entropy(twin(images[rows].float() / 255), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert content(model) == content(twin)
    assert history.train_loss.tolist() == pytest.approx([sum(losses[k : k + 4]) / 4 for k in (0, 4, 8)])


def test_one_epoch_of_gradient_descent_by_hand():
    r"""From zero weights, dL/dw_k = mean of (1/2 - [y = k]) x for two classes."""
    x, y = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    history = fit(model, (x, y), Recipe(epochs=1, batch=3, lr=0.3, momentum=0))
    slope = ((0.5 - F.one_hot(y)).T @ x) / 3
    torch.testing.assert_close(model.weight.detach(), -0.3 * slope)
    assert history.train_loss.item() == pytest.approx(math.log(2))
    assert history.columns.tolist() == [
        *("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr", "seconds")
    ]
    assert math.isnan(history.test_loss.item()) and math.isnan(history.test_accuracy.item())


@given(n=st.integers(1, 60), batch=st.integers(1, 70), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_an_epoch_shows_every_image_once_in_equal_batches(n, batch, seed):
    batches = []

    def loss(logits, labels, epoch):
        batches.append(labels)
        return logits.mean()

    with torch.no_grad():
        data = torch.rand(n, 2), torch.arange(n)
    fit(nn.Linear(2, n), data, Recipe(epochs=1, batch=batch), loss=loss, seed=seed)
    sizes = [len(labels) for labels in batches]
    assert torch.cat(batches).sort().values.equal(torch.arange(n))
    assert len(sizes) == math.ceil(n / batch) and max(sizes) <= batch and max(sizes) - min(sizes) <= 1


def test_orders_differ_from_epoch_to_epoch():
    orders = []
    fit(
        nn.Linear(2, 50),
        (torch.rand(50, 2), torch.arange(50)),
        Recipe(epochs=3, batch=50),
        loss=lambda logits, labels, epoch: (orders.append(labels), logits.mean())[1],
    )
    assert not any(a.equal(b) for a, b in zip(orders, orders[1:] + orders[:1], strict=True))


def test_class_balanced_sampling_and_deferred_reweighting():
    """What a long-tailed recipe does: counts per class are equal, weights change at an epoch."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    seen, epochs = [], []

    def balanced(epoch, generator):
        return torch.multinomial(1 / labels.bincount()[labels], 4000, True, generator=generator)

    def deferred(logits, targets, epoch):
        seen.append(targets)
        epochs.append(epoch)
        weight = torch.tensor([1.0, 9.0]) if epoch >= 2 else None
        return F.cross_entropy(logits, targets, weight=weight)

    model, data = nn.Linear(3, 2), (torch.rand(100, 3), labels)
    fit(model, data, Recipe(epochs=3, batch=2000), sampler=balanced, loss=deferred)
    assert epochs == [0, 0, 1, 1, 2, 2]
    assert torch.cat(seen).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_it_trains_in_training_mode_whatever_it_was_given():
    models, modes = [seeded(0, small_net) for _ in range(2)], []
    models[0].eval()
    for model in models:
        fit(model, random_data(), RECIPES[0], on_epoch=lambda m, row: modes.append(m.training))
        assert not any(part.training for part in model.modules())
    assert content(models[0]) == content(models[1]) and all(modes)


def test_frozen_parameters_stay():
    model = seeded(0, small_net)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, random_data(), Recipe(epochs=2, weight_decay=0.1))
    assert model[0].weight.equal(before)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        fit(model, random_data(), Recipe(epochs=1))


def test_an_augmentation_of_ones_own_sees_the_images_as_given():
    kinds = set()

    def blank(images, generator):
        kinds.add((images.dtype, images.shape[1:]))
        return torch.zeros_like(images)

    model = linear_net()
    before = model[1].weight.clone()
    fit(model, random_data(), Recipe(epochs=1, pad=2, flip=True), augment=blank)
    assert kinds == {(WHOLE, (1, 6, 6))}
    assert model[1].weight.equal(before)  # a black image moves the bias only


def test_the_best_weights_are_kept(digits):
    train, test = digits
    model = seeded(0, lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    recipe = Recipe(epochs=6, batch=64, lr=8.0, momentum=0, keep_best=True)  # so large that it jumps
    history = fit(model, train, recipe, test=test)
    assert history.test_accuracy.iloc[-1] < history.test_accuracy.max()
    assert accuracy(model, *test) == history.test_accuracy.max()


def test_evaluation_keeps_its_turns():
    history = fit(
        linear_net(), random_data(), Recipe(epochs=8, test_every=3), test=random_data(seed=1), seed=1
    )
    assert history.index[history.test_loss.notna()].tolist() == [2, 5, 7]
    without = fit(linear_net(), random_data(), Recipe(epochs=8), seed=1)
    assert without.test_accuracy.isna().all()


def test_evaluation_changes_no_training():
    models = [seeded(0, small_net) for _ in range(2)]
    fit(models[0], random_data(), RECIPES[0])
    fit(models[1], random_data(), RECIPES[0], test=random_data(seed=1), on_epoch=lambda m, row: torch.rand(3) @ torch.rand(3) > 9 or None)  # fmt: skip
    assert content(models[0]) == content(models[1])


def test_digits_are_learnt(digits):
    train, test = digits
    model = seeded(0, lambda: nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1)),
        *(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
    ))  # fmt: skip
    recipe = Recipe(epochs=12, batch=64, lr=0.1, schedule="one-cycle", weight_decay=5e-4)
    history = fit(model, train, recipe, test=test, precision="float32")
    assert accuracy(model, *test) == history.test_accuracy.iloc[-1] > 0.95
    assert history.lr.iloc[-1] == learning_rate(recipe, 11, 22, 23)


def test_bf16_trains_float32_weights(digits):
    seen = set()

    def loss(logits, labels, epoch):
        seen.add(logits.dtype)
        return F.cross_entropy(logits, labels)

    model = seeded(0, lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    history = fit(model, digits[0], Recipe(epochs=3), loss=loss, test=digits[1], precision="bf16")
    assert seen == {FLOAT} == {p.dtype for p in model.parameters()}
    assert history.test_accuracy.iloc[-1] > 0.8
    coarse, fine = (predict(model, digits[1][0], precision=p) for p in ("bf16", "float32"))
    assert coarse.dtype == FLOAT and not coarse.equal(fine)
    torch.testing.assert_close(coarse, fine, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(("known", "precision"), [(True, "bf16"), (False, "float32"), (False, "bf16")])
def test_a_cpu_that_does_not_know_bf16_is_said(digits, monkeypatch, known, precision):
    monkeypatch.setattr(training, "_computes_bf16", lambda: known)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(model, digits[0], Recipe(epochs=1), precision=precision)
    words = [str(w.message) for w in said if "bf16" in str(w.message)]
    assert len(words) == (not known and precision == "bf16")


# ---- schedules


def rates(recipe, steps=1):
    return [learning_rate(recipe, e, s, steps) for e in range(recipe.epochs) for s in range(steps)]


def torchs(scheduler, n, lr=0.1, **options):
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    chosen, found = scheduler(optimiser, **options), []
    for _ in range(n):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        chosen.step()
    return found


def test_schedules_are_those_of_torch():
    lr = torch.optim.lr_scheduler
    steps = Recipe(epochs=9, lr=0.1, schedule="steps", milestones=(3, 7), factor=0.2)
    assert rates(steps) == pytest.approx(torchs(lr.MultiStepLR, 9, milestones=[3, 7], gamma=0.2))
    cosine = Recipe(epochs=5, lr=0.1, schedule="cosine")
    assert rates(cosine, 4) == pytest.approx(torchs(lr.CosineAnnealingLR, 20, T_max=20))
    cycle = Recipe(epochs=50, lr=0.1, schedule="one-cycle")
    own = torchs(lr.OneCycleLR, 5000, lr=0.1, max_lr=0.1, total_steps=5000)
    assert rates(cycle, 100) == pytest.approx(own, abs=1e-4)  # torch counts steps from 0 to the last


def test_the_recipe_of_long_tailed_cifar():
    """lr e/5 in the first five epochs e = 1, 2, ..., times 0.01 after 160, times 0.0001 after 180."""
    recipe = Recipe(
        epochs=200, lr=0.1, schedule="steps", milestones=(160, 180), factor=0.01, warmup=5, per_epoch=True
    )
    expected = [0.02, 0.04, 0.06, 0.08] + [0.1] * 156 + [1e-3] * 20 + [1e-5] * 20
    assert rates(recipe) == pytest.approx(expected)
    assert rates(recipe, 3) == pytest.approx([rate for rate in expected for _ in range(3)])


@given(
    schedule=st.sampled_from(["constant", "steps", "cosine", "one-cycle"]),
    epochs=st.integers(1, 30),
    steps=st.integers(1, 20),
    warmup=st.floats(0, 1),
    per_epoch=st.booleans(),
)
def test_rates_are_positive_and_never_above_the_highest(schedule, epochs, steps, warmup, per_epoch):
    milestones = (epochs / 2,) if schedule == "steps" else ()
    recipe = Recipe(epochs=epochs, lr=0.3, schedule=schedule, milestones=milestones, warmup=warmup * epochs, per_epoch=per_epoch)  # fmt: skip
    found = rates(recipe, steps)
    assert all(0 < rate <= 0.3 + 1e-12 for rate in found)
    if schedule == "constant":
        ramp = [min(1, (k + 1) / steps / (warmup * epochs)) if warmup else 1 for k in range(epochs * steps)]
        if not per_epoch:
            assert found == pytest.approx([0.3 * share for share in ramp])


# ---- augmentation


shapes = st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
seeds = st.integers(0, 2**32 - 1)


def images_of(shape, dtype, seed):
    drawn = torch.randint(1, 256, shape, generator=Generator().manual_seed(seed))
    return drawn.to(dtype) if dtype == WHOLE else drawn / 255


@given(shape=shapes, pad=st.integers(0, 4), seed=seeds, dtype=st.sampled_from([FLOAT, WHOLE]))
def test_a_crop_is_a_window_of_the_padded_image(shape, pad, seed, dtype):
    images = images_of(shape, dtype, seed)
    before = images.clone()
    cropped = crop(images, pad, Generator().manual_seed(seed))
    assert images.equal(before)
    assert cropped.shape == images.shape and cropped.dtype == dtype
    padded = F.pad(images, (pad,) * 4)
    height, width = shape[2:]
    for image, whole in zip(cropped, padded, strict=True):
        windows = whole.unfold(1, height, 1).unfold(2, width, 1)
        assert (windows == image[:, None, None]).all(-1).all(-1).all(0).any()


def test_every_shift_is_as_likely():
    images = torch.zeros(9000, 1, 5, 5)
    images[:, :, 2, 2] = 1
    where = crop(images, 1, Generator().manual_seed(0)).mean(0)[0]
    assert where.sum() == pytest.approx(1)
    torch.testing.assert_close(where[1:4, 1:4], torch.full((3, 3), 1 / 9), atol=0.015, rtol=0)


def test_frames_of_a_clip_are_cropped_and_flipped_together():
    frame = torch.rand(6, 2, 1, 5, 5)
    clip = frame.expand(6, 2, 4, 5, 5)
    for change in (lambda x, g: crop(x, 2, g), flip):
        moved = change(clip, Generator().manual_seed(1))
        assert moved.equal(moved[:, :, :1].expand_as(moved)) and not moved.equal(clip)


@given(shape=shapes, seed=seeds, dtype=st.sampled_from([FLOAT, WHOLE]))
def test_a_flip_undoes_itself(shape, seed, dtype):
    images = images_of(shape, dtype, seed)
    once = flip(images, Generator().manual_seed(seed))
    assert flip(once, Generator().manual_seed(seed)).equal(images)
    assert once.shape == images.shape and once.dtype == dtype
    for image, original in zip(once, images, strict=True):
        assert image.equal(original) or image.equal(original.flip(-1))


def test_half_are_flipped():
    ramp = torch.arange(4.0).expand(10_000, 1, 1, 4)
    share = (flip(ramp, Generator().manual_seed(0))[:, 0, 0, 0] == 3).double().mean()
    assert share.item() == pytest.approx(0.5, abs=0.02)


def test_a_crop_needs_an_image():
    for images, pad in ((torch.zeros(3, 4), 1), (torch.zeros(3, 1, 4, 4), -1)):
        with pytest.raises(ValueError, match=r"expected pad >= 0 and \(n, \.\.\., h, w\)"):
            crop(images, pad, Generator())


# ---- prediction


def test_prediction_is_the_model_in_evaluation_mode():
    model = seeded(0, small_net)
    fit(model, random_data(), Recipe(epochs=1))
    model.train()
    model[1].eval()  # a part that its owner wants so
    images = random_data(30)[0]
    found = predict(model, images, batch=7)
    assert [m.training for m in model] == [True, False, True, True, True, True] and model.training
    model.eval()
    torch.testing.assert_close(found, model(images / 255).detach())
    torch.testing.assert_close(found, predict(model, images.float() / 255, batch=30))
    torch.testing.assert_close(found[4:5], predict(model, images[4:5]))
    assert predict(model, images[:0]).shape == (0, 3)
    (found @ torch.ones(3, requires_grad=True)).sum().backward()  # no inference tensor


def test_the_mode_comes_back_after_an_error():
    model = small_net().train()
    with pytest.raises(RuntimeError):
        predict(model, torch.rand(2, 5, 6, 6))
    assert all(m.training for m in model.modules())


def test_accuracy_counts():
    model = nn.Identity()
    logits = torch.eye(3)[[0, 1, 2, 0]]
    assert accuracy(model, logits, torch.tensor([0, 1, 2, 2])) == 0.75
    for images, labels in ((logits, torch.zeros(3).long()), (logits[:0], torch.zeros(0).long())):
        with pytest.raises(ValueError, match="images with labels of shape"):
            accuracy(model, images, labels)


def test_a_double_precision_model_gets_doubles():
    model, (images, labels) = linear_net().double(), random_data()
    assert predict(model, images).dtype == torch.float64
    fit(model, (images, labels), Recipe(epochs=1))
    assert {p.dtype for p in model.parameters()} == {torch.float64}


# ---- what is refused


X, Y = random_data(6)
ONE, FAR = torch.ones(6, 1, 6, 6), torch.full((6, 1, 6, 6), 255.0)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ((X.numpy(), Y.numpy()), TypeError, "train data are ndarray and ndarray, expected tensors"),
        ((X.int(), Y), TypeError, "images are torch.int32, expected uint8 or floating"),
        ((X, Y.float()), TypeError, "labels are torch.float32, expected torch.int64"),
        ((X, Y[:5]), ValueError, r"shape \(6, 1, 6, 6\), labels \(5,\)"),
        ((X[:0], Y[:0]), ValueError, "with n > 0"),
        ((X[:, 0, 0, 0], Y), ValueError, r"images have shape \(6,\)"),
        (
            (torch.zeros(6, 8, 8, 3, dtype=WHOLE), Y),
            ValueError,
            r"channels come first: images.movedim\(-1, 1\)",
        ),
        ((FAR, Y), ValueError, r"reach from 255 to 255; give uint8, or values in \[0, 1\]"),
        ((-ONE, Y), ValueError, "reach from -1 to -1"),
        ((ONE * math.nan, Y), ValueError, "not finite"),
        ((X, Y + 1), ValueError, "labels reach from 1 to 3; the model knows classes 0 to 2"),
        ((X, Y - 1), ValueError, "labels reach from -1 to 1"),
    ],
)
def test_data_that_do_not_fit(data, error, words):
    with pytest.raises(error, match=words):
        fit(linear_net(), data, Recipe(epochs=1))
    with pytest.raises(error, match=words.replace("train", "test")):
        fit(linear_net(), (X, Y), Recipe(epochs=1), test=data)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "half"}, "precision = 'half' is not one of float32, bf16"),
        ({"recipe": Recipe(epochs=1, keep_best=True)}, "needs test data"),
        ({"sampler": lambda e, g: torch.tensor([0, 6])}, "indices 0 to 6, expected 0 to 5"),
        ({"sampler": lambda e, g: torch.tensor([-1])}, "indices -1 to -1"),
        ({"sampler": lambda e, g: torch.rand(6)}, r"sampler gave torch.float32 of shape \(6,\)"),
        ({"sampler": lambda e, g: torch.arange(0)}, r"of shape \(0,\)"),
        ({"loss": lambda z, y, e: z.sum(1)}, r"loss has shape \(6,\), expected one number"),
        ({"model": nn.Conv2d(1, 3, 3)}, r"model made \(1, 3, 4, 4\) of one image"),
    ],
)
def test_calls_that_make_no_sense(options, words):
    asked = {"model": linear_net(), "recipe": Recipe(epochs=1)} | options
    with pytest.raises(ValueError, match=words):
        fit(train=(X, Y), **asked)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(tmp_path):
    def loss(logits, labels, epoch):
        calls.append(epoch)
        return F.cross_entropy(logits, labels) / (len(calls) != 10)

    calls, file, recipe = [], tmp_path / "run.pt", Recipe(epochs=4, batch=10, lr=0.25)
    model = seeded(0, linear_net)
    with pytest.raises(FloatingPointError, match=r"ceased to be finite in epoch 2, step 1 of 4, lr = 0\.25"):
        fit(model, random_data(), recipe, loss=loss, checkpoint=file)
    history = fit(model, random_data(), recipe, checkpoint=file)
    expected = seeded(0, linear_net)
    assert plain(fit(expected, random_data(), recipe)) == plain(history)
    assert content(expected) == content(model)


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    """A square root at zero has a finite value and an infinite slope; here in the last step of an epoch."""

    def loss(logits, labels, epoch):
        calls.append(epoch)
        mean = F.cross_entropy(logits, labels)
        return mean if len(calls) != 12 else mean + (logits - logits.detach()).sum().sqrt()

    calls, file, recipe = [], tmp_path / "run.pt", Recipe(epochs=4, batch=10, lr=0.25)
    with pytest.raises(FloatingPointError, match="ceased to be finite in epoch 2, though the loss did not"):
        fit(seeded(0, linear_net), random_data(), recipe, loss=loss, checkpoint=file)
    model, expected = seeded(0, linear_net), seeded(0, linear_net)
    history = fit(model, random_data(), recipe, checkpoint=file)
    assert plain(fit(expected, random_data(), recipe)) == plain(history)
    assert content(expected) == content(model)


@pytest.mark.parametrize(
    "field",
    [
        *(
            {"epochs": 0},
            {"batch": 0},
            {"batch": 64.5},
            {"epochs": 1.5},
            {"pad": 1.5},
            {"test_every": 1.5},
            {"optimiser": "sgd"},
            {"lr": 0.0},
            {"lr": math.inf},
            {"momentum": 1.0},
        ),
        *({"nesterov": True, "momentum": 0.0}, {"weight_decay": -1.0}, {"schedule": "linear"}),
        *({"schedule": "steps", "milestones": (3, 2)}, {"milestones": (2,)}, {"factor": 0.0}),
        *({"warmup": 9.0}, {"pad": -1}, {"test_every": 0}, {"lr": math.nan}),
    ],
    ids=str,
)
def test_recipes_that_make_no_sense(field):
    with pytest.raises(ValueError, match="|".join(f"{name} = " for name in field)):
        Recipe(**{"epochs": 5, **field})


def test_the_examples_run():
    for module in (training, recipe):
        assert doctest.testmod(module).failed == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_trained():
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="device = 'cuda', but PyTorch finds no GPU here; 'cpu' would do"):
        fit(model, (torch.rand(4, 2), torch.tensor([0, 1, 0, 1])), Recipe(epochs=1), device="cuda")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
