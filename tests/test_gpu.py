"""What only a GPU can show; without one each test is skipped, and counted."""

from dataclasses import replace
from itertools import count

import pytest
import torch

from saccade_lib import train
from saccade_lib.models import variational_saccading as vs
from saccade_lib.train import Schedule

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CONFIG = vs.Config(
    classes=4,
    proxy=12,
    size=8,
    glimpses=2,
    scale=(0.6, 0.6),
    narrow_to=0.3,
    narrow_during=(0.2, 0.8),
    sigma=0.1,
    sigma_max=0.3,
)
STEPS = Schedule(steps=12, batch=32, rate=1e-3, validate_every=6)


def batches(step: int, device: str = "cuda") -> dict:
    made = torch.Generator().manual_seed(step)
    image = torch.rand(32, 1, 40, 40, generator=made)
    label = torch.randint(0, 4, (32,), generator=made)
    return {"image": image.to(device), "label": label.to(device)}


def fit(schedule: Schedule, device: str = "cuda", folder=None, seed=0, data=batches):
    torch.manual_seed(7)
    model = vs.VariationalSaccading(CONFIG).to(device)
    later = count()  # the last weights are the best
    found = train.fit(
        model,
        lambda step: data(step, device),
        lambda model: {"accuracy": float(next(later))},
        schedule,
        seed,
        folder=folder,
        progress=False,
    )
    return model, found


def same(one, other, tolerance: float) -> bool:
    """Terms averaged over the last interval, and the windows that were reached."""
    names = ("class", "reconstruction", "kl", "window", "sigma")
    return all(
        abs(one.curves[n][-1] - other.curves[n][-1]) < tolerance * one.curves[n][-1]
        for n in names
    )


def test_a_graph_changes_nothing_on_a_cpu():
    plain, _ = fit(STEPS, "cpu")
    asked, _ = fit(replace(STEPS, graph=True), "cpu")
    pairs = zip(plain.state_dict().values(), asked.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def gradient(schedule: Schedule, steps: int = 3) -> tuple[dict, list]:
    """Terms of a step, and the gradient of every weight, after a few steps."""
    torch.manual_seed(7)
    model = vs.VariationalSaccading(CONFIG).to("cuda")
    of_step = train._Gradient(model, schedule, torch.device("cuda"))
    for step in range(steps):
        loss, _ = of_step(batches(step), step, seed=0)
    terms = {name: float(term) for name, term in loss.terms.items()}
    return terms, [p.grad.clone() for p in model.parameters()]


@GPU
def test_a_captured_step_is_the_step():
    terms, plain = gradient(STEPS)
    again, captured = gradient(replace(STEPS, graph=True))
    assert again == pytest.approx(terms, rel=1e-4)
    largest = max(g.abs().max() for g in plain)
    for one, other in zip(plain, captured, strict=True):
        assert torch.allclose(one, other, rtol=1e-2, atol=1e-4 * float(largest))


@GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_captured_run_is_the_run(precision):
    # Long steps would let rounding grow: this small posterior is chaotic.
    schedule = replace(STEPS, rate=1e-7, precision=precision)
    plain, of_plain = fit(schedule)
    graph, of_graph = fit(replace(schedule, graph=True))
    assert same(of_plain, of_graph, 1e-3 if precision == "float32" else 3e-2)
    # Statistics of the batches seen: the steps that warm up are not among them.
    counts = [int(m.read_crop.net[2].num_batches_tracked) for m in (plain, graph)]
    assert counts == [12, 12]


@GPU
def test_a_captured_step_draws_the_noise_of_its_step():
    schedule = replace(STEPS, steps=20, rate=1e-12, validate_every=1, graph=True)

    def still(step, device):
        return batches(0, device)

    _, of_one = fit(schedule, data=still)
    _, again = fit(schedule, data=still)
    _, of_other = fit(schedule, data=still, seed=1)
    assert of_one.curves["class"] == again.curves["class"]
    assert of_one.curves["class"][0] != of_other.curves["class"][0]
    # One batch, the same weights, other noise; the windows stand still in both steps.
    assert of_one.curves["class"][0] != of_one.curves["class"][1]
    assert of_one.curves["window"][:2] == pytest.approx([0.6, 0.6])


@GPU
def test_a_captured_run_goes_on_from_its_checkpoint(tmp_path):
    schedule = replace(STEPS, rate=1e-7, graph=True)
    whole, of_whole = fit(schedule)

    def stops(step, device):
        if step == 10:
            raise KeyboardInterrupt
        return batches(step, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.time, "monotonic", iter(range(0, 10**6, 100)).__next__)
        with pytest.raises(KeyboardInterrupt):
            fit(schedule, folder=tmp_path, data=stops)
    resumed, of_resumed = fit(schedule, folder=tmp_path)
    assert len(of_resumed.curves["step"]) == 2
    assert same(of_whole, of_resumed, 1e-3)


@GPU
def test_what_a_graph_cannot_hold_is_named():
    def closes(step, device):
        return batches(step, device) | {"crop": min}

    with pytest.raises(ValueError, match=r"tensors only, not \['crop'\]"):
        fit(replace(STEPS, graph=True), data=closes)


@GPU
def test_a_loss_that_is_not_finite_stops_a_captured_run_too():
    def breaks(step, device):
        batch = batches(step, device)
        return batch | {"image": batch["image"] * (float("nan") if step == 5 else 1)}

    with pytest.raises(train.NotFinite, match="step 5"):
        fit(replace(STEPS, graph=True), data=breaks)
