"""Rows of chapter 54: one choice a row, and a training at one of them."""

from dataclasses import asdict, replace

import pytest

from saccade_lib import runs
from saccade_lib.runs.learning_to_zoom import repairs


def changed(name):
    """Fields in which a row's model and schedule differ from the sampler's."""
    base, row = (repairs.ROWS[f"repair-{n}"]["standard"] for n in ("sampler", name))
    one, other = (asdict(r.model) | asdict(r.schedule) for r in (base, row))
    return {k for k in one if one[k] != other[k]}


def test_each_row_changes_one_choice():
    single = [n for n in repairs.ROWS_OF if not n.startswith(("paper", "narrow-"))]
    for name in single:
        expected = 0 if name == "sampler" else 1 + (name == "uniform-points")
        assert len(changed(name)) == expected, name
    assert changed("narrow-sinkhorn") == {"share", "rounds"}
    assert changed("unclipped") == {"clip"}


def test_each_step_from_the_papers_choices_takes_one_back():
    steps = ["paper", "paper-reflect", "paper-averages", "paper-unblurred"]
    steps += ["small-look", "sampler"]
    sets = [changed(name) for name in steps]
    assert len(sets[0]) == 5
    for more, fewer in zip(sets, sets[1:], strict=False):
        assert fewer < more and len(more) == len(fewer) + 1


def test_all_rows_train_alike_and_have_three_seeds():
    rows = [by["standard"] for by in repairs.ROWS.values()]
    assert len({replace(row.schedule, clip=1.0) for row in rows}) == 1
    assert all(row.seeds == (0, 1, 2) for row in rows)
    assert len(set(repairs.LABELS)) == len(rows)
    assert set(repairs.CONTROLS) < set(repairs.LABELS)
    assert runs.find("learning-to-zoom", "repair-paper--standard--2").experiment in rows


@pytest.mark.parametrize("row", ["repair-narrow-sinkhorn", "repair-ratio-code"])
def test_a_row_trains_and_says_what_it_read(row):
    run = repairs.ROWS[row]["quick"]
    steps = replace(run.schedule, steps=3, batch=8, validate_every=3)
    run = replace(run, schedule=steps, validation=20, test=20)
    found = runs.train(run, 0, progress=False).metrics
    assert {"test_accuracy", "test_map_entropy", "test_largest_zoom"} <= set(found)
    assert found["test_map_entropy"]["unit"] == "nats"
    assert 99 < found["test_covered"]["value"] <= 100.1  # three steps from even
