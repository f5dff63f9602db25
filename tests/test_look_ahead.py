"""Two glimpses ahead against enumeration; labels; fewer places."""

import pytest
import torch

from saccade_lib import design, look_ahead, sequences, toy_designs
from saccade_lib.look_ahead import (
    Ahead,
    Labelled,
    coarse_to_fine,
    heated,
    two_ahead,
    weighed_again,
)
from saccade_lib.models.avp import Avp, Config
from saccade_lib.retrieval import Database
from saccade_lib.sequences import Cached, Settings

INF = torch.inf


def from_completions(bed):
    """Two ahead of a bed by `two_ahead`, all of its images being completions."""
    weights, pixels = bed.images(), bed.patches  # (M,), (L, M)
    L, M = pixels.shape
    agree = pixels[:, :, None] == pixels[:, None]  # (L, M, M)
    again = design.normalised(weights * agree)
    after = weights.new_zeros(L, M, L)
    for place in range(L):
        of_patch = bed.after((place,))  # a bed for each patch
        H = design.entropy(of_patch.posteriors())  # (V, L, M)
        after[place] = H[pixels[place], :, torch.arange(M)]
    possible = (weights > 0)[:, None]
    return two_ahead(weights, again, torch.where(possible, after, 0))


@pytest.mark.parametrize("history", [(), ((5, 1),), ((0, 0), (3, 1))])
def test_two_ahead_of_completions_is_two_ahead_of_the_bed(history):
    bed = toy_designs.gamma_bed().given(history)
    exact = bed.look_ahead(2) / bed.joint.sum()
    torch.testing.assert_close(from_completions(bed), exact, atol=1e-12, rtol=0)


def test_two_ahead_leaves_out_what_is_no_choice_and_refuses_other_shapes():
    weights, again = torch.tensor([0.5, 0.5]), torch.eye(2).expand(1, 2, 2)
    after = torch.tensor([[[0.1, INF, 0.6], [0.7, INF, 0.3]]])
    assert two_ahead(weights, again, after).item() == pytest.approx(0.2)
    apart = weights.expand(1, 2, 2)  # nothing is learned from the first patch
    assert two_ahead(weights, apart, after).item() == pytest.approx(0.4)
    with pytest.raises(ValueError, match="expected weights"):
        two_ahead(weights, again, after[:, :1])


def test_no_completion_completes_itself_and_copies_count():
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(5, 4, generator=draw)
    d = torch.cdist(x, x).square()[None]
    weights = torch.tensor([2.0, 1, 1, 1, 1]) / 6
    again = weighed_again(d, weights, 2.0)
    assert again.shape == (1, 5, 5)
    assert (again.diagonal(dim1=1, dim2=2) == 0).all()
    torch.testing.assert_close(again.sum(dim=2), torch.ones(1, 5))
    copies = torch.tensor([0, 0, 1, 2, 3, 4])
    each = again[0, 1][copies] / torch.tensor([2, 2, 1, 1, 1, 1])
    assert 1 / each.square().sum() == pytest.approx(2.0, rel=1e-2)
    assert again[0, 1].argmax() == d[0, 1].masked_fill(torch.eye(5)[1] > 0, 9).argmin()
    alone = weighed_again(d[:, :1, :1], torch.ones(1), 2.0)
    assert alone.tolist() == [[[1.0]]]


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    g = Avp(Config(4, 1, side=12, size=4, stride=4, glimpses=3, features=16, width=4))
    g.temperature.copy_(torch.tensor([1.5, 0.8, 0.6]))
    for p in g.parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=0.4)
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(40, 1, 12, 12, generator=draw)
    base = Database(images, torch.arange(40), g.grid)
    return g.eval(), base, torch.randint(4, (40,), generator=draw)


def test_the_scorer_is_the_formula_and_counts_what_it_reads(parts):
    g, base, _ = parts
    image, seen = base.images[7], torch.tensor([4])
    candidates, weights = (
        torch.tensor([1, 2, 3, 9]),
        torch.tensor([0.5, 0.25, 0.125, 0.125]),
    )
    scorer = Ahead(Cached(g, base), 3, keep=3, ess=2.0)
    found = scorer.epe(image, seen, candidates, weights)
    one = Cached(g, base).epe(image, seen, candidates, weights)
    tried = one.scatter(0, seen, INF).argsort()[:3]
    assert (
        torch.isfinite(found).nonzero()[:, 0].tolist() == tried.sort().values.tolist()
    )
    assert scorer.evaluations == 4 * 9 * (1 + 3)
    made = torch.where(g.grid.views[4], image, base.candidates(candidates))
    for place in tried.tolist():
        after = torch.full((1, 4, 9), INF)
        for other in set(range(9)) - {4, place}:
            at = torch.tensor([[4, place, other]]).expand(4, -1)
            with torch.no_grad():
                after[0, :, other] = design.entropy(g(made, at).softmax(dim=1))
        patches = g.grid.patches(base.candidates(candidates), torch.full((4, 1), place))
        flat = patches.flatten(1)
        d = (flat[:, None] - flat).square().sum(dim=2)[None]
        again = weighed_again(d, weights, 2.0)
        value = two_ahead(weights, again, after)[0]
        torch.testing.assert_close(found[place], value, atol=1e-4, rtol=1e-4)


