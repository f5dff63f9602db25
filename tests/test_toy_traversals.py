"""The small traversal, against loops over its cells and against finite differences."""

import math
from itertools import permutations

import pytest
import torch

from saccade_lib import toy_traversals

DOUBLE = torch.float64


@pytest.fixture(params=[(2, (2,)), (3, (2,)), (2, (2, 1))], ids=str)
def bed(request):
    return toy_traversals.traversals(*request.param, seed=3)


@pytest.mark.parametrize(
    ("side", "draws", "count"),
    [(2, (1,), 4), (3, (2,), 9 * 8), (2, (2, 1), 12 * 4 * 4), (2, (1, 2), 4 * 12)],
)
def test_every_sequence_is_listed_once(side, draws, count):
    steps = toy_traversals.every_sequence(side, draws)
    listed = torch.cat([step.cells for step in steps], dim=1)
    assert len(listed) == count == len(listed.unique(dim=0))
    assert [step.level for step in steps] == sorted(step.level for step in steps)
    for step in steps:
        assert all(len(set(row)) == len(row) for row in step.cells.tolist())


def test_children_are_the_cells_of_their_node():
    """Row and column of every cell of every node of the second level."""
    for row in range(3):
        for column in range(3):
            for cell in range(9):
                node = torch.tensor(3 * row + column)
                below = toy_traversals.children(node, torch.tensor(cell), 2, 3)
                wanted = (3 * row + cell // 3) * 9 + 3 * column + cell % 3
                assert int(below) == wanted


def test_second_level_starts_where_the_first_level_chose():
    first, *second = toy_traversals.every_sequence(2, (2, 1))
    assert len(second) == 2 and torch.equal(first.children, first.cells)
    for r, step in enumerate(second):
        assert step.level == 2 and torch.equal(step.node, first.children[:, r])


@pytest.mark.parametrize("draws", [(), (0,), (5,), (2, 5)])
def test_impossible_draws_are_refused(draws):
    with pytest.raises(ValueError, match="between 1 and the 4 cells"):
        toy_traversals.every_sequence(2, draws)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="need images of 8 pixels a side"):
        toy_traversals.Traversals(torch.rand(1, 4, 4), torch.zeros(1), 2, (2, 1))


def test_equation_9_is_a_distribution_and_the_short_form_is_none(bed):
    for temperature in (0.05, 1.0, 20.0):
        bed.temperature = temperature
        assert torch.allclose(
            bed.log_draws().sum(dim=2).exp().sum(dim=1),
            torch.ones(4, dtype=DOUBLE),
            atol=1e-9,
        )
        short = bed.log_draws(ordered=False).sum(dim=2).exp().sum(dim=1)
        assert (short < 1).all()


def test_log_draws_of_one_level_are_p_over_what_is_left():
    bed = toy_traversals.traversals(2, (2,), seed=1)
    p = bed.nodes(1)[1].softmax(dim=-1)[:, 0]  # (4, 4)
    for a, (i, j) in enumerate(permutations(range(4), 2)):
        wanted = p[:, i] * p[:, j] / (1 - p[:, i])
        assert torch.allclose(bed.log_draws().sum(dim=2)[:, a].exp(), wanted)


def test_a_node_is_the_shrunk_part_of_the_image():
    """The vector of each node of the third level, and of the second, by slicing."""
    bed = toy_traversals.traversals(2, (2, 1), seed=1)
    for level, width, block in ((2, 2, 2), (3, 4, 1)):
        found = bed.nodes(level)[0]
        for node in range(width**2):
            row, column = divmod(node, width)
            side = 2 * block
            part = bed.images[:, row * side : (row + 1) * side]
            part = part[:, :, column * side : (column + 1) * side]
            cells = [
                part[:, r : r + block, c : c + block].mean(dim=(1, 2))
                for r in (0, block)
                for c in (0, block)
            ]
            maps = [bed.pixel(2 * cell[:, None] - 1).tanh() for cell in cells]
            vector = bed.vector(torch.cat(maps, dim=1)).tanh()
            where = torch.tensor([row, column, level - 1.0]).double().expand(4, 3)
            wanted = bed.position(torch.cat((vector, where), dim=1)).tanh()
            assert torch.allclose(found[:, node], wanted, atol=1e-14)


