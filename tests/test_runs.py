"""A row is found, trained, measured, recorded and read back as what it was."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
from test_digits import embedded

from saccade_lib import cost, records, session
from saccade_lib.data import digits
from saccade_lib.models import baselines, dynamic
from saccade_lib.models.variational_saccading import Config
from saccade_lib.runs import Measured, Measurement, experiment, find, recorder, runs
from saccade_lib.runs import __main__ as command
from saccade_lib.runs.experiment import build, evaluate, train
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.recorder import recorded_model
from saccade_lib.train import Schedule

PAPER = "variational-saccading"
TINY = OnDigits(
    "identification",
    model=Config(
        classes=55,
        proxy=8,
        glimpses=2,
        size=8,
        scale=(0.6, 0.6),
        narrow_to=0.3,
        features=8,
        hidden=8,
        sigma=0.2,
    ),
    schedule=Schedule(steps=4, batch=8, validate_every=2, choose_after=1.0),
    side=84,
    seeds=(0, 1),
    validation=20,
    test=30,
)
PLAIN = replace(TINY, model=baselines.Config(55, width=4, hidden=8))


@pytest.fixture(autouse=True)
def small_digits(monkeypatch, tmp_path):
    """The embedded digits, whatever this machine has."""
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.delenv("SACCADE_DOWNLOAD", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))


@pytest.fixture
def book(tmp_path, monkeypatch):
    """An empty book whose one row is tiny."""
    (tmp_path / "book" / "published").mkdir(parents=True)
    (tmp_path / "_config.yml").touch()
    monkeypatch.setenv("SACCADE_BOOK", str(tmp_path))
    row = {"saccading-identification": {"standard": TINY}}
    monkeypatch.setattr(recorder, "ROWS", {PAPER: row})
    return tmp_path


def recorded(book, seed=0):
    run = find(PAPER, f"saccading-identification--standard--{seed}")
    said = []
    return recorder.record(run, book / "work", "cpu", said.append), said


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


# ---------------------------------------------------------------------------- finding


@pytest.mark.parametrize(
    "paper, name, message",
    [
        ("no-paper", "a--quick--0", "no runs of paper 'no-paper': one of variational"),
        (PAPER, "saccading-sum", "ROW--PROFILE--SEED, not 'saccading-sum'"),
        (PAPER, "saccading-sum--quick--x", "ROW--PROFILE--SEED, not"),
        (PAPER, "saccading-sum--quick--0--1", "ROW--PROFILE--SEED, not"),
        (PAPER, "no-row--quick--0", "no row 'no-row' in .*one of .*saccading-sum"),
        (PAPER, "saccading-sum--fast--0", "unknown profile 'fast'"),
        (PAPER, "saccading-single--paper--0", "no profile 'paper': one of quick, sta"),
        (PAPER, "saccading-sum--quick--00", "it is called saccading-sum--quick--0"),
        (PAPER, "saccading-sum--quick---1", "seed must be an integer >= 0.*-1"),
    ],
)
def test_a_run_that_is_not_there_is_named(paper, name, message):
    with pytest.raises(ValueError, match=message):
        find(paper, name)


def test_every_run_is_found_by_its_name():
    everything = runs(("quick", "standard", "paper"))
    assert len({run.path for run in everything}) == len(everything) > 50
    for run in everything:
        assert find(run.paper, run.name) == run
        assert run.path.name == f"{run.name}.json"
    assert {run.profile for run in runs()} == {"standard", "paper"}


def test_every_paper_with_runs_has_its_published_cells():
    assert set(recorder.ROWS) - {recorder.OF_NONE} == set(records.papers())


def test_the_tables_want_three_seeds_or_more():
    for run in runs():
        assert len(run.experiment.seeds) >= 3


def test_every_row_is_complete():
    """Every configuration builds, and fits the classes and channels of its canvases."""
    packs = {}
    for run in runs(("quick", "standard", "paper")):
        if run.seed or isinstance(run.experiment, Measurement):
            continue
        model = run.experiment.model
        own = getattr(run.experiment, "own", False)  # pictures that only a reader has
        kind = experiment.MODELS[type(model)] if own else run.experiment.kind()
        with torch.device("meta"):
            assert cost.parameters(kind(model)) > 0
        if own:
            continue
        which = (getattr(run.experiment, name, "") for name in ("data", "task"))
        family = type(run.experiment), *which
        if family not in packs:
            packs[family] = run.experiment.find(quiet=True)
        drawn = packs[family].origin == "embedded"
        if drawn and getattr(run.experiment, "species", False):
            continue  # drawn birds are fewer species than the pack's
        canvases = run.experiment.canvases(packs[family], "validation", 0)
        sequence = getattr(model, "targets", 1) > 1  # digit by digit
        sequence &= not isinstance(model, dynamic.DynamicConfig)  # one label each time
        assert run.experiment.model.classes == (10 if sequence else canvases.classes)
        image = canvases.batch(torch.arange(1))["image"]
        assert run.experiment.model.channels == image.shape[1]


def test_the_listing_is_json_and_text(capsys, book):
    recorded(book)
    capsys.readouterr()
    assert command.main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["seed"], row["recorded"]) for row in listed] == [(0, True), (1, False)]
    name = "saccading-identification--standard--1"
    assert listed[1] == {
        "paper": PAPER,
        "row": "saccading-identification",
        "profile": "standard",
        "seed": 1,
        "path": f"book/records/{PAPER}/{name}.json",
        "recorded": False,
        "command": f"make record RUN={PAPER}/saccading-identification "
        "PROFILE=standard SEED=1",
    }
    assert command.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [listed[1]["command"], "1 of 2 runs are recorded"]


def test_the_command_refuses_what_it_does_not_know(capsys, book):
    with pytest.raises(SystemExit) as stopped:
        command.main(["make", PAPER, "no-row--quick--0"])
    assert stopped.value.code == 2
    assert "no row 'no-row'" in capsys.readouterr().err
    assert not (book / "book" / "records").exists()


def test_the_command_makes_a_run(capsys, book):
    name = "saccading-identification--standard--1"
    assert command.main(["make", PAPER, name, "--device", "cpu"]) == 0
    assert records.load(book / "book" / "records" / PAPER / f"{name}.json")["seed"] == 1
    assert (book / "_build" / "runs" / PAPER / name / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("tiny", [TINY, PLAIN], ids=["saccading", "resnet18"])
def test_the_published_cells_name_rows_and_numbers_that_are_made(tiny, monkeypatch):
    monkeypatch.setattr(cost, "peak_device_memory", lambda run, device: run() or 2**30)
    outcome = train(tiny, 0, progress=False)
    made = outcome.metrics | outcome.costs
    prefix = "saccading" if tiny is TINY else "resnet18"
    cells = [cell for cell in records.published(PAPER) if cell.record_row]
    asked = [cell for cell in cells if cell.record_row.startswith(prefix)]
    assert asked
    for cell in cells:
        there = recorder.ROWS[PAPER][cell.record_row]
        assert set(cell.profiles) & (set(there) - {"quick"}), cell.name
    for cell in asked:
        assert made[cell.record_metric]["unit"] == cell.unit, cell.name


# -------------------------------------------------------------------------- describing


def test_descriptions_survive_json_and_tell_experiments_apart():
    seen = {}
    for run in runs(("quick", "standard", "paper")):
        told = recorder.described(run.experiment)
        text = json.dumps(told, sort_keys=True)
        assert json.loads(text) == told
        part = "config" if isinstance(run.experiment, Measurement) else "model"
        assert "seeds" not in told and "." in told[part]["kind"]
        seen.setdefault(text, set()).add((run.row, run.profile))
    assert all(len(rows) == 1 for rows in seen.values())


def test_a_description_tells_every_change():
    changes = [{"side": 90}, {"clutter": 3}, {"test": 31}, {"enlarge": 200}]
    changes += [{"model": replace(TINY.model, sigma=0.4)}]
    changes += [{"schedule": replace(TINY.schedule, clip=2.0)}]
    told = recorder.described(TINY)
    for change in changes:
        assert recorder.described(replace(TINY, **change)) != told
    assert recorder.described(replace(TINY, seeds=(5,))) == told


# ----------------------------------------------------------------- training, measuring


def test_the_first_weights_are_a_function_of_the_seed():
    before = torch.get_rng_state()
    one, two, other = build(TINY, 3), build(TINY, 3), build(TINY, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(state(one), state(two)) and not same(state(one), state(other))


def test_the_same_seed_gives_the_same_numbers():
    one, two, other = (train(TINY, seed, progress=False) for seed in (1, 1, 2))
    timed = {"seconds_per_epoch", "cpu_seconds_per_epoch", "train_seconds"}
    assert one.metrics == two.metrics and same(state(one.model), state(two.model))
    assert not same(state(one.model), state(other.model))
    for name in set(one.costs) - timed:
        assert one.costs[name] == two.costs[name]
    assert one.pack.source == "sklearn-digits"
    assert set(one.metrics) == {
        "test_accuracy",
        "test_accuracy_sampled",
        "test_hit_rate",
    }


def test_what_is_tested_is_the_model_that_is_handed_over():
    outcome = train(TINY, 0, progress=False)
    canvases = TINY.canvases(outcome.pack, "test", 0)
    again = evaluate(outcome.model, canvases, TINY.test)
    assert {f"test_{k}": v for k, v in again.items()} == {
        name: entry["value"] for name, entry in outcome.metrics.items()
    }
    validated = outcome.fit.curves["validation_accuracy"]
    assert validated[-1] == outcome.fit.best and len(validated) == 2


@pytest.mark.parametrize("tiny", [TINY, PLAIN], ids=["saccading", "resnet18"])
def test_measuring_costs_leaves_the_model_as_it_was(tiny):
    outcome = train(tiny, 0, progress=False)
    before, stream = state(outcome.model), tiny.canvases(outcome.pack, "train", 0)
    costs = experiment.measure_costs(
        outcome.model, stream, outcome.fit, torch.device("cpu")
    )
    assert same(before, state(outcome.model)) and not outcome.model.training
    assert all(p.grad is None or p.requires_grad for p in outcome.model.parameters())
    assert costs["parameters"] == {
        "value": cost.parameters(outcome.model) / 1e6,
        "unit": "M",
    }
    rate = outcome.fit.seconds / (tiny.schedule.steps * tiny.schedule.batch)
    assert costs["seconds_per_epoch"]["value"] == pytest.approx(60_000 * rate)
    # One thread cannot use more of a processor than time passes, but for a tick.
    of_process = costs["cpu_seconds_per_epoch"]["value"]
    ticks = 0.02 * 60_000 / (tiny.schedule.steps * tiny.schedule.batch)
    threads = torch.get_num_threads()
    assert 0 < of_process <= threads * costs["seconds_per_epoch"]["value"] + ticks


def test_evaluating_counts_every_canvas_once(monkeypatch):
    class Knows(torch.nn.Module):
        """Right on two canvases of three, and always at the first digit's centre."""

        def predict(self, images, sample=False, batch=None):
            wrong = torch.arange(len(images)) % 3 == 0
            guess = torch.where(wrong, (batch["label"] + 1) % 55, batch["label"])
            chances = torch.nn.functional.one_hot(guess, 55).float()
            return baselines.Prediction(chances)

    pack = embedded()
    canvases = digits.Canvases(pack, "identification", "test")
    before = torch.get_rng_state()
    monkeypatch.setattr(experiment.batches_of, "__defaults__", ("cpu", 6))
    assert evaluate(Knows(), canvases, 27) == {"accuracy": pytest.approx(100 * 18 / 27)}
    assert torch.equal(torch.get_rng_state(), before)
    sizes = [len(b["label"]) for b in experiment.batches_of(canvases, 27)]
    assert sizes == [6, 6, 6, 6, 3]


