"""What a policy's places are worth to other images: recounted one by one."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from test_mosaics import pictures  # noqa: F401
from test_runs_satellite import TINY

from saccade_lib.runs import looks
from saccade_lib.runs.experiment import batches_of, build
from saccade_lib.runs.looks import Looks, every_set, information

N, CELLS, k = 40, 5, 2


def made(seed=0, own=None):
    draw = torch.Generator().manual_seed(seed)
    sets = every_set(CELLS, k)
    own = torch.randint(len(sets), (N,), generator=draw) if own is None else own
    return Looks(
        sets=sets,
        right=torch.rand(N, len(sets), generator=draw) < 0.5,
        own=own,
        best=sets[own, 0],
        p=torch.rand(N, CELLS, generator=draw).softmax(dim=1),
        true=torch.randint(CELLS, (N,), generator=draw),
    )


def test_every_set_once():
    assert every_set(5, 2).tolist() == [list(s) for s in combinations(range(5), 2)]
    assert every_set(4, 0).shape == (1, 0)
    with pytest.raises(ValueError, match="8 of 25 cells make 1,081,575 sets"):
        every_set(25, 8)


def test_accuracies_are_those_of_a_slow_count():
    data = made()
    right, own = data.right.tolist(), data.own.tolist()
    found = looks.measure(data)
    mine = sum(right[i][own[i]] for i in range(N)) / N
    others = [right[i][own[j]] for i in range(N) for j in range(N) if i != j]
    counts = [0] * CELLS
    for cells in data.sets[data.own].tolist():
        for cell in cells:
            counts[cell] += 1
    frequent = sorted(sorted(range(CELLS), key=lambda c: (-counts[c], c))[:k])
    fixed = data.sets.tolist().index(frequent)
    columns = [sum(r[s] for r in right) / N for s in range(len(data.sets))]
    wanted = {
        "accuracy_own": mine,
        "accuracy_shuffled": sum(others) / len(others),
        "accuracy_fixed": columns[fixed],
        "accuracy_best_fixed": max(columns),
        "accuracy_any": sum(columns) / len(columns),
        "accuracy_some": sum(any(r) for r in right) / N,
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(100 * value), name
    assert found["accuracy_shuffled_most"] > found["accuracy_shuffled"]
    share = [c / sum(counts) for c in counts]
    bits = -sum(s * math.log2(s) for s in share if s)
    assert found["policy_entropy"] == pytest.approx(bits)


def test_a_policy_that_looks_alike_everywhere_loses_nothing_by_shuffling():
    found = looks.measure(made(own=torch.full((N,), 3)))
    own = found["accuracy_own"]
    assert found["accuracy_shuffled"] == pytest.approx(own)
    assert found["accuracy_shuffled_most"] == pytest.approx(own)
    assert found["accuracy_fixed"] == pytest.approx(own)
    assert found["policy_entropy"] == pytest.approx(1)  # two cells, half each
    assert found["policy_information"] == 0


def test_information_of_copies_and_of_nothing():
    a = torch.arange(4).repeat(25)
    assert information(a, a) == pytest.approx(2)
    assert information(a, (a + 1) % 4) == pytest.approx(2)
    assert information(a, a // 2) == pytest.approx(1)
    assert information(a, torch.zeros_like(a)) == 0
    one, other = torch.arange(100) % 4, torch.arange(100) // 4 % 5
    assert information(one, other) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("pool", ["mean", "weighted"])
def test_what_is_read_is_what_predictions_say(pool, pictures):  # noqa: F811
    run = replace(TINY, model=replace(TINY.model, pool=pool))
    model = build(run, 1).eval()
    if pool == "weighted":
        torch.nn.init.normal_(model.pool.score.weight)
    canvases = run.canvases(pictures, "test", 0)
    found = looks.look(model, batches_of(canvases, 20))
    batch = canvases.batch(torch.arange(20))
    seen = model.predict(batch["image"])
    right = seen.probabilities.argmax(dim=1) == batch["label"]
    own = found.right[torch.arange(20), found.own]
    assert torch.equal(own, right)
    chosen = model.traverse(batch["image"]).levels[0].chosen[:, 0]
    assert torch.equal(found.sets[found.own], chosen)
    tile = canvases.layout(torch.arange(20)).place[:, 0]
    assert torch.equal(found.true, tile)
    everything = run.evaluate(model, canvases, 20, "cpu")
    own = everything["accuracy_own"]
    assert own == pytest.approx(everything["accuracy"], abs=1e-4)
    assert set(looks.UNIT_OF) <= set(everything)


def test_controls_are_not_asked(pictures):  # noqa: F811
    run = replace(TINY, model=replace(TINY.model, places="random"))
    canvases = run.canvases(pictures, "test", 0)
    found = run.evaluate(build(run, 0).eval(), canvases, 20, "cpu")
    assert "accuracy_shuffled" not in found
