"""Designed sequences: equation 6 by either way, whatever the block."""

import pytest
import torch

from saccade_lib import design, sequences
from saccade_lib.design import Grid
from saccade_lib.models import avp
from saccade_lib.retrieval import Database
from saccade_lib.sequences import Cached, Plain, Settings

CONFIG = avp.Config(4, 3, side=16, size=4, stride=4, width=4, features=8)  # no overlap


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    g = avp.Avp(CONFIG).eval()
    g.temperature.copy_(torch.tensor([1.0, 0.5, 2.0, 0.25, 0.7]))
    return g, Database(torch.rand(6, 3, 16, 16), torch.arange(6), g.grid, True, 1)


QUERY = torch.linspace(0, 1, 3 * 16 * 16).view(3, 16, 16)


@pytest.mark.parametrize("seen", [[], [5], [5, 0], [5, 5, 9]])
def test_kept_embeddings_give_what_the_plain_loop_gives(made, seen):
    """Where glimpses do not overlap; else the pasted pixels make a difference."""
    g, base = made
    candidates = torch.tensor([0, 5, 6, 7, 30, 107, 80])
    weights = torch.rand(7).softmax(dim=0)
    at = torch.tensor(seen, dtype=torch.long)
    fast, plain = Cached(g, base), Plain(g, base)
    one, other = (s.epe(QUERY, at, candidates, weights) for s in (fast, plain))
    assert torch.allclose(one, other, atol=1e-5)
    assert fast.evaluations == plain.evaluations == 7 * 16
    asked = g.about(torch.tensor([0, 1, 0, 1]))  # an attribute of the four classes
    fast, plain = Cached(asked, base), Plain(asked, base)
    two, other = (s.epe(QUERY, at, candidates, weights) for s in (fast, plain))
    assert torch.allclose(two, other, atol=1e-5) and (two < one).all()


def test_equation_6_is_the_weighted_mean_of_entropies(made):
    g, base = made
    weights, at = torch.tensor([0.25, 0.75]), torch.tensor([3])
    found = Cached(g, base).epe(QUERY, at, torch.tensor([1, 20]), weights)
    known = g.grid.views[3]
    images = torch.where(known, QUERY, base.candidates(torch.tensor([1, 20])))
    for place in (0, 3, 7):
        both = torch.tensor([[3, place]] * 2)
        H = design.entropy(g.predict(images, both).probabilities)
        assert torch.isclose(found[place], weights @ H, atol=1e-5)
    now = design.entropy(g.predict(QUERY[None], at[None]).probabilities)[0]
    assert torch.isclose(found[3], now, atol=1e-5)  # a second look brings nothing


def test_a_sequence_does_not_depend_on_its_neighbours(made):
    g, base = made
    scorer, settings = Cached(g, base), Settings(ess=8, completions=8)
    first = sequences.first_map(scorer, settings)
    ids, images = torch.tensor([2, 40, 41]), torch.rand(3, 3, 16, 16)
    whole = sequences.design_sequences(
        scorer, images, ids, base.own(ids), first, settings
    )
    one = sequences.design_sequences(
        scorer, images[1:2], ids[1:2], base.own(ids[1:2]), first, settings
    )
    for name, value in whole.items():
        assert torch.allclose(value[1:2], one[name], atol=1e-4), name
    for t in range(1, 5):
        epe, before = whole["maps"][:, t], whole["places"][:, :t]
        assert torch.equal(
            sequences.next_place(epe, before)[:, 0], whole["places"][:, t]
        )
    assert all(len(row.unique()) == 5 for row in whole["places"])
    assert (whole["places"][:, 0] == first.argmin()).all()
    assert torch.allclose(whole["ess"], torch.full((3, 4), 8.0), rtol=0.01)
    taken = whole["candidates"][0][whole["weights"][0] > 0] % base.M
    assert 2 not in taken


def test_the_first_map_is_the_mean_over_the_database(made):
    g, base = made
    scorer = Cached(g, base)
    found = sequences.first_map(scorer, Settings())
    for place in (0, 9):
        p = g.predict(base.images, torch.full((6, 1), place)).probabilities
        assert torch.isclose(found[place], design.entropy(p).mean(), atol=1e-5)


def test_the_next_place_is_new_and_the_first_among_equals():
    epe = torch.tensor([[0.1, 0.3, 0.2, 0.2]])
    assert sequences.next_place(epe, torch.tensor([[0]])).tolist() == [[2]]
    assert sequences.next_place(epe, torch.tensor([[0, 2]])).tolist() == [[3]]


def test_statistics_of_sequences():
    grid = Grid(8, 4, 4)
    places = torch.tensor([[0, 1], [0, 0], [0, 3], [0, 2]])
    found = sequences.statistics(places, grid)
    assert found["entropy"] == [0.0, 2.0] and found["most_frequent"][0] == (0, 4)
    assert found["repeats"] == 1 and found["covered"] == (3 * 0.5 + 0.25) / 4


def test_parts_are_inside_a_glimpse_or_not():
    grid = Grid(8, 4, 4)
    parts = torch.tensor([[[-0.5, -0.5], [0.9, 0.9], [-0.9, -0.1]]])
    visible = torch.tensor([[True, True, False]])
    found = sequences.contained(grid, torch.tensor([[0, 1]]), parts, visible)
    assert found.tolist() == [[True, False, False]]


def test_random_places_are_different_ones(made):
    places = sequences.random_places(made[0], 50, 0)
    assert all(len(row.unique()) == 5 for row in places)


def test_bad_input_is_explained(made):
    with pytest.raises(ValueError, match="at least 2 glimpses"):
        Settings(glimpses=1)
    g = avp.Avp(avp.Config(4, side=16, size=4, stride=4, width=4, network="cnn"))
    with pytest.raises(ValueError, match="a cnn keeps nothing"):
        Cached(g, made[1])