def test_a_hit_is_a_window_within_a_quarter_of_the_digit():
    canvases = digits.Canvases(embedded(), "sum")  # 28 of 100 pixels: 7 pixels are 0.14
    batch = {"centre": torch.tensor([[[0.0, 0.0], [0.5, -0.5]]])}
    near, far = 0.139, 0.141
    for x, y, wanted in [
        (near, -near, [True, False]),
        (far, 0.0, [False, False]),
        (0.0, -far, [False, False]),
        (0.5 - near, -0.5, [False, True]),
    ]:
        location = torch.tensor([[[x, y], [-0.9, 0.9]]])
        assert canvases.hits(location, batch)[0].tolist() == wanted
    both = torch.tensor([[[0.5, -0.5], [0.0, 0.0], [0.0, 0.0]]])
    assert canvases.hits(both, batch)[0].tolist() == [True, True]


def test_oracle_windows_always_hit():
    places = replace(TINY.model, places="oracle", scale=(0.3, 0.3), narrow_to=None)
    oracle = replace(TINY, model=places)
    canvases = oracle.canvases(embedded(), "test", 0)
    assert evaluate(build(oracle, 0), canvases, 40)["hit_rate"] == 100


# --------------------------------------------------------------------------- recording


def test_a_run_ends_in_a_valid_record_and_is_made_once(book, monkeypatch):
    path, said = recorded(book)
    made = records.load(path)  # checks schema, digest and name
    assert records.collect() == [made]
    assert made["config"] == recorder.described(TINY)
    assert made["data"]["source"] == "sklearn-digits"
    assert made["command"].startswith("make record RUN=variational-saccading/")
    assert made["curves"]["step"] == [2, 4]
    assert {"class", "reconstruction", "kl", "window"} < made["curves"].keys()
    assert "sklearn" not in said[0] and "%" in said[0]
    weights = path.with_suffix(".safetensors")
    before = path.read_bytes(), weights.read_bytes()
    monkeypatch.setattr(recorder, "train", None)  # a second training would raise
    again, said = recorded(book)
    assert again == path and "recorded already" in said[0]
    assert (path.read_bytes(), weights.read_bytes()) == before


