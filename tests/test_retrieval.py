"""Completions: exact distances, weights that are worth what was asked, no leak."""

from dataclasses import replace

import pytest
import torch

from saccade_lib import design, estimators, glimpse, retrieval, toy_designs
from saccade_lib.design import Grid
from saccade_lib.retrieval import Components, Database

GRID = Grid(16, 8, 4)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def base(generator):
    images = torch.rand(7, 3, 16, 16, generator=generator)
    return Database(images, torch.arange(10, 17), GRID, flip=True, reach=1)


def test_a_grid_covers_the_image_and_says_where():
    grid = Grid(128, 32, 8)
    assert (grid.n, grid.L) == (13, 169)  # of the published sequences, not 12 x 12
    assert grid.corners[0].tolist() == [0, 0] and grid.corners[-1].tolist() == [96, 96]
    assert grid.views.any(dim=0).all() and (grid.views.sum(dim=(1, 2)) == 32**2).all()
    # The numbers of places are those of the book's other grids, so that they can teach.
    assert torch.allclose(grid.locations, glimpse.grid_locations(13, 32 / 128))
    image = torch.arange(128.0 * 128).view(1, 1, 128, 128)
    place = 5 * 13 + 6  # row 40, column 48: the first place of the authors' sequences
    patch = grid.patches(image, torch.tensor([[place]]))[0, 0]
    assert torch.equal(patch, image[0, :, 40:72, 48:80])
    assert torch.equal(patch.flatten(), image[0, 0][grid.views[place]])


def test_version_0_is_the_image_and_the_others_are_made_of_it(base):
    assert base.N == 7 * 2 * 9 and base.versions[0] == (0, 0, 0)
    made = base.candidates(torch.arange(base.N)).view(-1, 7, 3, 16, 16)
    assert torch.equal(made[0], base.images)
    for version, images in zip(base.versions, made, strict=True):
        down, right, mirrored = version
        plain = base.images.flip(3) if mirrored else base.images
        line = torch.arange(16)
        rows = (line - 4 * down).clamp(0, 15)
        columns = (line - 4 * right).clamp(0, 15)
        assert torch.equal(images, plain[:, :, rows][..., columns])


def test_distances_are_those_of_every_candidate(base, generator):
    queries = torch.rand(4, 3, 16, 16, generator=generator)
    places = torch.tensor([0, 8, 4, 0])
    found = base.distance(GRID.patches(queries, places[:, None])[:, 0], places)
    every = base.candidates(torch.arange(base.N))
    true = design.squared_distance(every, queries, GRID.views[places][:, None])
    assert torch.allclose(found, true, atol=1e-4)


def test_the_weight_of_the_query_its_mirror_image_and_shifts_is_0(base):
    places = torch.tensor([4, 4])
    queries = base.images[[2, 5]]
    distance = base.distance(GRID.patches(queries, places[:, None])[:, 0], places)
    own = base.own(torch.tensor([12, 15]))
    assert (own.sum(dim=1) == 18).all()
    weights, _ = retrieval.tempered(distance, own, 8)
    assert (weights[own] == 0).all() and torch.allclose(weights.sum(1), torch.ones(2))
    index, share = retrieval.drawn(weights, 16, [0, 1])
    assert not own.gather(1, index)[share > 0].any()
    assert not base.own(torch.tensor([99])).any()  # a stranger


@pytest.mark.parametrize("ess", [1.5, 8, 32, 100])
def test_the_temperature_reaches_its_target(base, ess):
    places = torch.tensor([4, 1])
    queries = base.images[[2, 5]]
    distance = base.distance(GRID.patches(queries, places[:, None])[:, 0], places)
    weights, v = retrieval.tempered(distance, base.own(torch.tensor([12, 15])), ess)
    found = estimators.effective_sample_size(weights.T)
    assert torch.allclose(found, torch.full((2,), float(ess)), rtol=1e-2)
    again = design.retrieval_weights(distance, v, base.own(torch.tensor([12, 15])))
    assert torch.equal(again, weights)


def test_draws_have_the_weights_as_their_mean_and_are_each_querys_own(generator):
    p = torch.rand(2, 20, generator=generator).softmax(dim=1)
    index, share = retrieval.drawn(p, 8, [3, 4])
    assert torch.allclose(share.sum(dim=1), torch.ones(2))
    alone = retrieval.drawn(p[1:], 8, [4])
    assert torch.equal(index[1:], alone[0]) and torch.equal(share[1:], alone[1])
    total = torch.zeros(20)
    for seed in range(2000):
        i, w = retrieval.drawn(p[:1], 8, [seed])
        total.index_add_(0, i[0], w[0])
    # Of 8 draws the variance is below p (1 - p) / 8.
    error = (p[0] * (1 - p[0]) / 8 / 2000).sqrt()
    assert ((total / 2000 - p[0]).abs() < 5 * error).all()


def test_the_toys_relaxed_posterior_by_a_database():
    """Drawn from p(I), a database gives the exact posterior as v goes to 0."""
    bed, images = toy_designs.gamma_bed(), toy_designs.binary_images()
    generator = torch.Generator().manual_seed(0)
    drawn = bed.images().multinomial(20_000, replacement=True, generator=generator)
    seen = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
    seen[0, 0, 0, 0] = seen[0, 0, 1, 0] = True
    query = torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    query[0, 0, 0, 0] = 1
    distance = design.squared_distance(images, query, seen)[:, drawn]
    own = torch.zeros(1, 20_000, dtype=torch.bool)
    w = design.retrieval_weights(distance, 0.03, own)[0]
    found = torch.zeros(64, dtype=torch.float64).index_add(0, drawn, w)
    exact = bed.given([(0, 1), (3, 0)]).images()
    assert (found - exact).abs().sum() / 2 < 0.04  # 0.0202 is usual for 20,000


def test_components_give_the_distances_of_what_they_rebuild(generator):
    images = torch.rand(40, 1, 6, 6, generator=generator, dtype=torch.float64)
    query = torch.rand(1, 6, 6, generator=generator, dtype=torch.float64)
    seen = torch.rand(6, 6, generator=generator) < 0.4
    for d in (5, 36):
        reduced = Components.of(images, d)
        rebuilt = (reduced.mean + reduced.z @ reduced.basis.T).view(40, 1, 6, 6)
        true = design.squared_distance(rebuilt, query[None], seen[None, None])[0]
        assert torch.allclose(reduced.distance(query, seen), true, atol=1e-10)
    exact = design.squared_distance(images, query[None], seen[None, None])[0]
    assert torch.allclose(true, exact, atol=1e-8)  # with all components


def test_bad_input_is_explained(base):
    distance, own = torch.rand(1, 5), torch.zeros(1, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match="size of 6 from 5 candidates"):
        retrieval.tempered(distance, own, 6)
    with pytest.raises(ValueError, match="must be positive"):
        design.retrieval_weights(distance, torch.tensor([0.0]), own)
    with pytest.raises(ValueError, match="0 components of 7 x 768"):
        Components.of(base.images, 0)
    with pytest.raises(ValueError, match="must be a multiple of stride"):
        replace(GRID, stride=5)
