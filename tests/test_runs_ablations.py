"""A row of the ablations differs from its reference in what it says, nowhere else."""

from dataclasses import asdict, replace

import pytest
import torch
from test_digits import embedded

from saccade_lib import records
from saccade_lib.models.variational_saccading import Config, VariationalSaccading
from saccade_lib.runs.variational_saccading import (
    ablations,
    as_released,
    convergence,
    settings,
)
from saccade_lib.runs.variational_saccading.ablations import BASE, in_our_z
from saccade_lib.train import Schedule

PAPER = "variational-saccading"
FIELDS = {  # by the beginning of a row's name, what it may change in the model
    "ablation-noise": set(),
    "ablation-variance-free": {"sigma_max"},
    "ablation-variance": {"fixed_variance", "sigma_max"},
    "ablation-glimpses": {"glimpses"},
    "ablation-random": {"glimpses", "places"},
    "ablation-kl": {"kl_weight"},
    "ablation-proxy": {"proxy"},
    "ablation-base": set(),
    "released-sum": {"objective"},
    "released-product-weights": {"reconstruction_weight", "kl_weight"},
    "released-product": {"objective"},
    "released-free-noise": {"sigma_max"},
    "released-kl-reading": {"sigma_max", "kl_reading"},
    "released-dense": {"posterior"},
    "released-window": {"posterior", "window"},
    "released-state": {"state_in_classifier"},
    "released-full-proxy": {"proxy"},
}
SACCADING = {
    row: run["standard"]
    for row, run in (ablations.ROWS | as_released.differences()).items()
    if isinstance(run["standard"].model, Config)
}


@pytest.fixture
def small_digits(monkeypatch, tmp_path):
    """The embedded digits, whatever this machine has."""
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "no cache"))


@pytest.mark.parametrize("row", sorted(SACCADING.keys() - {"released-all"}))
def test_a_row_changes_what_its_name_says_and_nothing_else(row):
    named = max((n for n in FIELDS if row.startswith(n)), key=len)
    one, base = asdict(SACCADING[row].model), asdict(BASE.model)
    changed = {name for name in base if one[name] != base[name]}
    assert changed == FIELDS[named] or changed | {"glimpses"} == FIELDS[named]
    rest = replace(SACCADING[row], model=BASE.model, seeds=BASE.seeds)
    assert replace(rest, noise=0.0) == BASE
    noisy = row.startswith(("ablation-noise", "ablation-variance"))
    assert (SACCADING[row].noise > 0) is noisy


def test_all_of_the_code_s_differences_are_each_a_row():
    everything = asdict(as_released.ROWS["released-all"]["standard"].model)
    alone = {}
    for row in ("product", "kl-reading", "window", "state", "full-proxy"):
        model = asdict(as_released.ROWS[f"released-{row}"]["standard"].model)
        alone |= {k: v for k, v in model.items() if v != asdict(BASE.model)[k]}
    assert everything == asdict(BASE.model) | alone


def test_the_paper_s_variances_have_five_seeds_and_the_noisiest_proxy():
    for variance in ablations.VARIANCES:
        name = f"ablation-variance-{ablations.named(variance)}"
        run = ablations.ROWS[name]["standard"]
        assert len(run.seeds) == 5 and run.noise == max(ablations.NOISES)


def test_a_variance_is_brought_over_by_the_window_s_slope_at_zero():
    model = VariationalSaccading(BASE.model).double()
    z = torch.zeros(1, 1, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.window(z)[0][0, 0, 0], z)
    for variance in ablations.VARIANCES:
        in_theirs = ablations.OFFSET**2 * variance
        assert abs(float(slope[0, 0, 1]) ** 2 * in_our_z(variance) - in_theirs) < 1e-7


def test_optimism_is_what_the_choosing_set_says_beyond_the_other():
    found = as_released.optimism([10.0, 30.0, 20.0], [20.0, 10.0, 40.0])
    # One chooses its second validation, the other its third.
    assert found == {"reported": 35.0, "fresh": 15.0, "optimism": 20.0, "last": 30.0}
    same = as_released.optimism([1.0, 2.0], [1.0, 2.0])
    assert same["optimism"] == 0


def test_choosing_scores_two_sets_of_other_canvases(small_digits):
    tiny = replace(
        BASE,
        model=replace(BASE.model, features=8, hidden=8),
        schedule=Schedule(steps=4, batch=8, validate_every=1),
    )
    choosing = as_released.Choosing(tiny, images=40)
    found = as_released.choose(choosing, 0, torch.device("cpu"), None)
    one, other = (found.curves[f"validation_{n}"] for n in ("accuracy", "other"))
    assert len(one) == 4 and one != other
    expected = as_released.optimism(one, other)
    assert {k: v["value"] for k, v in found.metrics.items()} == expected
    test = tiny.canvases(embedded(), "test", 0)
    second = as_released._Part(test, torch.arange(40, 80)).batch(torch.arange(3))
    assert torch.equal(second["image"], test.batch(torch.arange(40, 43))["image"])


def test_the_settings_that_are_read_are_the_printed_ones(small_digits):
    found = settings.read(settings.Rows(), 0, torch.device("cpu"), None).metrics
    cells = [c for c in records.published(PAPER) if c.record_row == "settings"]
    assert len(cells) >= 20
    for cell in cells:
        read = found[cell.record_metric]
        if cell.record_metric == "battlefield_glimpses":  # the released command's
            assert (read["value"], cell.value) == (6, 5)
            continue
        tolerance = max(1e-6, cell.tolerance) if cell.printed.endswith("M") else 1e-6
        assert read["value"] == pytest.approx(cell.value, abs=tolerance), cell.name
        assert read["unit"] == cell.unit


def test_a_setting_that_drifts_shows(small_digits, monkeypatch):
    row = ablations.ROWS["ablation-variance-0-6"]["standard"]
    drifted = replace(row, model=replace(row.model, fixed_variance=0.3))
    monkeypatch.setitem(ablations.ROWS, "ablation-variance-0-6", {"standard": drifted})
    found = settings.read(settings.Rows(), 0, torch.device("cpu"), None).metrics
    assert found["variance_0_6"]["value"] != pytest.approx(0.6)


@pytest.mark.parametrize("within", [0.5, 1.0, 5.0])
def test_convergence_is_the_first_time_near_the_best(within):
    rows = convergence.Rows(within=within)
    found = convergence.read(rows, 1, torch.device("cpu"), None).metrics
    epochs = []
    for name in rows.names:
        (curve,) = [
            c for c in records.curves(PAPER, name, "standard") if c["seed"] == 1
        ]
        accuracy = curve["validation_accuracy"]
        k = 0
        while max(accuracy) - accuracy[k] > within:
            k += 1
        epochs.append(curve["step"][k] * 128 / 60_000)
    assert found["epochs_least"] == {"value": min(epochs), "unit": "epochs"}
    assert found["epochs_most"] == {"value": max(epochs), "unit": "epochs"}


def test_convergence_of_a_run_that_is_not_recorded_is_refused():
    with pytest.raises(FileNotFoundError, match="saccading-sum"):
        rows = convergence.Rows(names=("saccading-sum",))
        convergence.read(rows, 99, torch.device("cpu"), None)
