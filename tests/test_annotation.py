"""Sets of sequences: made in blocks, killed, resumed, joined, read back."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saccade_lib import annotation
from saccade_lib.annotation import __main__ as command
from saccade_lib.annotation import files, job
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.design import Grid
from saccade_lib.models import avp
from saccade_lib.sequences import Settings

PLAN = job.Plan(
    ("g-set-digits-0", "g-set-digits-1"),
    "quick",
    count=24,
    database=40,
    settings=Settings(completions=4, ess=4.0, first=20),
    block=4,
)
AT = "_build/annotations/birds--paper"  # of which there is no plan: never made
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_annotation import made
from saccade_lib.annotation import job
one = made()
block = job.Job.block
def said(self, number):
    found = block(self, number)
    print("block", number, flush=True)
    return found
job.Job.block = said
job.run(one, range(len(one.blocks)), Path({path!r}))
"""


def made(plan=PLAN, seed=0):
    """A job whose networks are untrained."""
    torch.manual_seed(seed)
    config = avp.Config(10, 1, side=28, size=8, stride=4, width=2, features=4)
    networks = [avp.Avp(config), avp.Avp(config)]
    return job.Job("digits", plan, networks)


@pytest.fixture(autouse=True)
def small_digits(monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All blocks in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SACCADE_DATA", raising=False)
        patch.setenv("SACCADE_CACHE", str(tmp_path_factory.mktemp("none") / "no"))
        patch.setenv("TQDM_DISABLE", "1")
        one = made()
        path = tmp_path_factory.mktemp("whole") / "set.safetensors"
        job.run(one, range(len(one.blocks)), path)
        return annotation.load(path)


def same(one, other):
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in files.COLUMNS
    )


def test_a_set_holds_what_it_promises(whole):
    B, T, L, N = 24, 5, 36, 4
    assert whole.places.shape == (B, T) and whole.maps.shape == (B, T, L)
    assert whole.ess.shape == (B, T - 1) and whole.entropy.shape == (B, T)
    assert whole.completion.shape == whole.weights.shape == (B, T - 1, N)
    assert (whole.id.diff() > 0).all() and set(whole.fold.tolist()) == {0, 1}
    for places, maps in zip(whole.places.tolist(), whole.maps, strict=True):
        for t, (place, epe) in enumerate(zip(places, maps, strict=True)):
            left = [p for p in range(L) if p not in places[:t]]
            assert place == min(left, key=lambda p, epe=epe: float(epe[p]))
    assert whole.grid == Grid(28, 8, 4) and whole.locations.shape == (B, T, 2)
    assert whole.of(int(whole.id[3])) == 3
    with pytest.raises(ValueError, match="image 99999 has no sequence"):
        whole.of(99999)


def test_completions_come_from_the_other_fold_and_are_not_the_query(whole):
    one = made()
    folds = dict(zip(one.images.id.tolist(), one.images.fold.tolist(), strict=True))
    for id, fold, ids, weights in zip(
        whole.id.tolist(), whole.fold, whole.completion, whole.weights, strict=True
    ):
        used = set(ids[weights > 0].tolist())
        assert id not in used
        assert {folds[i] for i in used} == {int(fold)} == {folds[id]}


def test_a_killed_job_loses_one_block_at_most(tmp_path, whole, monkeypatch):
    path = tmp_path / "set.safetensors"
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(path))
    root = str(Path(__file__).parents[1])
    search = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", script]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search},
    )
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert lines[-1] == "block 2\n" and not path.exists()
    calls = []
    block = job.Job.block
    monkeypatch.setattr(
        job.Job, "block", lambda self, n: calls.append(n) or block(self, n)
    )
    one = made()
    job.run(one, range(len(one.blocks)), path)
    assert calls[-1] == 5 and len(calls) <= 4  # blocks 0 and 1 were there
    assert same(annotation.load(path), whole)


def test_shards_join_to_the_same_set(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(job, "PLANS", {("digits", "quick"): PLAN})
    monkeypatch.setattr(job, "folder_of", lambda name, profile: tmp_path / "at" / name)
    networks = dict(zip(PLAN.rows, made().networks, strict=True))
    monkeypatch.setattr(job, "posterior", lambda row, profile: networks[row])
    with pytest.raises(MissingData, match="lacks shard-1-of-2.safetensors, shard-2"):
        annotation.join("digits", "quick", 2)
    paths = [annotation.make("digits", "quick", k, 2) for k in (2, 1)]
    joined = annotation.load(annotation.join("digits", "quick", 2))
    assert same(joined, whole) and joined.about == whole.about
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptData, match="cut off"):
        annotation.join("digits", "quick", 2)


