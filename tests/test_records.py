"""Recorded runs on disk: nothing lost, nothing half-written, nothing changed unseen."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_book import found_book, made

from saccade_lib import records, session

SOURCE = Path(session.__file__).parents[1]


@pytest.fixture
def book(tmp_path, monkeypatch):
    return found_book(tmp_path, monkeypatch)


def test_what_is_written_is_what_is_read(book):
    record = made()
    path = records.write(record)
    assert path == book / "book/records/tnet/toy--standard--0.json"
    assert path == records.path_of(record) and os.listdir(path.parent) == [path.name]
    assert records.load(path) == record == records.collect()[0]


def test_digest_is_the_sha256_of_the_canonical_json():
    record = made()
    rest = {key: record[key] for key in sorted(record) if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert record["digest"] == hashlib.sha256(text.encode()).hexdigest()


def test_arrays_and_numpy_numbers_become_plain_json(book):
    metrics = {"test_accuracy": {"value": np.float32(0.5), "unit": "%"}}
    curves = {"step": np.arange(3), "loss": np.array([3.0, 2.0, 1.0])}
    record = made(metrics=metrics, curves=curves, seed=int(np.int64(4)))
    assert records.load(records.write(record))["curves"]["step"] == [0, 1, 2]
    with pytest.raises(ValueError, match="cannot hold"):
        made(config={"device": object()})


def leaves(value, path=()):
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in list(keys):
            yield from leaves(value[key], (*path, key))
    else:
        yield path


@pytest.mark.parametrize(
    "path", list(leaves(made())), ids=lambda p: ".".join(map(str, p))
)
def test_any_changed_value_is_found(book, path):
    file = records.write(made())
    record = json.loads(file.read_text("utf-8"))
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    inner[path[-1]] = old + 1 if isinstance(old, int | float) else f"{old}x"
    file.write_text(json.dumps(record), "utf-8")
    with pytest.raises(ValueError):
        records.load(file)
    with pytest.raises(ValueError):
        records.collect()


def test_changed_number_is_reported_as_such(book):
    file = records.write(made(accuracy=90.25))
    file.write_text(file.read_text("utf-8").replace("90.25", "98.25"), "utf-8")
    with pytest.raises(ValueError, match=r"toy--standard--0.*digest does not match"):
        records.load(file)
    changed = made() | {"seed": 3}
    with pytest.raises(ValueError, match="digest does not match"):
        records.write(changed)


def test_no_prefix_of_a_file_passes_for_the_file(book):
    file = records.write(made())
    whole = file.read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a whole record"):
            records.load(file)
    file.write_bytes(whole)
    assert records.load(file)["seed"] == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"seed": 1, "seed": 2}', "stands twice"),
        ('{"a": NaN}', "NaN"),
        ("\xff", "utf"),
    ],
)
def test_loose_json_is_refused(book, text, fault):
    file = book / "toy--standard--0.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=fault):
        records.load(file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"profile": "huge"}, "profile: 'huge'"),
        ({"row": "a--b"}, "row: 'a--b'"),
        ({"row": "../x"}, "row: '../x'"),
        ({"row": "line\n"}, "row: "),
        ({"paper": "T Net"}, "paper: 'T Net'"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 1.0}, "seed must be an integer"),
        ({"seed": True}, "seed: True"),
        ({"data": {"sha256": {}}}, "data: 'source'"),
        ({"data": {"source": "mnist", "sha256": {"f": "12"}}}, "data.sha256.f"),
        ({"metrics": {"a": {"value": None, "unit": "%"}}}, "metrics.a.value: None"),
        ({"metrics": {"a": {"value": "9", "unit": "%"}}}, "metrics.a.value: '9'"),
        ({"metrics": {"a": {"value": 9}}}, "metrics.a: 'unit'"),
        (
            {"metrics": {"a": {"value": float("nan"), "unit": ""}}},
            "metrics.a.value is nan",
        ),
        ({"costs": {"a": {"value": -np.inf, "unit": ""}}}, "costs.a.value is -inf"),
        ({"curves": {"a": [1.0, float("nan")]}}, "curves.a.1 is nan"),
        ({"curves": {"a": [1.0], "b": [1.0, 2.0]}}, "curves differ in length"),
        ({"config": {"rate": float("inf")}}, "config.rate is inf"),
        ({"metrics": {}, "costs": {}}, "metrics and costs are both empty"),
        ({"hardware": {"device": "cpu"}}, "hardware: 'name'"),
        ({"started": "yesterday"}, "started: 'yesterday'"),
        ({"wall_seconds": -1}, "wall_seconds: -1"),
        ({"fingerprint": "abc"}, "fingerprint: 'abc'"),
    ],
)
def test_wrong_field_is_named_and_nothing_written(book, change, named):
    good = {key: value for key, value in made().items() if key != "digest"}
    with pytest.raises(ValueError, match=re.escape(named)):
        made(**change)
    with pytest.raises(ValueError, match=re.escape(named)):
        records.write(good | change)
    assert not (book / "book" / "records").exists()


@pytest.mark.parametrize("key", [*made(), "surplus"])
def test_missing_or_surplus_field_is_named(book, key):
    record = made()
    file = records.write(record)
    changed = {k: v for k, v in record.items() if k != key}
    changed |= {"surplus": 1} if key == "surplus" else {}
    file.write_text(json.dumps(changed), "utf-8")
    with pytest.raises(ValueError, match=f"{file.name}.*'{key}'"):
        records.load(file)


def test_file_name_and_content_must_agree(book):
    file = records.write(made())
    other = file.with_name("toy--standard--1.json")
    file.rename(other)
    with pytest.raises(ValueError, match="must agree"):
        records.load(other)
    (book / "book/records/learning-to-zoom").mkdir()
    moved = other.rename(book / "book/records/learning-to-zoom" / file.name)
    with pytest.raises(ValueError, match="must agree"):
        records.collect()
    moved.unlink()
    assert records.collect() == []


def test_a_run_is_recorded_once_unless_replaced(book):
    first, second = made(accuracy=90), made(accuracy=91)
    file = records.write(first)
    with pytest.raises(FileExistsError, match="recorded already"):
        records.write(second)
    assert records.load(file) == first and len(os.listdir(file.parent)) == 1
    records.write(second, replace=True)
    assert records.load(file) == second and len(os.listdir(file.parent)) == 1


def test_without_hard_links_a_run_is_still_recorded_once(book, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    file = records.write(made(accuracy=90))
    with pytest.raises(FileExistsError, match="recorded already"):
        records.write(made(accuracy=91))
    assert records.load(file) == made(accuracy=90)
    assert os.listdir(file.parent) == [file.name]


def in_new_process(book, code, *words):
    """Start Python on a few lines, with the book and its tools at hand."""
    start = "import os, signal, sys; from pathlib import Path\n"
    start += "from saccade_lib import records; from toy_book import made\n"
    paths = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    where = os.environ | {"SACCADE_BOOK": str(book), "PYTHONPATH": paths}
    command = [sys.executable, "-c", start + code, *words]
    return subprocess.Popen(command, env=where, text=True, stdout=subprocess.PIPE)


def test_of_two_writers_one_wins_each_run(book):
    code = """