def test_prediction_is_that_of_the_mean_of_all_levels():
    bed = toy_traversals.traversals(2, (2, 1), seed=1)
    mean, each, first = bed.log_classes()
    read = {level: bed.nodes(level)[0] for level in (1, 2, 3)}
    for a in (0, 17, 191):
        vectors = [read[1][:, 0]]
        for step in bed.steps:
            vectors += [read[step.level + 1][:, c] for c in step.children[a].tolist()]
        assert len(vectors) == 5
        wanted = bed.classifier(sum(vectors) / 5).log_softmax(dim=1)
        assert torch.allclose(mean[:, a], wanted, atol=1e-14)
        for d, vector in enumerate(vectors[1:]):
            alone = bed.classifier(vector).log_softmax(dim=1)
            assert torch.allclose(each[:, a, d], alone, atol=1e-14)
    assert torch.allclose(first, bed.classifier(read[1][:, 0]).log_softmax(dim=1))
    of_label = [mean[i, :, y] for i, y in enumerate(bed.labels.tolist())]
    assert torch.equal(bed.log_label(), torch.stack(of_label))


def test_scores_are_scaled_and_divided():
    bed = toy_traversals.traversals(3, (2,), seed=1)
    plain = bed.nodes(1)[1].detach()
    bed.normalise, bed.temperature = True, 0.5
    found = bed.nodes(1)[1]
    assert torch.allclose(found.norm(dim=-1), torch.full((4, 1), 2.0).double())
    assert torch.allclose(found, 2 * plain / plain.norm(dim=-1, keepdim=True))


def test_jacobian_is_that_of_finite_differences():
    bed = toy_traversals.traversals(2, (2, 1), seed=2)
    weights = [*bed.parameters()]
    generator = torch.Generator().manual_seed(0)
    way = [torch.randn(w.shape, generator=generator).double() for w in weights]

    def values():
        return torch.stack((bed.log_label()[1, 5], bed.log_draws()[2, 40].sum()))

    slope = bed.jacobian(values()) @ torch.cat([v.flatten() for v in way])
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for w, v in zip(weights, way, strict=True):
                w.add_(v, alpha=sign * 1e-5)
            ends.append(values())
            for w, v in zip(weights, way, strict=True):
                w.sub_(v, alpha=sign * 1e-5)
    assert torch.allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_parts_name_all_parameters_in_order():
    bed = toy_traversals.traversals(2, (2,))
    parts = [*bed.parts().values()]
    assert parts[0].start == 0
    assert parts[-1].stop == sum(w.numel() for w in bed.parameters())
    assert all(a.stop == b.start for a, b in zip(parts, parts[1:], strict=False))
    policy, reader = bed.jacobian(bed.log_draws().sum()[None]), bed.parts()
    assert not policy[:, reader["classifier"]].any()
    assert policy[:, reader["location"]].any() and policy[:, reader["features"]].any()


def test_stop_keeps_the_policy_out_of_the_features():
    bed = toy_traversals.traversals(2, (2, 1))
    open_ = bed.jacobian(bed.log_draws()[0, 7])
    bed.stop = True
    shut = bed.jacobian(bed.log_draws()[0, 7])
    where = bed.parts()["location"]
    assert torch.equal(open_[:, where], shut[:, where])
    others = torch.ones(open_.shape[1], dtype=torch.bool)
    others[where] = False
    assert not shut[:, others].any() and open_[:, others].any()


def test_bed_follows_from_its_seed():
    one, same, other = (toy_traversals.traversals(3, (2,), seed=s) for s in (4, 4, 5))
    assert torch.equal(one.log_label(), same.log_label())
    assert not torch.equal(one.log_label(), other.log_label())
    assert one.images.min() >= 0 and one.images.max() <= 1
    assert math.prod(one.images.shape) == 4 * 81