def test_a_set_of_other_data_is_made_again(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(job, "PLANS", {("digits", "quick"): PLAN})
    monkeypatch.setattr(job, "folder_of", lambda name, profile: tmp_path / "at" / name)
    networks = dict(zip(PLAN.rows, made().networks, strict=True))
    monkeypatch.setattr(job, "posterior", lambda row, profile: networks[row])
    source = made().source
    path = job.path_of("digits", "quick")
    foreign = whole.about | {"data": whole.about["data"] | {"sha256": {"other": "0"}}}
    for about in (None, foreign, whole.about):
        if about:
            files.save(path, replace(whole, places=whole.places.flip(1), about=about))
        found = job.current("digits", "quick", source)
        kept = about == whole.about  # of these data, whatever it says
        assert same(found, whole) != kept


def test_a_half_made_file_of_another_plan_is_refused(tmp_path):
    path = tmp_path / "set.safetensors"
    other = made(replace(PLAN, settings=replace(PLAN.settings, seed=1)))
    half = tmp_path / "set.half.safetensors"
    files.save(half, other.block(0))
    with pytest.raises(ValueError, match="another plan, data or network: delete it"):
        job.run(made(), range(6), path)
    assert half.exists() and not path.exists()


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, whole, monkeypatch):
    path = tmp_path / "set.safetensors"
    files.save(path, whole)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("saccade_lib.train.save_file", full)
    with pytest.raises(OSError, match="No space left.*is as it was"):
        files.save(path, replace(whole, id=whole.id + 1))
    assert same(annotation.load(path), whole)
    assert os.listdir(tmp_path) == ["set.safetensors"]


def test_the_workflow_plans_shards_and_their_joining():
    words = ["-n", "--nolock", "--cores", "1", "--config", "shards=2", "--"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, f"{AT}.safetensors"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for shard in ("1-of-2", "2-of-2"):
        assert f"{AT}/shard-{shard}.safetensors" in said


def test_what_is_no_set_is_explained(tmp_path):
    path = tmp_path / "set.safetensors"
    with pytest.raises(MissingData, match="make SET --profile"):
        annotation.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CorruptData, match="cut off or no file of sequences"):
        annotation.load(path)


def test_the_command_names_what_there_is(capsys):
    with pytest.raises(SystemExit):
        command.main(["make", "cats"])
    assert "birds" in capsys.readouterr().err
    assert command.main(["make", "digits", "--profile", "paper"]) == 1
    assert "digits at quick" in capsys.readouterr().err
    assert command.main(["make", "digits", "--shard", "3/2"]) == 1
    assert "the first is 1/2" in capsys.readouterr().err


# ---- The authors' sequences


def write(folder, rows, name="data/birds/train/images/1.png"):
    for k, row in enumerate(rows):
        lines = [f"{r}, {c}" for r, c in row]
        (folder / f"{k}.txt").write_text("\n".join([*lines, name]))


def test_published_sequences_are_read(tmp_path):
    grid = Grid(128, 32, 8)
    write(tmp_path, [[(40, 48), (96, 0)], [(40, 48), (0, 96)]] + [[(8, 8), (8, 8)]] * 9)
    names, places = annotation.published(tmp_path, grid)
    assert len(names) == 11 and names[0] == "data/birds/train/images/1.png"
    assert grid.corners[places[1]].tolist() == [[40, 48], [0, 96]]  # 1.txt, not 10.txt


@pytest.mark.parametrize(
    "rows, message",
    [
        ([[(40, 47)]], "'40, 47' is no `row, col` of a corner"),
        ([[(104, 0)]], "lies outside of images of 128"),
        ([[(0, 0)], [(0, 0), (8, 8)]], "unequal length"),
        ([], "no sequences"),
    ],
)
def test_published_sequences_that_are_wrong_are_refused(tmp_path, rows, message):
    write(tmp_path, rows)
    with pytest.raises((CorruptData, MissingData), match=message):
        annotation.published(tmp_path, Grid(128, 32, 8))
