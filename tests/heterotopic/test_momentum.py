"""The queue is first in, first out; the momentum encoder is an exponential average of the weights."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from thesislib.heterotopic.momentum import MomentumEncoder, Queue


@given(size=st.integers(1, 9), pushes=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_the_queue_holds_the_last_keys_pushed(size, pushes):
    queue = Queue(size, 2)
    stream = F.normalize(torch.randn(sum(pushes), 2, generator=torch.Generator().manual_seed(0)), dim=1)
    before = queue.keys.clone()
    for part in stream.split(pushes):
        queue.push(part)
    kept = min(size, len(stream))
    held = {tuple(row) for row in queue.keys.tolist()}
    assert {tuple(row) for row in stream[-kept:].tolist()} <= held
    # What is left of the random start is its end, which would be replaced next.
    assert held - {tuple(row) for row in stream.tolist()} == {tuple(row) for row in before[kept:].tolist()}


def test_keys_are_of_unit_length_and_never_carry_a_gradient():
    queue = Queue(8, 3)
    keys = F.normalize(torch.randn(5, 3, requires_grad=True), dim=1)
    queue.push(keys)
    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(8))
    assert not queue.keys.requires_grad and not list(queue.parameters())


def test_the_copy_follows_as_an_exponential_average():
    encoder = nn.Linear(2, 2)
    start = encoder.weight.detach().clone()
    slow = MomentumEncoder(encoder, 0.9)
    with torch.no_grad():
        encoder.weight += 1
    for _ in range(3):
        slow.follow(encoder)
    assert torch.allclose(slow.copy.weight, start + 1 - 0.9**3)
    assert not any(p.requires_grad for p in slow.parameters())
    assert not slow(torch.randn(4, 2, requires_grad=True)).requires_grad


def test_batch_statistics_of_the_copy_are_its_own():
    encoder = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    slow = MomentumEncoder(encoder, 0.5)
    encoder(torch.randn(16, 2) + 5)
    slow.follow(encoder)
    assert torch.equal(slow.copy[1].running_mean, torch.zeros(3))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"momentum = 1\.0; expected 0 to below 1"):
        MomentumEncoder(nn.Linear(1, 1), 1.0)
    with pytest.raises(ValueError, match="a queue of 0 keys of length 4"):
        Queue(0, 4)
    with pytest.raises(ValueError, match="another architecture"):
        MomentumEncoder(nn.Linear(1, 1), 0.5).follow(nn.Linear(1, 2))