def test_the_last_glimpse_is_planned_as_ever_and_a_sequence_has_no_repeats(parts):
    g, base, _ = parts
    scorer = Ahead(Cached(g, base), 3, keep=2, ess=None)
    two = torch.tensor([0, 4])
    given = base.images[0], two, torch.tensor([5, 6]), torch.tensor([0.5, 0.5])
    assert torch.equal(scorer.epe(*given), Cached(g, base).epe(*given))
    settings = Settings(glimpses=3, completions=8, ess=4.0)
    some, own = base.images[:6], base.own(torch.arange(6))
    first = scorer.first_map(20)
    assert torch.isfinite(first).sum() == 2
    made = sequences.design_sequences(
        scorer, some, torch.arange(6), own, first, settings
    )
    assert all(len(row.unique()) == 3 for row in made["places"])
    with pytest.raises(ValueError, match="1 or more"):
        Ahead(Cached(g, base), 3, keep=0)


def test_labels_give_the_cross_entropy_and_the_entropy_of_the_plain_scorer(parts):
    g, base, labels = parts
    image, seen = base.images[7], torch.tensor([4, 0])
    candidates, weights = torch.tensor([1, 2, 3]), torch.tensor([0.5, 0.25, 0.25])
    for at in (seen[:0], seen):
        scorer = Labelled(Cached(g, base), labels)
        H, crossed = scorer.both(image, at, candidates, weights)
        plain = Cached(g, base)
        wanted = plain.epe(image, at, candidates, weights)
        torch.testing.assert_close(H, wanted, atol=1e-5, rtol=1e-5)
        assert scorer.evaluations == plain.evaluations == 27
        assert torch.equal(crossed, scorer.epe(image, at, candidates, weights))
    made = torch.where(
        g.grid.views[seen].any(dim=0), image, base.candidates(candidates)
    )
    at = torch.cat((seen, torch.tensor([8]))).expand(3, -1)
    log_g = g(made, at).log_softmax(dim=1).gather(1, labels[candidates][:, None])[:, 0]
    torch.testing.assert_close(crossed[8], -weights @ log_g, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="a label for each"):
        Labelled(Cached(g, base), labels[1:])


def test_a_heated_network_is_less_sure_and_leaves_the_first_alone(parts):
    g, base, _ = parts
    at, before = torch.tensor([[1, 2]]), g.temperature.clone()
    H, scorer = [], Cached(g, base)
    for factor in (0.5, 1.0, 2.0):
        hot = heated(scorer, factor)
        p = hot.g.predict(base.images[:1], at).probabilities
        H.append(float(design.entropy(p)))
        assert hot.content is scorer.content
    assert H[0] < H[1] < H[2] and torch.equal(g.temperature, before)
    with pytest.raises(ValueError, match="above 0"):
        heated(scorer, 0)


def test_coarse_to_fine_tries_no_more_than_it_says():
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(200, 13 * 13, generator=draw)
    places, tried = coarse_to_fine(maps, 13)
    assert (tried.sum(dim=1) <= 49 + 3 * 8).all() and tried.sum(dim=1).max() > 60
    assert tried.gather(1, places[:, None]).all()
    masked = maps.masked_fill(~tried, 2.0)
    assert torch.equal(places, masked.argmin(dim=1))
    line = torch.arange(6.0)
    bowl = (line[:, None] - 3) ** 2 + (line - 5) ** 2  # the lowest, off the coarse grid
    place, tried = coarse_to_fine(bowl.view(1, 36), 6)
    assert place.item() == 3 * 6 + 5
    shut = bowl.clone()
    shut[3, 5] = INF  # seen before
    place, _ = coarse_to_fine(shut.view(1, 36), 6)
    assert place.item() != 3 * 6 + 5
    with pytest.raises(ValueError, match="expected maps"):
        coarse_to_fine(maps, 12)


def test_seen_total_is_zero_before_anything_was_seen(parts):
    g, base, _ = parts
    nothing = torch.zeros(0, dtype=torch.long)
    total = look_ahead.seen_total(Cached(g, base), base.images[0], nothing)
    assert (total == 0).all()