book, me = Path(os.environ["SACCADE_BOOK"]), float(sys.argv[1])
mine = [made(accuracy=me, seed=seed) for seed in range(30)]
(book / f"ready-{me}").touch()
while not (book / "go").exists():
    pass
for record in mine:
    try:
        records.write(record)
        print(record["seed"])
    except FileExistsError:
        pass
"""
    writers = [in_new_process(book, code, me) for me in ("1.0", "2.0")]
    while len(list(book.glob("ready-*"))) < 2:
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.01)
    (book / "go").touch()
    won = [list(map(int, writer.communicate()[0].split())) for writer in writers]
    assert sorted(won[0] + won[1]) == list(range(30))
    kept = {
        r["seed"]: r["metrics"]["test_accuracy"]["value"] for r in records.collect()
    }
    assert kept == dict.fromkeys(won[0], 1.0) | dict.fromkeys(won[1], 2.0)
    assert len(os.listdir(book / "book/records/tnet")) == 30


def test_a_writer_who_comes_at_the_last_moment_is_not_overwritten(book, monkeypatch):
    first, second = made(accuracy=90), made(accuracy=91)
    real = {"link": os.link, "replace": os.replace}

    def just_before(name):
        def call(*paths):
            for each in real:
                monkeypatch.setattr(os, each, real[each])
            records.write(first)
            return real[name](*paths)

        return call

    for name in real:
        monkeypatch.setattr(os, name, just_before(name))
    with pytest.raises(FileExistsError):
        records.write(second)
    assert records.collect() == [first]


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit to set")
def test_full_disk_leaves_the_old_record_and_no_part(book):
    file = records.write(made(accuracy=90))
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
for seed in (0, 1):
    try:
        records.write(made(accuracy=95, seed=seed), replace=True)
    except OSError as error:
        print(error)
"""
    said = in_new_process(book, code).communicate()[0]
    assert said.count("record not written, nothing changed: File too large") == 2
    assert records.load(file) == made(accuracy=90)
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process to fork and kill")
def test_a_kill_while_writing_leaves_the_old_record(book):
    file = records.write(made(accuracy=90))
    code = """
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
for seed in (0, 1):
    child = os.fork()
    if child == 0:
        records.write(made(accuracy=95, seed=seed), replace=True)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""
    said = in_new_process(book, code).communicate()[0]
    assert said.split() == [str(int(signal.SIGKILL))] * 2
    assert records.collect() == [made(accuracy=90)]
    assert [p.name for p in file.parent.glob("[!.]*")] == [file.name]
    assert records.load(records.write(made(accuracy=95, seed=1)))["seed"] == 1
