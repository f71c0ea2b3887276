"""The exemplar bank: a hand-computed selection, and what every rule owes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from thesislib.dual_phase.exemplar_bank import RULES, alternating, exemplar_bank, herding

POINTS = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1], [10, 10], [0.5, 0.4]])


def test_selection_by_hand():
    bank = alternating(POINTS, [torch.arange(6)], 3, torch.Generator())
    first, second = bank.prototypes[0][0], bank.prototypes[1][0]
    torch.testing.assert_close(first, torch.tensor([2.083333, 2.066667]), atol=1e-6, rtol=0)
    torch.testing.assert_close(second, torch.tensor([0.833333, 0.466667]), atol=1e-6, rtol=0)
    assert bank.indices.tolist() == [1, 3, 5]
    assert len(bank.selected) == 1  # stable after one update


@given(st.integers(0, 999), st.integers(1, 8))
def test_no_round_of_the_alternation_increases_its_objective(seed, size):
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed))
    bank = alternating(features, [torch.arange(20)], size, torch.Generator())
    objective = [
        (features[chosen] - bank.prototypes[k][0]).square().sum() for k, chosen in enumerate(bank.selected)
    ]
    settled = (features[bank.indices] - bank.prototypes[-1][0]).square().sum()
    values = torch.stack([*objective, settled])
    assert (values.diff() <= 1e-5).all()
    torch.testing.assert_close(bank.prototypes[-1][0], features[bank.indices].mean(0))


@given(st.sampled_from(list(RULES)), st.lists(st.integers(1, 12), min_size=2, max_size=4), st.integers(1, 9))
def test_every_rule_takes_so_many_of_each_class_or_all_it_has(rule, counts, size):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    generator = torch.Generator().manual_seed(sum(counts))
    order = torch.randperm(len(labels), generator=generator)
    labels = labels[order]
    features = torch.randn(len(labels), 3, generator=generator)
    bank = exemplar_bank(features, labels, size, rule)
    assert len(bank.indices.unique()) == len(bank.indices)
    taken = torch.bincount(labels[bank.indices], minlength=len(counts)).tolist()
    assert taken == [min(size, n) for n in counts]
    # Only directions count. Times 8 rounds nothing: of two images neither is nearer to their mean but by rounding.
    again = exemplar_bank(8 * features, labels, size, rule)
    assert torch.equal(again.indices, bank.indices)


def test_herding_against_the_definition():
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    mean, chosen = features.mean(0), []
    for _ in range(4):
        rest = [k for k in range(9) if k not in chosen]
        chosen.append(min(rest, key=lambda k: (mean - features[[*chosen, k]].mean(0)).norm().item()))
    bank = herding(features, [torch.arange(9)], 4, torch.Generator())
    assert bank.indices.tolist() == sorted(chosen)


def test_discriminative_looks_at_the_other_class():
    # Of two images equally far from their prototype, the one away from the other class is the better example.
    angle = torch.deg2rad(torch.tensor([-20.0, 0.0, 20.0, 70.0, 90.0, 110.0]))
    features = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    bank = exemplar_bank(features, labels, 1, "discriminative")
    assert bank.selected[0].tolist() == [0, 5]
    assert exemplar_bank(features, labels, 1).indices.tolist() == [1, 4]


def test_random_depends_on_its_seed_alone():
    features, labels = F.normalize(torch.randn(30, 3), dim=1), torch.zeros(30, dtype=torch.int64)
    first, again, other = (exemplar_bank(features, labels, 5, "random", seed=s).indices for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_bad_input():
    labels = torch.zeros(6, dtype=torch.int64)
    for size in (0, 2.5):
        with pytest.raises(ValueError, match=f"size = {size}"):
            exemplar_bank(POINTS, labels, size)
    with pytest.raises(ValueError, match="6 of 6 features are NaN or infinite"):
        exemplar_bank(POINTS / 0, labels, 2)
    with pytest.raises(ValueError, match="'best' is not one of"):
        exemplar_bank(POINTS, labels, 2, "best")
    with pytest.raises(ValueError, match="labels"):
        exemplar_bank(POINTS, labels[:3], 2)
