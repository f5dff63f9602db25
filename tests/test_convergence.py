"""Iterations to convergence, read off curves whose answer is known."""

from dataclasses import replace

import pytest

from saccade_lib import records
from saccade_lib.runs.near_optimal_glimpses import clipped, convergence
from saccade_lib.runs.near_optimal_glimpses.convergence import (
    ATTRIBUTES,
    BIRDS,
    DIGITS,
    Curve,
)
from saccade_lib.runs.near_optimal_glimpses.partial import ROWS

STEPS = [100.0 * k for k in range(1, 11)]
RISING = [50.0, 60, 70, 76, 79, 80.4, 80.2, 81, 80.5, 80.9]
FALLING = [0.9, 0.6, 0.4, 0.32, 0.309, 0.302, 0.3, 0.35, 0.4, 0.5]


def record(accuracy=RISING, nats=FALLING, drawn=0.0, cost=12.0):
    """What is read of a record, of ten validations in 1,000 steps."""
    return {
        "config": {
            "model": {"drawn": drawn},
            "schedule": {"steps": 1_000, "batch": 60},
        },
        "curves": {
            "step": STEPS,
            "validation_accuracy": accuracy,
            "validation_cross_entropy": nats,
        },
        "metrics": {"test_accuracy": {"value": 77.0, "unit": "%"}},
        "costs": {
            "cpu_seconds_per_epoch": {"value": cost, "unit": "s/epoch"},
            "seconds_per_epoch": {"value": 99.0, "unit": "s/epoch"},
        },
    }


def test_converged_is_the_first_validation_near_the_best():
    curve = convergence.curve_of(record())
    assert curve.converged("accuracy", 1.0) == 600  # 80.4 of 81
    assert curve.converged("accuracy", 0.0) == 800
    assert curve.converged("cross_entropy", 0.01) == 500  # 0.309 of 0.300
    assert curve.converged("cross_entropy", 1.0) == 100


def test_counts_begin_when_pretraining_ends_and_forget_what_was_before():
    high_before = [90.0, 90.0, *RISING[2:]]
    curve = convergence.curve_of(record(high_before, drawn=0.2))
    assert curve.step == [100.0 * k for k in range(1, 9)]
    assert curve.converged("accuracy", 1.0) == 400 and max(curve.accuracy) == 81


def test_running_means_stand_at_their_middle_and_forgive_a_lucky_validation():
    curve = Curve(STEPS, RISING, FALLING)
    smooth = curve.smoothed(3)
    assert smooth.step == STEPS[1:-1] and smooth.accuracy[0] == pytest.approx(60)
    assert curve.smoothed(1) == curve
    lucky = Curve(STEPS, [*RISING[:3], 95.0, *RISING[4:]], FALLING)
    assert lucky.converged("accuracy", 1.0) == 400
    assert lucky.smoothed(5).converged("accuracy", 4.0) > 400
    for window in (0, 4, 11):
        with pytest.raises(ValueError, match="odd and at most"):
            curve.smoothed(window)


def test_a_low_plateau_converges_early_and_the_level_says_who_is_ahead():
    """The faster run, by the rule, is the one that is never better."""
    slow = [40.0 + 5 * k for k in range(10)]
    stuck = [30.0, 41.0, *[42.0] * 8]
    config = replace(DIGITS, methods=("slow", "stuck"), controls=("low",), window=1)
    runs = {
        "slow": record(slow),
        "stuck": record(stuck, cost=24.0),
        "low": record([20.0] * 10),
    }
    found = convergence.of_task(replace(config, by="accuracy", within=1.0), runs)
    assert found["stuck"]["iterations"] == 200 < found["slow"]["iterations"] == 1_000
    assert found["slow"]["level"] == 41  # a point below 42
    assert found["slow"]["to_level"] == found["stuck"]["to_level"] == 200
    assert found["slow"]["cpu_to_level"] == pytest.approx(200 * 12 * 60 / 60_000)
    assert found["stuck"]["cpu_to_level"] == 2 * found["slow"]["cpu_to_level"]
    assert "to_level" not in found["low"] and found["low"]["area"] == 20


def test_wsram_overtakes_where_it_stays_ahead():
    config = replace(BIRDS, window=1, images=600)
    other = record([50.0] * 10)
    runs = {"wsram": record([60, 40, 40, 55, 49, *[51.0] * 5]), "ps-nogs": other}
    assert convergence.overtakes(config, runs) == 600 * 60 / 600  # after step 500
    runs["wsram"] = record([51.0] * 9 + [49.0])
    assert convergence.overtakes(config, runs) is None
    runs["wsram"] = record([51.0] * 10)
    assert convergence.overtakes(config, runs) == 10
    assert convergence.overtakes(replace(config, images=0), runs) is None


def test_tasks_are_averaged_and_what_one_lacks_is_left_out():
    one = {"a": {"iterations": 100.0, "to_level": 50.0}}
    two = {"a": {"iterations": 300.0}}
    assert convergence.mean_of([one, two]) == {"a": {"iterations": 200.0}}


def test_a_measurement_reads_records_and_names_the_one_that_is_missing(monkeypatch):
    with pytest.raises(FileNotFoundError, match="ram-digits--standard--99"):
        convergence.read(DIGITS, 99, None, None)

    def load(path):
        task_is_second = "belly" in path.name
        accuracy = [v - 10 * task_is_second for v in RISING]
        fast = path.name.startswith("ps-nogs")
        nats = [0.3] * 10 if fast else FALLING
        return record(accuracy, nats) | {"data": {"source": "x", "sha256": {}}}

    monkeypatch.setattr(records, "load", load)
    found = convergence.read(ATTRIBUTES, 0, None, None)
    assert found.metrics["ps_nogs_iterations"] == {"value": 100, "unit": "steps"}
    assert found.metrics["speed_up"] == {"value": 5, "unit": "x"}
    assert found.metrics["fewer_than_ps_ram"] == {"value": 80, "unit": "%"}
    assert found.metrics["random_best"]["value"] == pytest.approx(81 - 5)
    assert found.data["source"] == "x" and "wsram_overtakes" not in found.metrics


@pytest.mark.parametrize("config", [DIGITS, BIRDS, ATTRIBUTES])
def test_every_row_of_table_1_is_read_and_no_other(config):
    for task in config.tasks:
        there = {n for n in ROWS if n.removesuffix(f"-{task}") in config.all}
        named = {f"{name}-{task}" for name in config.all}
        assert named == there == {n for n in ROWS if n.endswith(f"-{task}")}
        for name in named:
            run = ROWS[name]["standard"]
            assert run.schedule.steps / run.schedule.validate_every > config.window


def test_a_clipped_row_differs_in_its_clip_alone():
    for name, by_profile in clipped.ROWS.items():
        for profile, run in by_profile.items():
            free = ROWS[name.replace("-clipped", "")][profile]
            same = replace(run, schedule=replace(run.schedule, clip=free.schedule.clip))
            assert same == free and run.schedule.clip == 1 < free.schedule.clip
