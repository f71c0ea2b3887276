"""The counted victim: what the model is shown and what an attack is told, to the last query."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from thesislib.blackbox import BudgetExceeded, Victim


def randomly(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def moody():
    """A network whose answer depends on its mode: dropout, and running statistics that are not the batch's."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    model[1].running_mean += 0.3
    return model


class Recording:
    """A plain function that keeps what it was shown."""

    def __init__(self, answer):
        self.answer, self.shown = answer, []

    def __call__(self, images):
        self.shown.append(images.clone())
        return self.answer(images)

    @property
    def rows(self):
        return sum(map(len, self.shown))


def first_three(images):
    return images.flatten(1)[:, :3]


def test_the_model_answers_in_evaluation_mode_and_comes_back_as_it_was():
    model = moody().train()
    model[1].eval()  # frozen by its owner
    quiet = copy.deepcopy(model).eval()
    modes = {name: m.training for name, m in model.named_modules()}
    before = {name: t.clone() for name, t in model.state_dict().items()}
    seen = []
    model[3].register_forward_hook(
        lambda m, *_: seen.append((m.training, torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
    )
    images = randomly(5, 2, 5, 5)
    found = Victim(model).log_probabilities(images)
    torch.testing.assert_close(found, quiet(images).log_softmax(1).detach(), rtol=0, atol=1e-12)
    assert seen == [(False, True, False)]
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_modes_come_back_after_an_error():
    model = moody().train()
    model[1].eval()
    with pytest.raises(RuntimeError):
        Victim(model).log_probabilities(randomly(5, 3, 5, 5))  # three channels, not two
    assert [m.training for m in model] == [True, False, True, True, True, True]


def test_the_answer_can_be_used_in_automatic_differentiation():
    found = Victim(first_three).log_probabilities(randomly(2, 4))
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (found * weight).sum().backward()
    torch.testing.assert_close(weight.grad, found.sum()[None])


@given(
    scores=st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    shift=st.floats(-100, 100),
)
@settings(max_examples=60)
def test_logits_and_probabilities_give_the_same_log_probabilities(scores, shift):
    scores = torch.tensor(scores, dtype=torch.float64)
    moved = scores + shift
    assume((moved < 0).any() or ((moved.sum(1) - 1).abs() > 1e-3).any())  # or they are probabilities
    by_hand = scores - (scores.exp().sum(1, keepdim=True)).log()
    as_logits = Victim(lambda _: scores + shift).log_probabilities(scores)
    torch.testing.assert_close(as_logits, by_hand, rtol=0, atol=1e-10)
    as_probabilities = Victim(lambda _: scores.softmax(1), "probabilities").log_probabilities(scores)
    floored = (by_hand.exp() + 1e-30).log()
    torch.testing.assert_close(as_probabilities, floored, rtol=0, atol=1e-10)


def test_single_precision_logits_lose_nothing():
    scores = randomly(20, 7, dtype=torch.float32) * 20
    found = Victim(lambda _: scores).log_probabilities(scores)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, scores.double().log_softmax(1), rtol=0, atol=1e-14)


def test_a_probability_of_zero_is_floored_and_rounding_is_forgiven():
    given_ = torch.tensor([[0, 1, 0], [-1e-8, 0.4, 0.6004]], dtype=torch.float32)
    found = Victim(lambda _: given_, "probabilities").log_probabilities(given_)
    floor = torch.tensor(1e-30).log().item()
    expected = torch.tensor([[floor, 0, floor], [floor, *given_[1, 1:].double().log()]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_function_is_as_good_as_a_module():
    model, images = moody().eval(), randomly(9, 2, 5, 5)
    module = Victim(model).log_probabilities(images)
    function = Victim(lambda x: model(x)).log_probabilities(images)
    torch.testing.assert_close(module, function, rtol=0, atol=1e-12)


@given(n=st.integers(1, 40), chunk=st.integers(1, 50))
@settings(max_examples=60)
def test_chunks_are_even_and_no_larger_than_asked(n, chunk):
    images = randomly(n, 4, seed=n)
    model = Recording(first_three)
    found = Victim(model, chunk=chunk).log_probabilities(images)
    sizes = [len(part) for part in model.shown]
    assert max(sizes) <= chunk and max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-n // chunk)
    assert torch.equal(torch.cat(model.shown), images)
    torch.testing.assert_close(found, first_three(images).log_softmax(1), rtol=0, atol=1e-14)


@given(
    batches=st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=8),
    budget=st.one_of(st.none(), st.integers(0, 12)),
)
@settings(max_examples=80)
def test_each_query_is_counted_for_its_owner_and_the_budget_holds(batches, budget):
    model, images = Recording(first_three), randomly(4, 3)
    meter = Victim(model, budget=budget, chunk=3).open(images)
    counts = [0] * 4
    for owners in batches:
        owner = torch.tensor(owners, dtype=torch.int64)
        after = [counts[i] + owners.count(i) for i in range(4)]
        before = model.rows
        if budget is not None and max(after) > budget:
            guilty = next(i for i in range(4) if after[i] > budget)
            with pytest.raises(
                BudgetExceeded, match=rf"image {guilty}: {after[guilty]} queries, budget {budget}"
            ):
                meter.ask(images[owner], owner)
            assert model.rows == before
        else:
            meter.ask(images[owner], owner)
            counts = after
            assert model.rows == before + len(owners)
        assert meter.counts.tolist() == counts
        assert sum(counts) == model.rows
        if budget is not None:
            assert meter.left().tolist() == [budget - c for c in counts]
        else:
            assert (meter.left() > 1e18).all()


def test_every_query_has_an_owner():
    model, images = Recording(first_three), randomly(3, 3)
    meter = Victim(model).open(images)
    for owner in ([0, 1], [0, 1, 2, 2], [[0, 1, 2]]):
        with pytest.raises(ValueError, match="for 3 images, expected one each"):
            meter.ask(images, torch.tensor(owner))
    assert model.rows == 0


@pytest.mark.parametrize("chunk", [2, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_works_in_place_does_not_reach_the_images(chunk, channels):
    class InPlace(nn.Module):
        def forward(self, images):
            return images.sub_(0.5).flatten(1)[:, :3]

    images = randomly(5, channels, 2, 2)
    for model in (InPlace(), InPlace().forward):
        before = images.clone()
        found = Victim(model, chunk=chunk).log_probabilities(images)
        assert torch.equal(images, before)
        torch.testing.assert_close(found, first_three(images).log_softmax(1))


def test_two_attacks_on_one_victim_count_apart():
    victim, images = Victim(first_three, budget=2), randomly(2, 3)
    one, other = victim.open(images), victim.open(images)
    one.ask(images, torch.tensor([0, 0]))
    other.ask(images, torch.tensor([0, 1]))
    assert one.counts.tolist() == [2, 0] and other.counts.tolist() == [1, 1]


def test_no_image_is_no_call():
    model = Recording(first_three)
    assert len(Victim(model).log_probabilities(randomly(0, 3))) == 0
    assert model.shown == []


def answering(value):
    return lambda images: value.expand(len(images), -1) if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        (answering(torch.tensor([0.0, torch.nan])), "logits", "logits that are not finite"),
        (answering(torch.tensor([0.0, torch.inf])), "logits", "logits that are not finite"),
        (answering(torch.tensor([0.5, torch.nan])), "probabilities", "probabilities that are not finite"),
        (lambda x: x.mean(1), "logits", r"returned \(2,\) for 2 images, expected \(n, classes\)"),
        (lambda x: x[:1], "logits", r"returned \(1, 4\) for 2 images"),
        (lambda x: x[:, :, None], "logits", r"returned \(2, 4, 1\) for 2 images"),
        (lambda x: x.tolist(), "logits", "returned list for 2 images"),
        (answering(torch.tensor([0.5, 0.4])), "probabilities", "do not sum to one .one row: 0.9"),
        (answering(torch.tensor([1.2, -0.2])), "probabilities", "negative"),
        (answering(torch.tensor([3.0, -1.0])), "probabilities", "give output='logits'"),
        (
            answering(torch.tensor([0.3, 0.7])),
            "logits",
            "sum to one where logits .* give output='probabilities'",
        ),
        (lambda x: x.flatten(1).softmax(1).float(), "logits", "give output='probabilities'"),
        (lambda x: x[:, :1], "logits", r"returned \(2, 1\) .* at least 2 classes; stack \[1 - p, p\]"),
        (lambda x: x[:, :1], "probabilities", r"at least 2 classes; stack \[1 - p, p\] of .* or \[0, z\]"),
        (lambda x: x.mean(1), "logits", r"expected \(n, classes\); stack \[1 - p, p\]"),
    ],
)
def test_an_answer_that_is_none_is_refused(model, output, message):
    with pytest.raises(ValueError, match=message):
        Victim(model, output).log_probabilities(randomly(2, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 3}, "model is int, expected a module or a function"),
        ({"output": "scores"}, "output = 'scores', expected 'logits' or 'probabilities'"),
        ({"budget": -1}, "budget = -1, expected None or a number"),
        ({"chunk": 0}, "chunk = 0, expected at least 1"),
        ({"chunk": 1.5}, "chunk = 1.5, expected at least 1 image, a whole number"),
        ({"chunk": "a"}, "chunk = 'a', expected at least 1"),
        ({"budget": 10.5}, "budget = 10.5, expected None or a number"),
        ({"budget": "100"}, "budget = '100', expected None or a number"),
    ],
)
def test_a_victim_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Victim(**{"model": first_three, **options})


