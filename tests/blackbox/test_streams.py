"""Random streams: an image's numbers are its own, whoever is attacked beside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.blackbox.streams import Streams, _state

CPU = torch.device("cpu")
DRAWS = {
    "normal": lambda s, rows: s.normal(rows, (2, 3)),
    "directions": lambda s, rows: s.directions(rows, 2, 5),
    "coordinates": lambda s, rows: s.coordinates(rows, 9, 4),
    "choices": lambda s, rows: s.choices(rows, 9, 4),
}


def streams(seed, ids, dtype=torch.float64):
    return Streams(seed, ids, device=CPU, dtype=dtype)


@given(
    ids=st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 2**40),
    script=st.lists(st.tuples(st.sampled_from(sorted(DRAWS)), st.integers(0, 63)), min_size=1, max_size=6),
)
@settings(max_examples=60)
def test_an_image_draws_the_same_alone_and_in_any_company(ids, seed, script):
    together, alone = streams(seed, ids), {number: streams(seed, [number]) for number in ids}
    for kind, mask in script:  # each draw is for some of the images, in some order
        rows = [k for k in range(len(ids)) if mask >> k & 1]
        rows = rows[::-1] if mask % 2 else rows
        found = DRAWS[kind](together, torch.tensor(rows, dtype=torch.int64))
        assert len(found) == len(rows)
        for row, values in zip(rows, found, strict=True):
            assert torch.equal(values, DRAWS[kind](alone[ids[row]], torch.tensor([0]))[0])


@pytest.mark.parametrize("kind", DRAWS)
def test_images_seeds_and_calls_differ(kind):
    both = torch.tensor([0, 1])
    source = streams(3, [7, 8])
    first, second = DRAWS[kind](source, both), DRAWS[kind](source, both)
    other = DRAWS[kind](streams(4, [7, 8]), both)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first, DRAWS[kind](streams(3, [7, 8]), both))


def test_no_two_streams_share_a_state():
    states = {_state(seed, number) for seed in range(60) for number in range(60)}
    assert len(states) == 3600
    assert all(0 <= s < 2**63 for s in states)


def test_coordinates_are_without_replacement_and_all_alike():
    source, seen = streams(0, [0, 1]), torch.zeros(10)
    for _ in range(1000):
        drawn = source.coordinates(torch.tensor([0, 1]), 10, 3)
        assert drawn.dtype == torch.int64
        assert all(len(set(row)) == 3 for row in drawn.tolist())
        seen += drawn.flatten().bincount(minlength=10)
    expected = 6000 / 10
    assert ((seen - expected).abs() < 5 * expected**0.5).all()
    assert sorted(source.coordinates(torch.tensor([1]), 10, 10)[0].tolist()) == list(range(10))


def test_choices_are_with_replacement_and_all_alike():
    drawn = streams(0, [0]).choices(torch.tensor([0]), 5, 5000)[0]
    seen = drawn.bincount(minlength=5)
    assert len(seen) == 5 and ((seen - 1000).abs() < 150).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_are_unit_vectors_of_every_direction(dtype):
    drawn = streams(0, [0], dtype).directions(torch.tensor([0]), 20_000, 4)[0]
    assert drawn.dtype == dtype
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(20_000, dtype=dtype))
    assert drawn.mean(0).abs().max() < 5 * (0.25 / 20_000) ** 0.5
    second = drawn.T @ drawn / len(drawn)  # of a uniform direction: the identity over d
    torch.testing.assert_close(second, torch.eye(4, dtype=dtype) / 4, rtol=0, atol=0.01)


def test_normal_numbers_are_standard():
    drawn = streams(0, [0]).normal(torch.tensor([0]), (200, 100))
    assert drawn.shape == (1, 200, 100)
    assert drawn.mean().abs() < 0.03 and (drawn.var() - 1).abs() < 0.05


def test_nobody_else_notices():
    before = torch.get_rng_state()
    for draw in DRAWS.values():
        draw(streams(0, [0]), torch.tensor([0]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", DRAWS)
def test_no_image_draws_nothing_of_the_right_shape(kind):
    one, none = torch.tensor([0]), torch.tensor([], dtype=torch.int64)
    expected, found = DRAWS[kind](streams(0, [0]), one), DRAWS[kind](streams(0, [0]), none)
    assert found.shape == (0, *expected.shape[1:]) and found.dtype == expected.dtype
