"""The arena's tables say what the records say, and of what is missing that it is."""

import pytest
from toy_book import found_book, made

from saccade_lib import records
from saccade_lib.runs.arena import report

TASK = "canvas-128"


@pytest.fixture
def arena_of(tmp_path, monkeypatch):
    """Write records of methods: {method: accuracy of each seed}."""
    found_book(tmp_path, monkeypatch)

    def write(accuracies, task=TASK):
        for method, by_seed in accuracies.items():
            for seed, accuracy in enumerate(by_seed):
                name = {"paper": report.PAPER, "row": f"{method}-{task}"}
                records.write(made(accuracy, seed=seed, **name))

    return write


def test_gains_bracket_what_seeds_leave_open(arena_of):
    arena_of(
        {
            "uniform": [70.0, 71.0, 72.0],
            "full": [90.0, 91.5, 92.0],
            "ram": [60.0, 90.0, 71.0],
            "dram": [12.0],
        }
    )
    rows = dict(report.gains().rows)
    assert rows["full image"] == "+20.2 ± 0.7"
    assert rows["RAM"] == "(+2.7 ± 36.9)"
    assert rows["DRAM"] == "(-58.0, one seed)"
    assert report.LABELS["uniform"] not in rows


def test_gains_do_not_bracket_what_is_not_recorded(arena_of):
    arena_of({"uniform": [70.0, 71.0], "full": [90.0, 91.5]})
    arena_of({"uniform": [70.0, 71.0]}, task="canvas-512")
    gains = report.gains()
    entry = gains.rows[0][gains.columns.index("canvas-512")]
    assert gains.rows[0][0] == "full image" and entry == "not recorded"


def test_pairs_meet_at_common_seeds(arena_of):
    arena_of({"uniform": [70.0, 71.0, 72.0], "full": [90.0, 93.0]})
    assert report.paired(TASK, "full", "uniform").by_seed == {0: 20.0, 1: 22.0}
    assert report.paired(TASK, "tiles", "uniform").by_seed == {}


def test_a_mean_of_nothing_says_how_to_record_it(arena_of):
    arena_of({"uniform": [70.0]})
    with pytest.raises(ValueError, match=r"make record RUN=side-by-side/full-canvas"):
        report.mean("full", TASK)


def test_front_leaves_out_what_is_told_and_what_is_dearer():
    label = report.LABELS
    found = {
        label["full"]: (7.0, [96.0, 96.4]),
        label["oracle"]: (1.0, [99.0, 99.0]),
        label["attention-sampling"]: (2.5, [95.9, 96.5]),
        label["uniform"]: (1.2, [73.0, 74.0]),
        label["random"]: (2.6, [12.0, 96.0]),
    }
    kept = report.front(found)
    assert kept == [label["uniform"], label["attention-sampling"]]
