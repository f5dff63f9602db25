"""TNet's measured rows: what they count, and the cells that ask for it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from saccade_lib import cost, records, session
from saccade_lib.models import bagnet, tnet
from saccade_lib.records.files import collect
from saccade_lib.runs.tnet import ROWS, counts, speed

PAPER = "tnet"
MEASURED = ("counts-imagenet", "counts-fmow", "layers", "settings", "appendix")


def of(row, config=None):
    measurement = ROWS[row]["paper"]
    config = config or measurement.config
    return replace(measurement, config=config).run(0, "cpu", Path("."))


@pytest.fixture(scope="module")
def made():
    rows = ("layers", "settings", "counts-fmow", "appendix")
    return {row: of(row).metrics for row in rows}


def test_cells_ask_for_what_is_measured(made):
    cells = [c for c in records.published(PAPER) if c.record_row in MEASURED]
    assert len(cells) > 200
    found = {run["row"]: run["metrics"] for run in collect() if run["paper"] == PAPER}
    for cell in cells:
        there = made.get(cell.record_row) or found[cell.record_row]
        assert there[cell.record_metric]["unit"] == cell.unit, cell.name


def test_records_say_what_is_measured_today(made):
    for run in collect():
        if run["paper"] == PAPER and run["row"] in made:
            assert run["metrics"] == made[run["row"]], run["row"]


def test_time_and_memory_are_asked_of_lines_that_are_timed():
    lines = {"speed-imagenet": speed.imagenet(), "speed-fmow": speed.fmow()}
    names = {row: {line.name for line in of} for row, of in lines.items()}
    asked = [c for c in records.published(PAPER) if c.record_row in lines]
    assert {c.column for c in asked} == {"time", "memory"}
    for cell in asked:
        what, _, name = cell.record_metric.partition("_")
        assert what == cell.column and name in names[cell.record_row]
        assert cell.profiles == ("paper",)  # a CPU's times are no cell of the table


def test_only_one_layer_is_not_as_printed(made):
    cells = [c for c in records.published(PAPER) if c.record_row == "layers"]
    off = {
        (c.table, c.row, c.column)
        for c in cells
        if c.verdict(made["layers"][c.record_metric]["value"]) != "reproduced"
    }
    assert off == {
        ("table-3", "conv-block", "shortcut-channels-factor"),
        ("table-5", "mbconv6-13-15", "channels"),
    }


def test_rows_train_as_the_appendix_says_but_for_methods_of_resizing(made):
    cells = [c for c in records.published(PAPER) if c.record_row == "appendix"]
    off = {
        (c.row, c.column)
        for c in cells
        if c.verdict(made["appendix"][c.record_metric]["value"]) != "reproduced"
    }
    assert len(cells) > 45 and off == {("augmentation", "resize-methods")}


def test_locations_of_all_levels_are_counted():
    assert [counts.attended(k) for k in ((), (3,), (2, 1), (3, 1), (2, 2))] == [
        *(0, 3, 4, 6, 6)
    ]


def test_a_layer_is_described_by_what_runs():
    lines = list(counts.described(counts.shell(tnet.mini(2)).extract, 45))
    assert [line["output"][0] for line in lines[:4]] == [43, 22, 22, 22]
    assert [line["receptive-field"][0] for line in lines[:4]] == [3, 5, 9, 9]


TINY = (
    speed.Timed("bagnet", bagnet.Config(2, width=1 / 16, blocks="small"), 45),
    speed.Timed("tnet_0", tnet.mini(2, width=1 / 16), 132, (0,)),
)


def test_speed_is_measured_line_by_line():
    config = speed.Speeds(TINY, batch=2, rounds=2)
    found = speed.measure(config, 0, torch.device("cpu"), Path("."))
    value = {name: metric["value"] for name, metric in found.metrics.items()}
    assert {len(times) for times in found.curves.values()} == {2}
    up = value["time_bagnet"] / value["time_tnet_0"]
    assert value["speed_up_tnet_0"] == pytest.approx(up)
    ratio = value["multiplication_ratio_tnet_0"]
    assert value["share_tnet_0"] == pytest.approx(100 * up / ratio)
    assert not any(name.startswith("memory") for name in value)  # a GPU's
    assert 0 < value["tensors_tnet_0"] < 1


def test_the_recorded_speed_up_is_most_of_the_ratio():
    """Read off the records: no clock runs here."""
    for run in collect():
        if run["row"] == "speed-imagenet" and run["profile"] == "standard":
            for k in (0, 1, 2, 3, 5):
                assert run["metrics"][f"share_tnet_{k}"]["value"] > 70


# ---- cost


def test_peak_tensors_is_what_lives_at_once():
    x = torch.rand(100, 100)  # 40,000 bytes

    def chain():
        a = x + 1
        b = a * 2
        del a
        return b + 1

    assert cost.peak_tensors(chain) == 80_000
    net = nn.Sequential(*(nn.Linear(100, 100) for _ in range(4)))
    with torch.no_grad():
        assert cost.peak_tensors(lambda: net(x)) == 80_000
        on_meta = net.to("meta"), x.to("meta")
        assert cost.peak_tensors(lambda: on_meta[0](on_meta[1])) == 80_000
    assert cost.peak_tensors(lambda: x.view(10, 1000).t()) == 0  # views own nothing


def test_weights_next_to_statistics():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert cost.parameters(net) == 3 * 4 + 4 + 8
    assert cost.parameters(net, statistics=True) == 3 * 4 + 4 + 16


def test_outputs_are_counted_by_kind():
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2), nn.ReLU())
    assert cost.outputs(lambda: net(torch.rand(3, 4)), net, nn.ReLU) == 3 * (5 + 2)
    assert not any(m._forward_hooks for m in net.modules())


def test_the_quick_row_is_registered():
    assert set(ROWS["speed-imagenet"]) == set(session.PROFILES)
