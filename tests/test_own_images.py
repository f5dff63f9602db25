"""A reader's folder becomes a classifier that looks, within its budget, and is kept."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade_lib import own_images, pyramid
from saccade_lib.data import made_images, prepared
from saccade_lib.data.folders import BadFolder
from saccade_lib.models import looking
from saccade_lib.models.looking import Looking
from saccade_lib.own_images import training
from saccade_lib.own_images.__main__ import main
from saccade_lib.runs import experiment, recorder
from saccade_lib.runs.own_images import ROWS

ROOT = Path(__file__).resolve().parents[1]
FEW = {"steps": 12, "batch": 8, "glimpses": 3}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return made_images.write(tmp_path_factory.mktemp("own"), 12, side=256, classes=3)


@pytest.fixture(scope="module")
def folder(images):
    return own_images.scan(images)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("copies")


@pytest.fixture(scope="module")
def pack(folder, cache):
    return prepared.prepare(folder, cache)


@pytest.fixture(scope="module")
def trained(folder, cache):
    decisions = own_images.decide(folder, **FEW)
    return own_images.train(folder, decisions, cache=cache, progress=False)


# ---------------------------------------------------------------- copies and windows


def test_copies_are_made_where_needed_and_once(folder, cache, pack):
    ends = {p.path.suffix: p.header.in_place for p in folder.pictures}
    assert ends == {".png": False, ".jpg": False, ".tif": True, ".svs": True}
    made = {path: path.stat().st_mtime_ns for path in cache.glob("*.tif")}
    assert len(made) == sum(not p.header.in_place for p in folder.pictures)
    again = prepared.prepare(folder, cache)
    assert again.paths == pack.paths
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.tif")} == made


def test_one_image_is_read_the_same_from_any_format(tmp_path):
    pixels, _ = made_images.image(1, 3, side=320)
    location = torch.tensor([[[0.3, -0.2], [-0.6, 0.55], [0.0, 0.0]]])
    seen = {}
    for end in made_images.FORMATS:
        path = tmp_path / f"a{end}"
        made_images.save(path, pixels)
        with own_images.looks.readable(path) as file, pyramid.Pyramids([file]) as store:
            crops = store.crop(torch.tensor([0]), location, 0.15, 32)
            seen[end] = crops, store.proxies(torch.tensor([0]), 32)
    for end in (".tif", ".svs"):
        assert torch.equal(seen[end][0], seen[".png"][0])
        # Levels differ: a file's own are as its maker averaged them.
        assert (seen[end][1] - seen[".png"][1]).abs().mean() < 0.004
    assert (seen[".jpg"][0] - seen[".png"][0]).abs().mean() < 0.02


def test_windows_from_memory_are_those_from_disk(folder, pack):
    assert pack.hold
    on_disk = replace(pack, hold=False)
    index, location = torch.arange(6), torch.rand(6, 3, 2) - 0.5
    for scale in (0.1, 0.4):
        held = pack.store.crop(index, location, scale, 16)
        assert torch.equal(held, on_disk.store.crop(index, location, scale, 16))
    assert torch.equal(pack.proxies(32), on_disk.proxies(32))


def test_batches_depend_on_seed_and_index_alone(pack):
    views = prepared.Views(pack, "train", seed=3)
    index = torch.tensor([30, 2, 2, 17])
    whole, again = views.batch(index), views.batch(index.flip(0))
    assert torch.equal(whole["proxy"], again["proxy"].flip(0))
    assert torch.equal(whole["label"], again["label"].flip(0))
    epoch = views.numbers(torch.arange(len(views)))
    assert sorted(epoch.tolist()) == sorted(pack.of("train").tolist())
    other = prepared.Views(pack, "train", seed=4).numbers(torch.arange(len(views)))
    assert other.tolist() != epoch.tolist()


def test_a_mirror_turns_proxy_and_windows_alike(pack):
    plain = prepared.Views(pack, "train").batch(torch.arange(16))
    views = prepared.Views(pack, "train", mirror=True)
    turned, batch = views.mirrored(torch.arange(16)), views.batch(torch.arange(16))
    assert 0 < turned.sum() < 16
    at, scale = torch.tensor([[[0.4, -0.1]]]).expand(16, 1, 2), torch.full((16, 1), 0.3)
    mirrored_at = at * torch.tensor([-1.0, 1.0])
    seen, before = batch["crop"](at, scale, 24), plain["crop"](mirrored_at, scale, 24)
    for b in range(16):
        proxy = plain["proxy"][b].flip(2) if turned[b] else plain["proxy"][b]
        assert torch.equal(batch["proxy"][b], proxy)
        if turned[b]:
            assert torch.allclose(seen[b], before[b].flip(3), atol=1e-5)
    held_out = prepared.Views(pack, "test", mirror=True)
    assert not held_out.mirrored(torch.arange(9)).any()


KILLED = """
import sys
from pathlib import Path
from saccade_lib.data import folders, prepared
folder = folders.scan(sys.argv[1], decode=False)
print("ready", flush=True)
while True:
    for path in Path(sys.argv[2]).glob("*.tif"):
        path.unlink()
    prepared.prepare(folder, Path(sys.argv[2]))