def test_the_recorded_model_is_the_tested_one(book):
    path, _ = recorded(book)
    made = records.load(path)
    model = recorded_model("saccading-identification", "standard")
    assert not model.training
    canvases = TINY.canvases(embedded(), "test", 0)
    for name, value in evaluate(model, canvases, TINY.test).items():
        assert value == made["metrics"][f"test_{name}"]["value"], name
    wide, later = made["curves"]["window"]  # means of two steps each
    assert wide == pytest.approx(0.6)
    assert float(model.window_side) == pytest.approx(2 * later - 0.6)  # the last one's


def test_weights_lie_beside_the_first_seed_only(book, monkeypatch):
    path, _ = recorded(book, seed=1)
    assert not path.with_suffix(".safetensors").exists()
    with pytest.raises(FileNotFoundError, match="make record RUN=.* SEED=1"):
        recorded_model("saccading-identification", "standard", seed=1)
    monkeypatch.setattr(recorder, "WEIGHTS_LIMIT", 1000)
    path, _ = recorded(book)
    assert path.exists() and not path.with_suffix(".safetensors").exists()


def test_weights_of_another_configuration_are_refused(book, monkeypatch):
    recorded(book)
    changed = replace(TINY, model=replace(TINY.model, sigma=0.1))
    row = {"saccading-identification": {"standard": changed}}
    monkeypatch.setitem(recorder.ROWS, PAPER, row)
    with pytest.raises(ValueError, match="trained in another configuration"):
        recorded_model("saccading-identification", "standard")


