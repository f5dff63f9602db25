"""Rows that are told places: whose, of which images, and how they are tested."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from saccade_lib import records
from saccade_lib.data import birds, door
from saccade_lib.data.taught import UNKNOWN
from saccade_lib.models.partial_supervision import UNKNOWN as OF_MODEL
from saccade_lib.models.partial_supervision import Config, WsramConfig
from saccade_lib.runs import on_sequences
from saccade_lib.runs.experiment import build, train
from saccade_lib.runs.near_optimal_glimpses import partial, settings
from saccade_lib.runs.on_sequences import OnSequences
from saccade_lib.train import Schedule

SCHEDULE = Schedule(steps=2, batch=8, validate_every=1)
DIGITS = OnSequences(
    "digits",
    model=replace(partial.DIGITS, glimpses=3),
    schedule=SCHEDULE,
    known=10,
    validation=20,
    test=20,
)
BIRDS = replace(
    DIGITS, images="birds", model=replace(partial.BIRDS, classes=16, glimpses=5)
)


@pytest.fixture(scope="module")
def digits():
    return door._embedded_digits()


def known_of(run, pack, seed=0):
    stream = run.canvases(pack, "train", seed)
    return stream.images, stream.places[0]


def test_half_of_the_known_images_are_of_each_fold_and_no_others_have_places(digits):
    images, known = known_of(replace(DIGITS, told="random"), digits)
    has = (known != UNKNOWN).all(dim=1)
    assert has.sum() == 10 and images.fold[has].sum() == 5
    assert (known[~has] == UNKNOWN).all() and OF_MODEL == UNKNOWN
    assert (known < DIGITS.grid.L).all()
    for split in ("validation", "test"):
        stream = replace(DIGITS, told="random").canvases(digits, split, 0)
        assert (stream.places[0] == UNKNOWN).all()
    assert (known_of(DIGITS, digits)[1] == UNKNOWN).all()


def test_designed_places_are_those_of_the_same_image(digits, monkeypatch):
    from saccade_lib.annotation import job

    run = replace(DIGITS, told="designed", plus=True)
    images, _ = known_of(DIGITS, digits)
    some = images.id[run.annotated_rows(images)].flip(0)  # in another order
    places = (some[:, None] * 7 + torch.arange(5)) % run.grid.L
    set_of = SimpleNamespace(
        places=places,
        maps=torch.rand(len(some), 5, run.grid.L),
        of=lambda id: some.tolist().index(id),
    )
    monkeypatch.setattr(job, "current", lambda name, profile, source: set_of)
    stream = run.canvases(digits, "train", 0)
    known, spread = stream.places
    for id, row in zip(images.id.tolist(), known, strict=True):
        wanted = [(id * 7 + t) % run.grid.L for t in range(3)]
        assert row.tolist() == (wanted if id in some else [UNKNOWN] * 3)
    assert spread.argmax() == set_of.maps[0, 0].argmin()  # RAM+'s heuristic


def test_a_teacher_draws_for_each_image(digits, monkeypatch):
    from saccade_lib.annotation import job

    model = build(DIGITS, 3).eval()
    monkeypatch.setattr(job, "posterior", lambda row, profile: model)
    run = replace(DIGITS, told="ram", teacher="ram-digits")
    images, known = known_of(run, digits)
    drawn = known[run.annotated_rows(images)]
    assert len(drawn.unique(dim=0)) > 5
    assert torch.equal(known_of(run, digits)[1], known)
    assert not torch.equal(known_of(run, digits, seed=1)[1], known)


def test_every_attribute_is_known_of_the_birds_that_are_drawn_too():
    found = birds.drawn()
    for name, attribute in partial.TASKS.items():
        assert 0 < found.has(attribute).mean() < 1
        assert partial.ROWS[f"ps-nogs-birds-{name}"]["quick"].designs == f"birds-{name}"


def test_labels_by_an_attribute_are_those_of_the_species():
    name = "has_belly_color::white"
    run = replace(BIRDS, attribute=name, model=replace(BIRDS.model, classes=2))
    found = birds.drawn()
    named, species = run.part(found, "test"), BIRDS.part(found, "test")
    assert torch.equal(
        named.label.bool(), torch.from_numpy(found.has(name))[species.label]
    )
    assert named.classes == 2


@pytest.mark.parametrize("kind", ["told", "sleep", "control"])
def test_a_row_trains_and_is_tested(kind):
    model = BIRDS.model
    if kind == "sleep":
        model = WsramConfig(16, channels=3, baseline="none", drawn=0.2)
    elif kind == "control":
        model = replace(model, places="random")
    run = replace(BIRDS, told="hand", model=model)
    outcome = train(run, 0, progress=False, pack=birds.drawn())
    names = {"test_accuracy", "test_cross_entropy", "test_on_parts"}
    assert set(outcome.metrics) == names
    assert outcome.metrics["test_cross_entropy"]["unit"] == "nats"
    assert all(len(v) == 2 for v in outcome.fit.curves.values())


def test_the_share_on_parts_is_counted_glimpse_by_glimpse():
    batch = {
        "label": torch.zeros(1),
        "parts": torch.tensor([[[0.0, 0.0], [0.9, 0.9]]]),
        "visible": torch.tensor([[True, False]]),
    }
    at = torch.tensor([[0.2, 0.0], [0.3, 0.0], [0.9, 0.9], [-0.25, 0.25]])
    share = BIRDS.on_parts(at[None], batch)  # half a glimpse is 0.25 wide
    assert share.tolist() == [0.5]  # the hidden part counts for nothing


def test_an_untrained_network_is_tested_at_its_own_draws(digits):
    model = build(DIGITS, 0).eval()
    stream = DIGITS.canvases(digits, "test", 0)
    first, again = (DIGITS.evaluate(model, stream, 20, "cpu") for _ in range(2))
    assert first == again and set(first) == {"accuracy", "cross_entropy"}
    assert first["accuracy"] * 20 * on_sequences.DRAWS % 100 == pytest.approx(
        0, abs=1e-3
    )


def test_all_methods_of_a_set_share_what_must_be_equal():
    for images in ("digits", "birds", "birds-wing"):
        rows = [
            r["standard"] for n, r in partial.ROWS.items() if n.endswith(f"-{images}")
        ]
        assert len(rows) == {"digits": 7, "birds": 11, "birds-wing": 5}[images]
        assert all(r.schedule.factor(s) == 1 for r in rows for s in (500, 2_999))
        assert len({(r.schedule, r.known, r.grid, r.test) for r in rows}) == 1
        shapes = {(r.model.width, r.model.glimpses, r.model.drawn) for r in rows}
        assert len(shapes) == 1


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(told="authors"), "told"),
        (dict(images="cars"), "images"),
        (dict(known=1), "2 or more"),
        (dict(told="ram"), "needs a teacher"),
        (dict(teacher="ram-digits"), "nothing else does"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        replace(DIGITS, **wrong)


def test_the_model_is_the_papers_in_small():
    assert isinstance(partial.BIRDS, Config)
    assert (BIRDS.grid.n, BIRDS.grid.side, BIRDS.grid.size) == (13, 64, 16)
    net = build(BIRDS, 0)
    assert torch.allclose(net.policy.cells, BIRDS.grid.locations, atol=1e-6)
    digits = build(DIGITS, 0)
    assert torch.allclose(digits.policy.cells, DIGITS.grid.locations, atol=1e-6)


def test_settings_differ_from_the_paper_where_the_chapter_says_so():
    cells = [c for c in records.published("near-optimal-glimpses")]
    cells = [c for c in cells if c.record_row == "settings" and not c.data]
    made = records.load(
        records.path_of(
            {
                "paper": "near-optimal-glimpses",
                "row": "settings",
                "profile": "paper",
                "seed": 0,
            }
        )
    )["metrics"]
    differ = {
        (c.row, c.column)
        for c in cells
        if c.verdict(made[c.record_metric]["value"]) != "reproduced"
    }
    assert differ == {
        ("both", "gan-images"),  # no GAN: real pictures
        ("cub", "grid-side"),  # 13 in the code; 12 end before the border
        ("cub", "glimpse-net-layers"),  # no pretrained weights
        ("celeba-hq", "grid-side"),  # birds of 64 pixels
    }


def test_settings_count_what_is_trained():
    pack = birds.drawn()
    found = settings.counts(BIRDS, pack)
    images = BIRDS.canvases(pack, "train", 0).images
    assert found["train"][0] == len(images) and found["classes"][0] == 16
    assert found["sequences"][0] == BIRDS.known
    assert found["layers"][0] == 2  # of the glimpse network
    assert found["seen_at_most"][0] == pytest.approx(100 * 5 * 16**2 / 64**2)