class Viewing(nn.Module):
    """A network that flattens by `view`, and the times it was started."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.line, self.starts = nn.Conv2d(3, 4, 3), nn.Linear(4 * 4 * 4, 3), 0

    def forward(self, images):
        self.starts += 1
        flow = self.conv(images)
        return self.line(flow.view(len(flow), -1))


def test_a_colour_network_may_flatten_by_view():
    model, images = Viewing(), randomly(5, 3, 6, 6, dtype=torch.float32)
    with torch.no_grad():
        expected = model(images).double().log_softmax(1)
    model.starts, victim = 0, Victim(model, chunk=2)
    meter = victim.open(images)
    owner = torch.tensor([0, 0, 1, 4, 4])
    for asked, starts in ((1, 4), (2, 3)):  # three chunks; the first try in the fast layout is the last
        torch.testing.assert_close(meter.ask(images, owner), expected, rtol=0, atol=1e-5)
        assert meter.counts.tolist() == [2 * asked, asked, 0, 0, 2 * asked]
        assert model.starts == starts
        model.starts = 0
    assert victim == Victim(model, chunk=2)


def test_other_errors_of_a_model_are_its_own():
    class Broken(nn.Module):
        starts = 0

        def forward(self, images):
            self.starts += 1
            raise RuntimeError("mine")

    model = Broken()
    with pytest.raises(RuntimeError, match=r"^mine$"):
        Victim(model).log_probabilities(randomly(2, 3, 4, 4))
    assert model.starts == 1


def test_a_module_whose_layout_is_no_matter_is_shown_channels_last():
    seen = []

    class Looking(nn.Module):
        def forward(self, images):
            seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return images.flatten(1)[:, :3]

    Victim(Looking()).log_probabilities(randomly(2, 3, 4, 4))
    assert seen == [True]


def test_chance_or_a_bare_class_is_no_softmax():
    rows = torch.tensor([[0.5, 0.5], [0.2, 0.7]], dtype=torch.float64)
    victim = Victim(lambda x: rows[: len(x)])
    victim.log_probabilities(randomly(2, 4))  # one of two rows sums to one
    torch.testing.assert_close(victim.log_probabilities(randomly(1, 4)), rows[:1].log_softmax(1))
    bare = Victim(lambda x: nn.functional.one_hot(x.argmax(1), 4).float())
    assert bare.log_probabilities(randomly(3, 4)).shape == (3, 4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_query_that_is_not_finite_is_the_attack_s_fault(value):
    model, images = Recording(lambda x: x.nan_to_num().clamp(-1, 1)), randomly(3, 4)
    meter = Victim(model).open(images)
    images[1, 2] = value
    with pytest.raises(ValueError, match="the attack asks about images that are not finite"):
        meter.ask(images, torch.arange(3))
    assert model.rows == 0 and meter.counts.tolist() == [0, 0, 0]


def test_an_answer_that_is_not_finite_names_the_image():
    nan_for_black = Victim(
        lambda x: x.mean((1, 2, 3))[:, None] * torch.tensor([1.0, 2.0]) / (x.sum((1, 2, 3)) > 0)[:, None]
    )
    some = torch.stack([torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    with pytest.raises(ValueError, match="image 7: the victim returned logits that are not finite"):
        nan_for_black.open(torch.zeros(9, 1, 2, 2)).ask(some, torch.tensor([3, 7, 7]))


def test_an_error_after_the_first_answer_comes_as_it_is():
    class Tired:
        left = 1

        def __call__(self, images):
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("mine")
            return images

    meter = Victim(Tired()).open(randomly(2, 4))
    meter.ask(randomly(2, 4), torch.arange(2))
    with pytest.raises(RuntimeError, match=r"^mine$"):
        meter.ask(randomly(2, 4), torch.arange(2))


def test_too_little_memory_is_not_the_images_fault():
    def full(_):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        Victim(full).open(randomly(2, 4)).ask(randomly(2, 4), torch.arange(2))