def test_weights_made_before_a_field_came_into_the_code_are_read(book):
    path, _ = recorded(book)
    weights, notes = experiment.training.read_tensors(path.with_suffix(".safetensors"))
    # TINY sets the first; the others stand at their defaults.
    for part, gone in (("model", "sigma"), ("model", "places"), ("schedule", "graph")):
        older = {k: v for k, v in notes["config"][part].items() if k != gone}
        written = {"config": notes["config"] | {part: older}}
        experiment.training.write_tensors(
            path.with_suffix(".safetensors"), weights, written
        )
        if gone != "sigma":
            recorded_model("saccading-identification", "standard")
            continue
        with pytest.raises(ValueError, match="trained in another configuration"):
            recorded_model("saccading-identification", "standard")


def test_weights_in_the_book_are_read_by_the_code_of_today():
    found = sorted((session.root() / "book" / "records").rglob("*.safetensors"))
    assert found
    for path in found:
        row, profile, seed = path.stem.split("--")
        recorded_model(row, profile, int(seed), paper=path.parent.name)


@dataclass(frozen=True)
class Count:
    upto: int


def count(config, seed, device, folder):
    (folder / "scratch").write_text("large")
    total = sum(range(config.upto + 1)) + seed
    return Measured(metrics={"total": {"value": total, "unit": ""}})


def test_a_measured_row_is_recorded_like_a_trained_one(book, monkeypatch):
    row = {"a-sum": {"standard": Measurement(count, Count(upto=4), seeds=(0, 1, 2))}}
    monkeypatch.setitem(recorder.ROWS, PAPER, row)
    said = []
    path = recorder.record(
        find(PAPER, "a-sum--standard--2"), book / "work", "cpu", said.append
    )
    made = records.load(path)
    assert made["metrics"] == {"total": {"value": 12, "unit": ""}}
    assert made["config"] == {"config": {"kind": f"{__name__}.Count", "upto": 4}}
    assert made["data"]["source"] == "none" and not made["data"]["sha256"]
    assert said == [f"{PAPER}/a-sum--standard--2: measured in 0 s"]
    assert not path.with_suffix(".safetensors").exists()


def test_an_interrupted_run_leaves_no_record_and_goes_on(book, monkeypatch):
    whole = train(TINY, 0, progress=False)
    step, taken = experiment.training._update, []

    def stops(*words):
        taken.append(words[4])
        if len(taken) == 3:
            raise KeyboardInterrupt
        return step(*words)

    fit = experiment.training.fit
    often = lambda *words, **options: fit(*words, **options, checkpoint_every=0)  # noqa: E731
    monkeypatch.setattr(experiment.training, "fit", often)
    monkeypatch.setattr(experiment.training, "_update", stops)
    with pytest.raises(KeyboardInterrupt):
        recorded(book)
    assert not list((book / "book").rglob("*.json"))
    made = records.load(recorded(book)[0])
    assert taken == [0, 1, 2, 2, 3]
    assert made["metrics"] == whole.metrics
