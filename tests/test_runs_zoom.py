"""Rows that read small things in larger images, and what is measured on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from saccade_lib import records
from saccade_lib.data import door
from saccade_lib.models import cam, dynamic
from saccade_lib.models.recurrent_attention import Config as RamConfig
from saccade_lib.models.zoom import SaliencyNetwork
from saccade_lib.models.zoom_classifier import ClassifierConfig, ZoomClassifier
from saccade_lib.runs.experiment import build, train
from saccade_lib.runs.learning_to_zoom import classes, gains, settings
from saccade_lib.runs.on_zoom import OnZoom, stopped


@pytest.fixture(scope="module")
def pack():
    """Squares whose grey says the digit."""
    labels = np.arange(60) % 10
    images = np.zeros((60, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = (60 + 19 * labels)[:, None, None]
    return door.Pack("b", "none", {}, "", images, labels, images[:20], labels[:20])


@pytest.mark.parametrize("way", ["sampler", "uniform", "oracle", "cam", "dynamic"])
def test_rows_train_and_say_what_they_read(pack, way):
    run = classes.ROWS[f"{way}-digits"]["quick"]
    found = train(run, 0, progress=False, pack=pack).metrics
    assert 0 <= found["test_accuracy"]["value"] <= found["test_top5"]["value"] <= 100
    if way == "dynamic":
        glimpses = [found[f"test_glimpses_{t}"]["value"] for t in (50, 70, 90)]
        assert 1 <= glimpses[0] <= glimpses[1] <= glimpses[2] <= classes.GLIMPSES
        return
    share = 100 * (28 / 128) ** 2
    assert found["test_pixels_on_object"]["value"] > (
        2 * share if way == "oracle" else 0
    )
    if way == "uniform":
        assert abs(found["test_pixels_on_object"]["value"] - share) < 1
        assert abs(found["test_largest_zoom"]["value"] - 1) < 1e-4
        assert abs(found["test_covered"]["value"] - 100) < 1e-3
    assert ("test_map_entropy" in found) == (way in ("sampler", "oracle"))


def test_data_must_be_known():
    with pytest.raises(ValueError, match="data"):
        OnZoom(model=None, schedule=None, data="birds")


# ----------------------------------------------------------- class activation maps


def test_connected_places_hang_together_with_the_largest():
    M = torch.zeros(1, 5, 7)
    M[0, 1, 1:4] = torch.tensor([0.5, 1.0, 0.3])
    M[0, 2, 4] = 0.4  # touches at a corner
    M[0, 4, 6] = 0.9  # stands alone
    M[0, 0, 1] = 0.1  # too little
    inside = cam.connected(M, 0.2)
    assert inside[0].nonzero().tolist() == [[1, 1], [1, 2], [1, 3], [2, 4]]
    left, top, right, bottom = cam.around(inside)[0].tolist()
    assert (left, right) == pytest.approx((2 / 7 - 1, 10 / 7 - 1))
    assert (top, bottom) == pytest.approx((2 / 5 - 1, 6 / 5 - 1))
    assert not cam.connected(torch.zeros(1, 2, 2), 0.2).sum() > 4


def test_boxes_have_a_least_side_and_stay_inside():
    corner = torch.zeros(1, 40, 40, dtype=torch.bool)
    corner[0, 0, 39] = True
    left, top, right, bottom = cam.around(corner)[0].tolist()
    least = 2 * cam.LEAST
    assert right == pytest.approx(1) and top == pytest.approx(-1)
    assert right - left == pytest.approx(least) == pytest.approx(bottom - top)


def test_a_map_adds_up_to_the_score_where_features_are_alone():
    run = classes.ROWS["cam-digits"]["quick"]
    model = build(run, 0).eval()
    J = torch.rand(2, 1, 24, 24)
    with torch.no_grad():
        features = model.task.body(J)
        top = model.task(J).argmax(dim=1)
        M = model.maps(J)
        each = (features * model.task.fc.weight[top][:, :, None, None]).sum(dim=1)
    assert torch.allclose(M, each.clamp(min=0), atol=1e-5)
    box = model.box(J)
    assert (box[:, :2] < box[:, 2:]).all() and (box.abs() <= 1 + 1e-6).all()


@pytest.mark.parametrize("wrong", [{"above": 0.0}, {"reader": "sampler"}, {"whole": 2}])
def test_bad_maps_are_refused(wrong):
    with pytest.raises(ValueError, match="uniform|shares"):
        cam.CamConfig(classes=3, size=(8, 8), **wrong)


# ----------------------------------------------------------- glimpses in turn


def test_every_glimpse_has_the_label_and_an_answer(pack):
    config = classes.ROWS["dynamic-digits"]["quick"].model
    model = build(classes.ROWS["dynamic-digits"]["quick"], 0)
    run = classes.ROWS["dynamic-digits"]["quick"]
    batch = run.canvases(pack, "test", 0).batch(torch.arange(6))
    T = config.glimpses
    assert torch.equal(model.targets(batch), batch["label"][:, None].expand(6, T))
    torch.manual_seed(0)
    every = model.after_each(batch["image"])
    torch.manual_seed(0)
    last = model.predict(batch["image"]).probabilities
    assert every.shape == (6, T, 10) and torch.equal(every[:, -1], last)


def test_stopping_counts_glimpses_and_answers():
    class Known:
        """Answers that get surer: right from the second glimpse on."""

        def after_each(self, images):
            p = torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.05, 0.95]])
            return p.expand(len(images), 3, 2)

    batches = [{"image": torch.zeros(4, 1), "label": torch.ones(4).long()}]
    found = stopped(Known(), batches)
    assert [found[f"glimpses_{t}"] for t in (50, 70, 90)] == [1, 2, 3]
    assert [found[f"accuracy_{t}"] for t in (50, 70, 90)] == [0, 100, 100]


def test_one_target_a_glimpse_is_needed():
    with pytest.raises(ValueError, match="target"):
        dynamic.DynamicConfig(classes=3, glimpses=4)
    base = RamConfig(classes=3, glimpses=4, targets=4)
    assert replace(base, reward="likelihood").reward == "likelihood"


# ----------------------------------------------------------- differences of rows


def test_gains_are_differences_of_rows_of_one_seed(monkeypatch):
    """Against numbers by hand: every row's is its place in a list, and its seed's."""
    seen, names = [], ["uniform-scenes", "cam-scenes", "sampler-ipad", "stn-tps-ipad"]

    def load(path):
        row, _, seed = path.stem.split("--")
        seen.append(seed)
        value = 10.0 * names.index(row) if row in names else 100.0
        every = ("test_accuracy", "test_top5", "test_error")
        return {"metrics": {name: {"value": value} for name in every}}

    monkeypatch.setattr(records, "load", load)
    found = gains.read(gains.Gains(), 2, "cpu", None).metrics
    assert set(seen) == {"2"}
    assert found["top1_cam"] == {"value": 10.0, "unit": "points"}
    assert found["top5_sampler"]["value"] == 100.0
    assert found["ipad_smallest"] == {"value": 30.0 - 20.0, "unit": "cm"}
    assert found["ipad_largest"]["value"] == 100.0 - 20.0
    assert found["cub_over_plain"]["value"] == 0.0

    def missing(path):
        raise FileNotFoundError(path.stem)

    monkeypatch.setattr(records, "load", missing)
    with pytest.raises(FileNotFoundError, match="uniform-scenes--standard--1"):
        gains.read(gains.Gains(), 1, "cpu", None)


def test_settings_are_those_of_the_networks_that_train():
    """The printed settings by hand, and a deeper network counted as deeper."""
    found = settings.of_gaze() | settings.of_classes()
    assert (found["gaze_outputs"], found["itracker_inputs"]) == (2, 4)
    assert [settings.layers_of(SaliencyNetwork(n, 4)) for n in (6, 10, 14)] == [
        6,
        10,
        14,
    ]
    assert found["inaturalist_saliency_layers"] == found["cub_saliency_layers"] == 14


def test_task_networks_of_the_paper_answer_for_its_sides():
    for task, side in (("resnet-50", 64), ("inception-v3", 96)):
        config = ClassifierConfig(
            size=(side, side), classes=3, channels=3, task=task, reader="uniform"
        )
        net = ZoomClassifier(config).eval()
        p = net.predict(torch.rand(2, 3, 100, 100)).probabilities
        assert p.shape == (2, 3) and torch.allclose(p.sum(1), torch.ones(2))
    with pytest.raises(ValueError, match="resnet-50 reads 3 channels, not 1"):
        replace(config, task="resnet-50", channels=1)
