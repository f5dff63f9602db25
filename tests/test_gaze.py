"""Drawn faces, GazeCapture's loader, and the networks that tell where they look."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade_lib.data import gaze, gaze_capture, gaze_drawing
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.models import gaze as networks
from saccade_lib.models import itracker
from saccade_lib.runs import find, on_gaze
from saccade_lib.runs.experiment import build, train

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import loops  # noqa: E402  (the plain way that `make bench` compares with)

EDGES = gaze.SCREENS["iphone"].edges
TINY = networks.Config(edges=EDGES, size=(32, 32), width=4, hidden=8, cells=9)


# ---------------------------------------------------------------------- drawn faces


@pytest.mark.parametrize("device", gaze.SCREENS)
def test_an_image_is_a_function_of_its_index(device):
    faces = gaze.Faces(device, side=64)
    index = torch.arange(40)
    whole = faces.batch(index)
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    again = faces.batch(shuffled)
    for name, value in whole.items():
        assert torch.equal(again[name], value[shuffled]), name
    alone = faces.batch(torch.tensor([23]))
    assert torch.equal(alone["image"][0], whole["image"][23])
    other = gaze.Faces(device, side=64, seed=1).batch(index)
    assert not torch.equal(other["target"], whole["target"])


def test_kept_images_are_the_drawn_ones():
    drawn = gaze.Faces(side=64).batch(torch.arange(6))
    kept = gaze.Faces(side=64, kept=6)
    for index in (torch.tensor([4, 1]), torch.arange(6), torch.tensor([7, 13])):
        assert torch.equal(kept.batch(index)["image"], drawn["image"][index % 6])
        assert torch.equal(kept.batch(index)["target"], drawn["target"][index % 6])


def test_people_of_two_splits_never_mix():
    """The same number is another person in another split; a person has one look."""
    looks = {}
    for split in gaze.PEOPLE:
        scene = gaze.Faces(split=split).scene(torch.arange(3_000))
        assert int(scene.person.min()) >= 0
        assert int(scene.person.max()) == gaze.PEOPLE[split] - 1
        kappa = scene.look["kappa"]
        for person in (0, 7):
            own = kappa[scene.person == person]
            assert len(own) and (own == own[0]).all()
        looks[split] = {tuple(row) for row in kappa.tolist()}
        seeded = gaze.Faces(split=split, seed=5).scene(torch.arange(10))
        same = torch.equal(seeded.target, scene.target[:10])
        assert same == (split != "train")
    assert not looks["train"] & looks["test"]
    assert not looks["train"] & looks["validation"]


@pytest.mark.parametrize("device", gaze.SCREENS)
def test_dots_are_on_the_screen_and_axes_lead_there(device):
    scene = gaze.Faces(device).scene(torch.arange(500))
    left, top, right, bottom = gaze.SCREENS[device].edges
    low, high = scene.target.amin(dim=0), scene.target.amax(dim=0)
    assert left <= low[0] < left + 0.2 and right - 0.2 < high[0] <= right
    assert top <= low[1] < top + 0.3 and bottom - 0.3 < high[1] <= bottom
    norm = scene.axis.norm(dim=-1)
    assert torch.allclose(norm, torch.ones_like(norm))
    # Kappa of 1.5 degrees an axis: Rayleigh's mean, by the distance.
    off = gaze.error(gaze.without_kappa(scene), scene.target)
    reach = scene.eyes[..., 2].mean()
    expected = np.deg2rad(gaze.KAPPA) * np.sqrt(np.pi / 2) * reach
    assert float(off.mean()) == pytest.approx(float(expected), rel=0.25)
    both = torch.eye(3).double().expand(500, 3, 3)
    assert torch.allclose(scene.turn @ scene.turn.mT, both, atol=1e-12)


def test_boxes_lie_on_what_they_name():
    faces = gaze.Faces(side=256)
    batch = faces.batch(torch.arange(30))
    scene = faces.scene(torch.arange(30))
    for k in range(2):
        iris = scene.project(scene.eyes[:, k] + gaze.IRIS_AT * scene.axis[:, k])
        box = batch["eyes"][:, k].double()
        inside = (iris >= box[:, :2]) & (iris <= box[:, 2:])
        assert inside.double().mean() > 0.95
    assert (batch["eyes"][:, 0, 0] < batch["eyes"][:, 1, 0]).all()
    square, face = batch["detected"][:, 2], batch["face"]
    middle = (face[:, :2] + face[:, 2:]) / 2
    assert ((square[:, :2] - middle).abs() <= 0.1 * square[:, 2:]).all()


def test_an_iris_moves_by_less_than_a_pixel_at_a_time():
    """Steps of a hundredth of a pixel change the picture in one direction."""
    size = 24
    part = gaze_drawing.Part(
        torch.ones(1, 3, size, size),
        torch.arange(size)[None, None] + 0.5,
        torch.arange(size)[None, :, None] + 0.5,
    )
    shape = torch.eye(2)[None] / 5.0
    middles = []
    for step in range(30):
        centre = torch.tensor([[12.0 + step / 100, 12.3]])
        cover = part.ellipse(centre, shape)[0].double()
        assert float(cover.sum()) == pytest.approx(np.pi * 25, rel=0.02)
        middles.append(float((cover.sum(0) * part.x[0, 0]).sum() / cover.sum()))
    assert np.allclose(np.diff(middles), 0.01, atol=5e-4)


def test_drawing_is_near_to_four_points_a_pixel():
    """Apart from noise, and from edges that are twice as sharp."""
    faces = gaze.Faces(side=128)
    fine, drawn = loops.faces(faces, 4), faces.batch(torch.arange(4))["image"]
    assert (fine - drawn).abs().mean() < 0.015
    assert (fine - drawn).flatten(1).abs().quantile(0.99, dim=1).max() < 0.15


def test_wrong_streams_are_refused():
    for wrong, message in (
        ({"device": "watch"}, "device must be one of iphone, ipad"),
        ({"split": "all"}, "split must be one of"),
        ({"camera": "back"}, "camera must be one of wide, close"),
        ({"side": 8}, "side is at least 32"),
    ):
        with pytest.raises(ValueError, match=message):
            gaze.Faces(**wrong)


# ------------------------------------------------------------------------- networks


@pytest.mark.parametrize("reader", ["uniform", "sampler", "affine", "tps", "grid"])
def test_answers_are_on_the_screen_and_gradients_reach_the_image_reader(reader):
    torch.manual_seed(0)
    net = networks.Gaze(replace(TINY, reader=reader, deformable=reader == "uniform"))
    batch = gaze.Faces(side=64).batch(torch.arange(4))
    loss = net.train().loss(batch)
    loss.total.backward()
    last = [p for n, p in net.reader.named_parameters() if "last" in n]
    assert all(p.grad is not None for p in last)
    place = net.predict(batch["image"]).place
    left, top, right, bottom = EDGES
    assert (
        (place > torch.tensor([left, top])) & (place < torch.tensor([right, bottom]))
    ).all()


def test_told_eyes_are_enlarged():
    net = networks.Gaze(replace(TINY, reader="oracle", size=(64, 64), cells=31))
    batch = gaze.Faces("ipad").batch(torch.arange(8))
    seen = net.read(batch["image"], batch)
    found = on_gaze.at_eyes(seen, batch["eyes"])
    assert (found["zoom_at_eyes"] > 1.5).all() and (found["eyes_found"] == 100).all()
    plain = networks.Gaze(replace(TINY, reader="uniform", size=(64, 64)))
    even = on_gaze.at_eyes(plain.read(batch["image"]), batch["eyes"])
    assert float(even["zoom_at_eyes"].mean()) == pytest.approx(1, abs=0.2)
    with pytest.raises(ValueError, match=r'told by batch\["eyes"\]'):
        net.predict(batch["image"])


def test_itracker_reads_its_four_inputs():
    torch.manual_seed(0)
    net = itracker.ITracker(itracker.Config(EDGES, size=32, width=3))
    batch = gaze.Faces(side=64).batch(torch.arange(4))
    before = net.predict(batch["image"], batch=batch).place
    away = batch["detected"].clone()
    away[:, :, 0] -= 0.2
    after = net.predict(batch["image"], batch=batch | {"detected": away}).place
    assert before.shape == (4, 2) and (before != after).any()
    with pytest.raises(ValueError, match="needs detections"):
        net.predict(batch["image"])
    square = torch.tensor([[0.0, 0.0, 1.0], [-0.5, 0.5, 0.21]])
    grid = itracker.face_grid(square).view(2, 25, 25)
    assert grid[0].sum() == 625 and grid[1].sum() == 25
    assert grid[1, :12, :].sum() == 0 and grid[1, :, 13:].sum() == 0


def test_the_papers_sizes_fit():
    with torch.device("meta"):
        for name in ("alexnet", "deformable", "sampler"):
            row = find("learning-to-zoom", f"{name}-iphone--paper--0").experiment
            task = networks.alexnet(row.model)
            assert task(torch.empty(2, 3, 227, 227)).shape == (2, 2)
        net, features = itracker.tower(itracker.Config(EDGES, 224, "paper", 96))
        assert features == 12 * 12 * 64
        assert net(torch.empty(2, 3, 224, 224)).shape == (2, features)


def test_a_row_keeps_the_weights_of_the_least_error():
    run = find("learning-to-zoom", "alexnet-iphone--quick--0").experiment
    schedule = replace(run.schedule, steps=6, batch=8, validate_every=2)
    tiny = replace(
        run, model=TINY, schedule=schedule, side=64, kept=16, validation=10, test=10
    )
    tiny = replace(tiny, schedule=replace(schedule, choose_after=0.0))
    outcome = train(tiny, 0, progress=False)
    errors = outcome.fit.curves["validation_error"]
    assert outcome.fit.best == -min(errors)
    assert outcome.metrics["test_error"]["unit"] == "cm"
    assert build(tiny, 0).state_dict().keys() == outcome.model.state_dict().keys()


# ---------------------------------------------------------------------- GazeCapture


@pytest.fixture
def copy(tmp_path):
    """Four recordings of three frames, one of them without a face."""
    kinds = {"00002": "train", "00010": "val", "00011": "test", "00012": "train"}
    for number, split in kinds.items():
        top = tmp_path / number
        (top / "frames").mkdir(parents=True)
        names = [f"0000{k}.jpg" for k in range(3)]
        for k, name in enumerate(names):
            pixels = np.full((64, 48, 3), 40 * (k + 1), np.uint8)
            Image.fromarray(pixels).save(top / "frames" / name)
        device = "iPad Air" if number == "00012" else "iPhone 6"
        valid = {"IsValid": [1, 0, 1]}
        box = {"X": [10.0] * 3, "Y": [20.0] * 3, "W": [24.0] * 3, "H": [24.0] * 3}
        eye = {"X": [2.0] * 3, "Y": [6.0] * 3, "W": [6.0] * 3, "H": [6.0] * 3}
        files = {
            "frames": names,
            "info": {"Dataset": split, "DeviceName": device, "TotalFrames": 3},
            "dotInfo": {"XCam": [1.0, 2.0, 3.0], "YCam": [-4.0, -5.0, -6.0]},
            "appleFace": box | valid,
            "appleLeftEye": eye | valid | {"X": [14.0] * 3},
            "appleRightEye": eye | valid,
            "faceGrid": {"X": [1] * 3} | valid,
            "screen": {"Orientation": [1, 1, 3 if number == "00002" else 1]},
        }
        for name, content in files.items():
            (top / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_a_copy_is_read(copy):
    pack = gaze_capture.gaze_capture(copy, "iphone", quiet=True)
    assert {k: len(v) for k, v in pack.frames.items()} == {
        "train": 1,
        "validation": 2,
        "test": 2,
    }
    turned = gaze_capture.gaze_capture(copy, "iphone", upright=False, quiet=True)
    assert len(turned.frames["train"]) == 2
    assert pack.source == "gazecapture" and pack.sha256 != turned.sha256
    batch = gaze_capture.Frames(pack, "test", side=32).batch(torch.tensor([0, 1, 2]))
    assert batch["target"].tolist() == [[1, 4], [3, 6], [1, 4]]  # y turned
    assert batch["person"].tolist() == [11, 11, 11]
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["image"][1].mean() == pytest.approx(120 / 255, abs=0.02)
    # The right eye is at the image's left: face's corner + 2 + half of 6, of 48.
    first = batch["detected"][0, 0].tolist()
    assert first == pytest.approx([2 * 15 / 48 - 1, 2 * 29 / 64 - 1, 6 / 48])
    net = itracker.ITracker(itracker.Config(EDGES, size=32, width=3))
    assert net.predict(batch["image"], batch=batch).place.shape == (3, 2)


def test_what_lacks_or_is_wrong_is_named(copy, monkeypatch):
    read = lambda device="iphone": gaze_capture.gaze_capture(copy, device, quiet=True)  # noqa: E731
    with pytest.raises(MissingData, match="no frame of ipad and validation"):
        read("ipad")
    with pytest.raises(ValueError, match="device must be one of"):
        read("phone")
    with pytest.raises(MissingData, match="no folder"):
        gaze_capture.gaze_capture(copy / "elsewhere", "iphone")
    (copy / "00011" / "faceGrid.json").write_text('{"IsValid": [1]}')
    with pytest.raises(CorruptData, match="not as long as frames.json"):
        read()
    (copy / "00011" / "faceGrid.json").unlink()
    with pytest.raises(MissingData, match="recording is not whole"):
        read()
    (copy / "00010" / "info.json").write_text("{")
    with pytest.raises(CorruptData, match="is no JSON"):
        read()
    monkeypatch.delenv("SACCADE_GAZECAPTURE", raising=False)
    row = find("learning-to-zoom", "alexnet-iphone--paper--0").experiment
    with pytest.raises(MissingData, match="set SACCADE_GAZECAPTURE"):
        row.find(quiet=True)
