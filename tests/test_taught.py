"""Sequences belong to their images, mirrored or not."""

import pytest
import torch

from saccade_lib.data import birds, image_sets
from saccade_lib.data.taught import UNKNOWN, Taught
from saccade_lib.design import Grid

GRID = Grid(32, 8, 4)  # 7 x 7 places
T = 5


@pytest.fixture(scope="module")
def some():
    return image_sets.of_birds(birds.drawn(), "validation", 32)


def stream(some, split="train", known=None, **more):
    known = torch.full((len(some), T), UNKNOWN) if known is None else known
    even = torch.full((GRID.L,), 1 / GRID.L)
    spread = more.pop("spread", even)
    return Taught(some, split, lambda: (known, spread), GRID.n, **more)


def test_a_batch_is_a_function_of_its_index(some):
    drawing = stream(some, flip=True, seed=3)
    index = torch.tensor([5, 0, 70_000, 12])
    whole = drawing.batch(index)
    for k, i in enumerate(index):
        alone = drawing.batch(i[None])
        assert all(torch.equal(whole[name][k], alone[name][0]) for name in whole)
    other = stream(some, flip=True, seed=4).batch(index)
    assert not torch.equal(whole["image"], other["image"])


def test_what_a_place_shows_is_the_same_in_the_mirror(some):
    """The patch at a told place of a mirrored image is the mirrored patch."""
    draw = torch.Generator().manual_seed(0)
    known = torch.randint(GRID.L, (len(some), T), generator=draw)
    index = torch.arange(40)
    batch = stream(some, known=known, flip=True).batch(index)
    plain = stream(some, known=known).batch(index)
    patches, wanted = (GRID.patches(b["image"], b["places"]) for b in (batch, plain))
    mirrored = (batch["image"] != plain["image"]).flatten(1).any(dim=1)
    assert 8 < mirrored.sum() < 32
    assert torch.equal(patches[mirrored], wanted[mirrored].flip(-1))
    assert torch.equal(patches[~mirrored], wanted[~mirrored])


def test_an_image_without_a_sequence_has_none_in_the_mirror(some):
    known = torch.full((len(some), T), UNKNOWN)
    known[::2] = 3
    batch = stream(some, known=known, flip=True).batch(torch.arange(60))
    row = {3, GRID.n - 1 - 3, UNKNOWN}
    assert set(batch["places"].flatten().tolist()) == row


def test_drawn_places_follow_their_probabilities(some):
    spread = torch.zeros(GRID.L)
    spread[[2, 30]] = torch.tensor([0.25, 0.75])
    drawn = stream(some, spread=spread).batch(torch.arange(2_000))["drawn"]
    counts = drawn.flatten().bincount(minlength=GRID.L)
    assert counts[2] + counts[30] == counts.sum() == 10_000
    assert abs(counts[2].item() - 2_500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5


def test_bad_sequences_are_refused(some):
    known = torch.full((len(some), T), 4)
    with pytest.raises(ValueError, match="sequences of 96 images"):
        stream(some, known=known[1:]).batch(torch.arange(1))
    known[0, 2] = GRID.L
    with pytest.raises(ValueError, match="below 49"):
        stream(some, known=known).batch(torch.arange(1))
    known[0, 2] = UNKNOWN
    with pytest.raises(ValueError, match="whole or not at all"):
        stream(some, known=known).batch(torch.arange(1))