"""


def test_a_killed_run_goes_on(images, folder, tmp_path):
    words = [sys.executable, "-c", KILLED, images, tmp_path]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT)
    child.stdout.readline()
    for _ in range(1_000):
        if list(tmp_path.glob(".*.part")):
            break
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    whole = prepared.prepare(folder, tmp_path)
    assert not list(tmp_path.glob(".*.part"))
    for path in whole.paths:
        pyramid.open(path).proxy(16)


FULL = """
import resource, signal, sys
from pathlib import Path
from saccade_lib.data import folders, prepared
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = folders.scan(sys.argv[1], decode=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    prepared.prepare(folder, Path(sys.argv[2]))
except OSError as error:
    print(error)
"""


def test_a_full_disk_is_an_error_that_says_so(images, tmp_path):
    words = [sys.executable, "-c", FULL, images, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert "could not write" in done.stdout, done.stderr
    assert "disk space" in done.stdout and not list(tmp_path.iterdir())


def test_no_room_is_known_before_the_first_copy(folder, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1_000})
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="need no copy"):
        prepared.prepare(folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_that_break_after_the_scan_are_told_together(images, folder, tmp_path):
    broken = [p for p in folder.pictures if p.path.suffix == ".png"][:2]
    kept = {p.path: p.path.read_bytes() for p in broken}
    try:
        for path, whole in kept.items():
            path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BadFolder) as caught:
            prepared.prepare(folder, tmp_path)
    finally:
        for path, whole in kept.items():
            path.write_bytes(whole)
    assert len(caught.value.problems) == 2


# ---------------------------------------------------------------- decisions, budget


def test_decisions_follow_the_sizes_and_say_why(folder):
    made = own_images.decide(folder)
    assert made.proxy == 32 and made.glimpses == 4 and made.places == "spread"
    assert "too few" in made.reasons["places"]
    assert all(name in str(made) for name in ("proxy", "glimpses", "places"))
    large = replace(
        folder,
        pictures=tuple(
            replace(p, header=replace(p.header, width=40_000, height=30_000))
            for p in folder.pictures
        ),
    )
    made = own_images.decide(large)
    assert made.proxy == 128 and made.size == 64 and made.scale < 0.1
    given = own_images.decide(folder, proxy=16, size=16, glimpses=2, places="slope")
    assert not set(given.reasons) & {"proxy", "glimpses", "places"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxy": 30},
        {"size": 7},
        {"glimpses": 0},
        {"places": "random"},
        {"places": "luck"},
        {"scale": 1.5},
        {"batch": 1},
        {"controls": ("oracle",)},
    ],
)
def test_decisions_out_of_range_are_refused(folder, wrong):
    with pytest.raises(ValueError):
        own_images.decide(folder, **wrong)


def test_images_smaller_than_a_glimpse_are_named(folder):
    with pytest.raises(BadFolder, match="smaller than 400 pixels"):
        own_images.decide(folder, size=400)


def test_the_budget_is_within_a_factor_of_two(folder, tmp_path):
    """In the process's own CPU seconds, which neighbours on the machine change less."""
    decisions = own_images.decide(folder, steps=30, batch=16, places="reward")
    budget = own_images.estimate(folder, decisions, tmp_path)
    took = own_images.train(folder, decisions, cache=tmp_path, progress=False)
    ratio = took.cpu_seconds / budget.cpu_seconds
    assert 0.5 < ratio < 2, ratio
    assert all(f"{word} " in str(budget) for word in ("time", "memory", "disk"))
    bytes_made = sum(path.stat().st_size for path in tmp_path.glob("*.tif"))
    assert 0 < budget.disk < 2 * bytes_made
    assert 0 < budget.pixels < budget.of


# ---------------------------------------------------------------- the model


@pytest.mark.parametrize("places", looking.WAYS)
def test_windows_stay_inside_and_spread_out(pack, places):
    model = Looking(looking.Config(3, places=places, glimpses=4))
    batch = prepared.Views(pack, "train").batch(torch.arange(9))
    model.loss(batch).total.backward()
    seen = model.predict(batch["image"], batch=batch)
    assert seen.location.shape == (9, 4, 2) and seen.crops.shape == (9, 4, 3, 32, 32)
    assert (seen.location.abs() + 0.2).max() <= 1 + 1e-5
    assert torch.allclose(seen.after.sum(dim=2), torch.ones(9, 5))
    assert torch.equal(seen.after[:, -1], seen.probabilities)
    if places != "slope":
        apart = torch.cdist(seen.location, seen.location) + 9 * torch.eye(4)
        assert apart.min() > 0.1
    learns = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any("score" in name for name in learns) == (places in ("reward", "slope"))


def test_the_policy_learns_what_a_window_shows():
    """One cell of the proxy is bright; only the window there tells the class."""
    torch.manual_seed(0)
    model = Looking(looking.Config(2, glimpses=1, size=8, scale=0.25, channels=1))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    draw = torch.Generator().manual_seed(0)

    def batch(B=32):
        label = torch.randint(2, (B,), generator=draw)
        cell = torch.randint(1, 7, (B, 2), generator=draw)  # column, row of 8 x 8
        proxy = 0.1 * torch.rand(B, 1, 32, 32, generator=draw)
        for b, (x, y) in enumerate(cell.tolist()):
            proxy[b, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 0.8
        centre = (cell + 0.5) / 4 - 1

        def crop(location, scale, size):
            away = (location - centre[:, None]).abs().amax(dim=2)  # (B, T)
            on = (away < 0.26).float() * (0.2 + 0.7 * label[:, None])
            return on[..., None, None, None].expand(-1, -1, 1, size, size)

        return {"proxy": proxy, "label": label, "crop": crop}, centre

    for _ in range(100):
        optimiser.zero_grad()
        model.loss(batch()[0]).total.backward()
        optimiser.step()
    held_out, centre = batch(256)
    seen = model.predict(held_out["proxy"], batch=held_out)
    on = ((seen.location[:, 0] - centre).abs().amax(dim=1) < 0.26).float().mean()
    right = (seen.windows.argmax(dim=1) == held_out["label"]).float().mean()
    assert on > 0.9 and right > 0.9, (on, right)


def test_settling_finds_which_opinion_to_trust():
    model = Looking(looking.Config(2, channels=1, glimpses=1, size=8)).eval()
    label = torch.arange(40) % 2
    bright = label.float()[:, None, None, None].expand(-1, 1, 32, 32)
    with torch.no_grad():
        model.classify.weight.zero_()
        model.classify.bias.zero_()  # the windows say nothing
        last = model.classify_proxy[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([3.0, 0.0]))
    batch = {"proxy": bright, "label": torch.zeros_like(label)}
    batch["crop"] = lambda location, scale, size: torch.zeros(40, 1, 1, size, size)
    model.settle([batch])
    assert float(model.weight) == 0
    model.settle([batch | {"label": torch.ones_like(label)}])
    assert float(model.weight) == 1


# ---------------------------------------------------------------- trained


def test_a_report_compares_on_the_same_images(trained, folder):
    table = trained.report()
    assert len(table) == 3 and table.notna().all().all()
    n = len(folder.of("test"))
    assert {len(right) for right in trained.right.values()} == {n}
    trained = replace(trained, right={"saccading": [True] * 9 + [False]})
    trained.right |= {"proxy only": [False] * 10, "random": [True] * 10}
    glimpses, places = trained.verdict().splitlines()
    assert "+90.0" in glimpses and glimpses.endswith("they pay.")
    assert "-10.0" in places and "not decided" in places  # one image of ten
    trained.right["random"] = [False] * 10
    assert trained.verdict().splitlines()[1].endswith("they pay.")
    trained.right["proxy only"] = [True] * 10
    trained.right["saccading"] = [False] * 10
    assert trained.verdict().splitlines()[0].endswith("they do harm.")
    del trained.right["random"]
    assert len(trained.verdict().splitlines()) == 1


def test_training_again_gives_the_same(trained, folder, cache):
    again = own_images.train(folder, trained.decisions, cache=cache, progress=False)
    assert again.right == trained.right
    path = folder.of("test")[0].path
    assert torch.equal(again.predict(path).after, trained.predict(path).after)


def test_a_stopped_run_goes_on_and_another_folder_starts_anew(folder, cache, tmp_path):
    decisions = own_images.decide(folder, controls=(), **FEW)
    first = own_images.train(folder, decisions, tmp_path, cache, progress=False)
    again = own_images.train(folder, decisions, tmp_path, cache, progress=False)
    assert again.curves == first.curves
    fewer = replace(folder, pictures=folder.pictures[1:])
    own_images.train(fewer, decisions, tmp_path, cache, progress=False)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_boxes_are_pixels_of_the_image(trained, folder):
    for p in folder.of("test")[:4]:
        seen = trained.predict(p.path)
        x = (seen.location[:, 0] + 1) / 2 * p.header.width
        middle = (seen.boxes[:, 0] + seen.boxes[:, 2]) / 2
        assert (middle - x).abs().max() <= 1
        assert (seen.boxes[:, 3] <= p.header.height).all() and (seen.boxes >= 0).all()
        wide = (seen.boxes[:, 2] - seen.boxes[:, 0]).float()
        assert (wide - seen.scale * p.header.width).abs().max() <= 1


def test_the_log_has_a_line_a_glimpse(trained, folder, tmp_path):
    paths = [p.path for p in folder.of("test")[:3]]
    odd = tmp_path / 'a,"b"\nc.png'
    odd.write_bytes(next(p for p in paths if p.suffix == ".png").read_bytes())
    log = trained.log([*paths, odd], tmp_path / "log.csv")
    with log.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * (1 + trained.decisions.glimpses)
    assert lines[-1]["image"] == str(odd)
    seen = trained.predict(paths[0])
    assert lines[1]["x0"] == str(seen.boxes[0, 0].item())
    last = lines[trained.decisions.glimpses]
    assert last["predicted"] == seen.predicted
    assert float(last["probability"]) == pytest.approx(
        max(seen.probabilities.values()), abs=1e-6
    )


ASK = """
import json, sys
from saccade_lib import own_images
print(json.dumps(own_images.load(sys.argv[1]).predict(sys.argv[2]).after.tolist()))
"""


def test_a_fresh_process_gives_the_same_answer(trained, folder, tmp_path):
    trained.save(tmp_path / "kept")
    path = folder.of("test")[0].path
    words = [sys.executable, "-c", ASK, tmp_path / "kept", path]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    after = torch.tensor(json.loads(done.stdout))
    assert torch.allclose(after, trained.predict(path).after, atol=1e-6)
    loaded = own_images.load(tmp_path / "kept")
    assert loaded.decisions == trained.decisions and loaded.right == trained.right


def test_damaged_files_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        own_images.load(tmp_path)
    trained.save(tmp_path)
    about = tmp_path / "model.json"
    whole = about.read_text()
    for text in (
        whole[: len(whole) // 2],
        "{}",
        whole.replace('"size": 32', '"size": 7'),
    ):
        about.write_text(text)
        with pytest.raises(ValueError, match="save it again"):
            own_images.load(tmp_path)
    about.write_text(whole)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(ValueError, match="save it again"):
        own_images.load(tmp_path)


def test_other_images_are_refused_with_a_reason(trained, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match="a.png"):
        trained.predict(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        trained.predict(tmp_path / "b.png")
    made_images.save(tmp_path / "c.png", np.zeros((20, 90, 3), np.uint8))
    with pytest.raises(ValueError, match="90 x 20 pixels"):
        trained.predict(tmp_path / "c.png")


def test_pictures_are_drawn_in_their_aspect(trained, folder):
    path = folder.of("test")[0].path
    assert trained.draw(path).axes
    small = own_images.looks.thumbnail(path)
    at = folder.of("test")[0].header
    assert small.shape[2] / small.shape[1] == pytest.approx(
        at.width / at.height, rel=0.01
    )


# ---------------------------------------------------------------- ONNX


def test_both_graphs_give_what_the_model_gives(trained, folder, pack, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    places, answer = trained.to_onnx(tmp_path)
    batch = prepared.Views(pack, "test").batch(torch.arange(5))
    seen = trained.model.predict(batch["image"], batch=batch)
    first = onnxruntime.InferenceSession(places)
    (location,) = first.run(None, {"proxy": batch["proxy"].numpy()})
    assert np.abs(location - seen.location.numpy()).max() < 1e-4
    crops = batch["crop"](torch.from_numpy(location), seen.scale, 32)
    given = {"proxy": batch["proxy"].numpy(), "crops": crops.numpy()}
    (after,) = onnxruntime.InferenceSession(answer).run(None, given)
    assert np.abs(after - seen.after.numpy()).max() < 1e-4


def test_without_onnx_the_error_says_what_to_install(trained, tmp_path, monkeypatch):
    found = importlib.util.find_spec

    def find(name, *more):
        return None if name == "onnx" else found(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(own_images.CannotExport, match=r"saccade-lib\[export\]"):
        trained.to_onnx(tmp_path)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- from a script


def test_the_example_runs_on_a_folder(images, tmp_path, monkeypatch):
    source = ROOT / "examples" / "own_images.py"
    assert len(source.read_text().splitlines()) <= 30
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location("example", source)
    )
    module.__spec__.loader.exec_module(module)
    module.main(images, tmp_path / "out", controls=(), **FEW)
    made = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert made == {
        "model.safetensors",
        "model.json",
        "glimpses.csv",
        "where-it-looks.png",
    }


def test_the_command_estimates_and_says_what_is_wrong(
    images, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    words = [str(images), "--out", str(tmp_path), "--steps", "10", "--dry-run"]
    assert main(words) == 0
    assert "time " in capsys.readouterr().out
    out = tmp_path / "out"
    few = ["--steps", "4", "--proxy", "32", "--size", "16", "--glimpses", "2"]
    assert main([str(images), "--out", str(out), *few]) == 0
    said = capsys.readouterr().out
    assert "points over the proxy alone" in said and "over random places" in said
    classes = own_images.scan(images).classes
    drawn = {path.name for path in out.glob("*.png")}
    assert drawn == {f"where-it-looks-{name}.png" for name in classes}
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--out", str(tmp_path)]) == 1
    assert "expected two folders" in capsys.readouterr().err


def test_an_experiment_of_the_book_is_what_trains(folder):
    rows = training.rows(folder, own_images.decide(folder, **FEW))
    assert list(rows) == ["saccading", "random"]
    assert rows["saccading"].schedule.steps == FEW["steps"]
    assert rows["saccading"].test == len(folder.of("test"))


def test_a_row_of_made_images_makes_a_record(tmp_path, monkeypatch):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    run = ROWS["own-images-reward"]["quick"]
    made = experiment.train(run, 0, progress=False)
    assert made.pack.record()["source"] == "made-images"
    assert {"test_accuracy", "test_accuracy_proxy", "test_nll"} == set(made.metrics)
    assert recorder.described(run)["model"]["places"] == "reward"
    assert list(ROWS) == [f"own-images-{way}" for way in looking.WAYS]
    for by_profile in ROWS.values():
        parts = by_profile["standard"]
        assert parts.validation == parts.test == parts.count * 4 // 5
    (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith("made"))
    assert sum(path.is_file() for path in folder.rglob("*")) == 4 * run.count


LARGE = """
import resource, sys
import torch
from saccade_lib import own_images
small, large = sys.argv[2:4]
model = own_images.load(sys.argv[1])
for path in (small, large):
    model.predict(path)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_an_image_larger_than_the_memory_used(trained, tmp_path):
    """300 MiB of pixels are looked at with little more memory than a small image."""
    rng = np.random.default_rng(0)
    row = rng.integers(0, 256, (256, 10_240, 3), dtype=np.uint8)
    for name, side in (("small.tif", 1_024), ("large.tif", 10_240)):
        strips = (row[:, :side] for _ in range(side // 256))
        pyramid.write(tmp_path / name, strips, size=(side, side))
    trained.save(tmp_path)
    words = [
        sys.executable,
        "-c",
        LARGE,
        tmp_path,
        *(tmp_path / f"{n}.tif" for n in ("small", "large")),
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    small, large = map(float, done.stdout.split())
    assert large - small < 60


def test_saving_twice_leaves_nothing_half_written(trained, tmp_path):
    for _ in range(2):
        trained.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.safetensors"]
