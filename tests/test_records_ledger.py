"""Published cells, verdicts and the ledger: each number stands where it should."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_book import ENTRY, found_book, made, publish, record_all

from saccade_lib import records, session
from saccade_lib.records.__main__ import main
from saccade_lib.records.cells import Cell
from saccade_lib.records.ledger import KINDS, summarise
from saccade_lib.runs import recorder

SOURCE = Path(session.__file__).parents[1]
LEDGER_KEYS = [
    *(
        "paper",
        "table",
        "row",
        "column",
        "value",
        "unit",
        "recorded",
        "spread",
        "seeds",
    ),
    *("profile", "hardware", "data_source", "verdict", "row_label", "column_label"),
    *("printed", "where", "note"),
]


@pytest.fixture
def book(tmp_path, monkeypatch):
    return found_book(tmp_path, monkeypatch)


def cell(**changed):
    entry = {k: v for k, v in ENTRY.items() if k not in ("compare", "record")}
    fields = entry | {"paper": "tnet", "spread": None, "better": "higher"}
    return Cell(**fields | {"tolerance": 0.5, "data": ("mnist",)} | changed)


thousandths = st.integers(-200_000, 200_000)


@given(
    value=thousandths,
    tolerance=st.integers(1, 5_000),
    beyond=st.integers(-3, 3) | thousandths,
    sign=st.sampled_from([-1, 1]),
    better=st.sampled_from(["higher", "lower", "equal"]),
)
def test_verdict_agrees_with_exact_arithmetic(value, tolerance, beyond, sign, better):
    """Integers of thousandths decide; floats of the same decimals must agree."""
    gap = sign * (tolerance + beyond)
    asked = cell(value=value / 1000, tolerance=tolerance / 1000, better=better)
    said = asked.verdict((value + gap) / 1000, "mnist")
    if abs(gap) <= tolerance:
        assert said == "reproduced"
    elif better == "equal":
        assert said.startswith("off by ")
    elif (gap > 0) == (better == "higher"):
        assert said == "better"
    else:
        distance = float(
            re.fullmatch(r"short by ([\d.,]+) %", said)[1].replace(",", "")
        )
        assert distance == pytest.approx(abs(gap) / 1000, rel=0.05, abs=6e-4)


def test_verdict_says_what_and_in_which_unit():
    assert cell().verdict(88.2, "mnist") == "short by 2.3 %"
    assert cell(unit="").verdict(80.5, "mnist") == "short by 10.0"
    assert cell(better="equal").verdict(92, "mnist") == "off by 1.5 %"
    assert cell(better="lower").verdict(80, "mnist") == "better"
    assert cell().verdict(None) == "missing"
    assert cell(background=True).verdict(None) == "background"
    assert cell(background=True).verdict(88.2, "mnist") == "short by 2.3 %"
    assert cell().verdict(90.5, "digits") == "other data"
    assert cell(data=()).verdict(90.5, "digits") == "reproduced"
    assert records.verdict_kind("off by 1 %") == "short"
    assert records.verdict_kind("other data") == "other data"


@given(st.floats(-1e9, 1e9), st.integers(0, 4))
def test_shown_number_is_within_half_a_unit_of_its_second_digit(value, decimals):
    shown = float(records.number(value, decimals).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.05, abs=0)


def test_cells_carry_what_the_file_says(book):
    first, second, third, _ = records.published("tnet")
    assert (first.value, first.better, first.tolerance) == (90.5, "higher", 0.5)
    assert (first.record_row, first.record_metric) == ("toy", "test_accuracy")
    assert first.profiles == session.PROFILES and second.profiles == ("paper",)
    assert third.quoted and third.record_row is None
    assert records.papers() == ["tnet"] and records.heading("tnet")["year"] == 2021


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"compare": {"better": "more", "tolerance": 1}}, "cells.0.compare.better"),
        ({"value": "90"}, "cells.0.value"),
        ({"tolerence": 1}, "tolerence"),
        ({"column": "twice"}, "stands twice: table-1 / full / twice"),
    ],
)
def test_broken_published_file_names_the_cell(book, change, named):
    file = publish(book, [ENTRY | change, ENTRY | {"column": "twice"}])
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        records.status()
    assert str(file) in str(caught.value)


def test_published_file_is_read_again_when_it_changed(book):
    assert len(records.published("tnet")) == 4
    publish(book, [ENTRY])
    assert len(records.published("tnet")) == 1
    (book / "book/published/tnet.yml").write_text("cells: [", "utf-8")
    with pytest.raises(ValueError, match="not YAML"):
        records.published("tnet")


def test_unknown_paper_names_the_known_ones(book):
    with pytest.raises(ValueError, match="unknown paper 'ram': choose one of tnet"):
        records.published("ram")


def test_ledger_has_exactly_the_promised_keys(book):
    record_all({})
    for entry in records.status():
        assert list(entry) == LEDGER_KEYS
    assert json.loads(json.dumps(records.status())) == records.status()


def test_without_records_every_cell_is_missing(book):
    for entry in records.status():
        assert entry["verdict"] == "missing" and entry["seeds"] == []
        assert entry["recorded"] is entry["spread"] is entry["profile"] is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_mean_and_spread_are_numpys(values):
    runs = [made(accuracy=v, seed=i) for i, v in enumerate(values)]
    found = summarise(runs, "test_accuracy", ["standard"])
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12, abs=1e-12)
    assert found.seeds == tuple(range(len(values)))
    if len(values) == 1:
        assert found.spread is None
    else:
        assert found.spread == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-9)


def test_best_profile_is_taken_and_quick_never(book):
    record_all({"profile": "quick", "accuracy": 90.5})
    assert records.status()[0]["verdict"] == "missing"
    assert records.recorded("tnet", "toy", "test_accuracy") is None
    record_all({"seed": 0, "accuracy": 89.0}, {"seed": 2, "accuracy": 90.0})
    entry = records.status()[0]
    assert (entry["recorded"], entry["seeds"], entry["profile"]) == (
        89.5,
        [0, 2],
        "standard",
    )
    assert entry["verdict"] == "short by 1.0 %"
    record_all({"profile": "paper", "seed": 1, "accuracy": 92.0})
    entry = records.status()[0]
    assert (entry["recorded"], entry["spread"], entry["verdict"]) == (
        92,
        None,
        "better",
    )
    quick = records.recorded("tnet", "toy", "test_accuracy", profile="quick")
    assert str(quick) == "90.50 % (1 seed, quick)"


def test_three_seeds_go_before_one_of_a_larger_profile(book):
    record_all({"profile": "paper", "accuracy": 70.0}, {"seed": 0}, {"seed": 1})
    assert records.recorded("tnet", "toy", "test_accuracy").profile == "paper"
    record_all({"seed": 2})
    assert records.recorded("tnet", "toy", "test_accuracy").profile == "standard"
    record_all({"profile": "paper", "seed": 1}, {"profile": "paper", "seed": 2})
    assert records.recorded("tnet", "toy", "test_accuracy").profile == "paper"


def test_a_cell_may_ask_for_a_profile(book):
    record_all({"seconds": 3.0})
    time = records.status()[1]
    assert time["column"] == "time" and time["verdict"] == "missing"
    record_all({"seconds": 3.0, "profile": "paper"})
    assert records.status()[1]["verdict"] == "better"


def test_data_sources_are_never_averaged(book):
    stand_in = {"source": "digits", "sha256": {}}
    record_all({"data": stand_in, "profile": "paper", "accuracy": 99.0})
    entry = records.status()[0]
    assert entry["verdict"] == "other data" and entry["data_source"] == "digits"
    record_all({"accuracy": 90.0}, {"accuracy": 50.0, "seed": 1, "data": stand_in})
    entry = records.status()[0]
    assert (entry["recorded"], entry["seeds"]) == (90.0, [0])
    assert entry["data_source"] == "mnist" and entry["verdict"] == "reproduced"
    assert "also recorded on digits, not averaged in" in entry["note"]


def test_a_field_that_an_older_record_lacks_makes_no_other_configuration(book):
    config = made()["config"]
    later = config | {"graph": False, "windows": "", "seed": 1}
    record_all({"config": config | {"windows": False}}, {"seed": 1, "config": later})
    assert records.status()[0]["note"] == ""


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"fingerprint": "2" * 64}, "different versions of the code"),
        ({"config": {"sizes": [9]}}, "differ in configuration"),
        ({"hardware": made()["hardware"] | {"threads": 2}}, "different hardware"),
    ],
)
def test_unlike_seeds_are_remarked_on(book, change, remark):
    record_all({}, {"seed": 1, "config": made()["config"] | {"seed": 1}})
    assert records.status()[0]["note"] == ""
    record_all({"seed": 2} | change)
    assert remark in records.status()[0]["note"]


def test_unit_of_record_and_cell_must_agree(book):
    record_all({"metrics": {"test_accuracy": {"value": 0.9, "unit": ""}}})
    with pytest.raises(ValueError, match=r"table-1.*'%'.*toy.*test_accuracy.*''"):
        records.status()


def test_progress_counts_every_cell_once(book):
    record_all(
        {"accuracy": 90.5}, {"accuracy": 90.5, "seconds": 60, "profile": "paper"}
    )
    found = records.progress()["tnet"]
    assert found["reproduced"] == 2 and found["short"] == 1 and found["missing"] == 1
    assert found.pop("total") == sum(found.values()) == 4


def test_curves_come_seed_by_seed(book):
    record_all({"seed": 1}, {"seed": 0}, {"seed": 0, "profile": "quick"})
    found = records.curves("tnet", "toy", "standard")
    assert [curve["seed"] for curve in found] == [0, 1]
    assert found[0]["step"] == [0, 10]
    assert records.curves("tnet", "absent", "standard") == []
    with pytest.raises(ValueError, match="unknown profile"):
        records.curves("tnet", "toy", "huge")


def test_a_metric_comes_by_seed(book):
    record_all(
        {"seed": 1, "accuracy": 90.5},
        {"seed": 0, "accuracy": 89.0},
        {"seed": 2, "profile": "quick"},
    )
    (metric,) = {m for r in records.collect() for m in r["metrics"] if "accuracy" in m}
    found = records.by_seed("tnet", "toy", metric, "standard")
    assert list(found.items()) == [(0, 89.0), (1, 90.5)]
    assert records.by_seed("tnet", "toy", "absent", "standard") == {}
    assert records.by_seed("tnet", "absent", metric, "standard") == {}
    with pytest.raises(ValueError, match="unknown profile"):
        records.by_seed("tnet", "toy", metric, "huge")


def test_a_row_is_read_without_the_others(book):
    """And a row whose name begins with its name is another row."""
    record_all({"seed": 0, "accuracy": 89.0}, {"row": "toy-larger", "accuracy": 1.0})
    (metric,) = {m for r in records.collect() for m in r["metrics"] if "accuracy" in m}
    folder = book / "book" / "records" / "tnet"
    (folder / "broken--standard--0.json").write_text("{")
    assert records.by_seed("tnet", "toy", metric, "standard") == {0: 89.0}
    assert records.by_seed("tnet", "toy*", metric, "standard") == {}
    assert records.by_seed("no-paper", "toy", metric, "standard") == {}
    with pytest.raises(ValueError, match="not a whole record"):
        records.collect()
    (folder / "toy--standard--1.json").write_text("{")
    with pytest.raises(ValueError, match="toy--standard--1.json is not a whole record"):
        records.by_seed("tnet", "toy", metric, "standard")


def test_command_prints_one_object_a_cell(book, capsys):
    record_all({"accuracy": 90.25})
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == records.status()
    assert main(["status", "--json", "--verdict", "missing", "--paper", "tnet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [e["verdict"] for e in found] == ["missing"] * 2


def test_command_summarises_for_people(book, capsys):
    record_all({"accuracy": 85.0})
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "tnet: 4 cells, 2 short, 2 missing" in said
    assert (
        "paper 90.5 ± 0.2, recorded 85.00 % (seeds 0; standard): short by 5.5 %" in said
    )


def test_command_reports_errors_on_stderr(book, capsys):
    assert main(["status", "--paper", "ram"]) == 1
    file = records.write(made())
    file.write_text("{", "utf-8")
    assert main(["status", "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "unknown paper" in said.err and file.name in said.err


def test_module_runs_as_a_command(book):
    words = [sys.executable, "-m", "saccade_lib.records", "status", "--json"]
    where = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(words, env=where, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == 4


@pytest.fixture
def real_book(monkeypatch):
    if not list((SOURCE / "book" / "published").glob("*.yml")):
        pytest.skip("book/published is not beside this library")
    monkeypatch.delenv("SACCADE_BOOK", raising=False)
    return SOURCE


def test_ledger_of_the_book_is_whole(real_book):
    ledger = records.status(real_book)
    pages = sorted((real_book / "book" / "published").glob("*.yml"))
    assert len(ledger) == sum(p.read_text("utf-8").count("table:") for p in pages)
    kinds = {records.verdict_kind(entry["verdict"]) for entry in ledger}
    assert kinds <= set(KINDS)
    for entry in ledger:
        lacking = entry["verdict"] in ("missing", "background")
        assert (entry["recorded"] is None) == lacking


def test_records_of_the_book_follow_their_names(real_book):
    found = records.collect(real_book)
    assert len({(r["paper"], records.run_name(r)) for r in found}) == len(found)
    known = {*records.papers(real_book), recorder.OF_NONE}
    assert {record["paper"] for record in found} <= known
