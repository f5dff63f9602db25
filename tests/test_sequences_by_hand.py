"""Sequences that no designer made: by hand from a bird's parts, and likely places."""

import pytest
import torch

from saccade_lib import sequences
from saccade_lib.data import birds, door, image_sets
from saccade_lib.design import Grid

GRID = Grid(32, 8, 4)  # 7 x 7 places


@pytest.fixture(scope="module")
def some():
    return image_sets.of_birds(birds.drawn(), "validation", 32)


def test_a_hand_made_sequence_is_on_the_parts_in_order(some):
    places = sequences.by_hand(some, GRID, 0)
    at = GRID.locations[places]  # (N, 5, 2)
    names = some.part_names
    for t, group in enumerate(sequences.BY_HAND):
        inside = []
        for name in group:
            k = names.index(name)
            gap = (some.parts[:, k] - at[:, t]).abs().amax(dim=1)
            inside.append((gap <= GRID.size / GRID.side) & some.visible[:, k])
        # One of the group, or, with all of it hidden, some other visible part.
        there = torch.stack(inside).any(dim=0)
        shown = torch.stack([some.visible[:, names.index(n)] for n in group]).any(dim=0)
        assert there[shown].all()


def test_a_hidden_part_is_replaced_by_one_that_is_seen(some):
    k = some.part_names.index("belly")
    hidden = some.take(torch.arange(20))
    hidden.visible[:, k] = False
    at = GRID.locations[sequences.by_hand(hidden, GRID, 0)[:, 3]]  # (N, 2)
    gap = (hidden.parts - at[:, None]).abs().amax(dim=2)  # (N, P)
    assert ((gap <= GRID.size / GRID.side) & hidden.visible).any(dim=1).all()
    chosen = {tuple(row) for row in at.tolist()}
    assert len(chosen) > 3  # not always the same one


def test_by_hand_needs_a_birds_parts(some):
    digits = image_sets.of_digits(door._embedded_digits(), "validation")
    with pytest.raises(ValueError, match="lack parts"):
        sequences.by_hand(digits, Grid(28, 8, 4), 0)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_concentrated_map_has_the_entropy_that_is_asked_for(share):
    map = torch.rand(169, generator=torch.Generator().manual_seed(0)) * 0.1 + 3
    p = sequences.concentrated(map, share)
    entropy = -(p * p.clamp_min(1e-30).log()).sum() / torch.tensor(169.0).log()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert entropy.item() == pytest.approx(share, abs=1e-3)
    assert p.argmax() == map.argmin()
    with pytest.raises(ValueError, match="between 0 and 1"):
        sequences.concentrated(map, 1.0)
