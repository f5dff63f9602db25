"""The training loop: the same weights whatever happens to the process that trains."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from saccade_lib import train
from saccade_lib.train import Loss, Schedule, fit

ROOT = Path(__file__).resolve().parents[1]
SHORT = Schedule(steps=12, batch=8, validate_every=5)


class Toy(nn.Module):
    """A convolution with batch norm and noise: everything that a resume must restore.

    ``break_at`` makes the named term not finite at that step.
    """

    def __init__(self, seed=0, break_at=None):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)
        ).to(memory_format=torch.channels_last)
        self.break_at = break_at or {}
        self.seen = 0

    def loss(self, batch):
        out = self.net(batch["image"] + 0.1 * torch.randn_like(batch["image"]))
        out = out.mean(dim=(2, 3))
        terms = {"fit": (out - batch["target"]).square().mean()}
        terms["small"] = 1e-3 * sum(p.square().sum() for p in self.parameters())
        for name, factor in self.break_at.get(self.seen, {}).items():
            terms[name] = terms[name] * factor
        self.seen += 1
        return Loss(terms, {"size": out.detach().abs().mean()})


def batches(step):
    draw = torch.Generator().manual_seed(step)
    image = torch.rand(8, 3, 8, 8, generator=draw)
    return {"image": image, "target": image.mean(dim=(2, 3))[:, :2]}


def validate(model):
    return {"accuracy": -float(model.loss(batches(10**6)).terms["fit"])}


def trained(folder=None, model=None, schedule=SHORT, stop=None, **options):
    """Train a toy, or let it fail at the step ``stop`` as a full machine would."""

    def until(step):
        if step == stop:
            raise KeyboardInterrupt
        return batches(step)

    model = model or Toy()
    options = {"seed": 3, "progress": False, "checkpoint_every": 0} | options
    return model, fit(model, until, validate, schedule, folder=folder, **options)


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------ one process


def test_a_run_is_a_function_of_its_seed():
    one, fit_one = trained()
    two, fit_two = trained()
    other, _ = trained(seed=4)
    assert equal(one, two) and not equal(one, other)
    seconds = {"seconds": None}
    assert fit_one.curves | seconds == fit_two.curves | seconds
    assert fit_one.curves["step"] == [5, 10, 12]
    assert fit_one.images == 12 * 8


def test_a_run_does_not_depend_on_the_callers_generator():
    torch.manual_seed(1)
    one, _ = trained(model=Toy(0))
    model = Toy(0)
    torch.rand(17)
    two, _ = trained(model=model)
    assert equal(one, two)


@pytest.mark.parametrize("stops", [(1,), (5,), (7,), (4, 9, 11)])
def test_a_resumed_run_is_bit_equal(tmp_path, stops):
    whole, fit_whole = trained()
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, Toy(99), stop=stop)
    resumed, fit_resumed = trained(tmp_path)  # its weights come from the checkpoint
    same_start, _ = trained(model=Toy(99))
    assert equal(resumed, same_start) and not equal(resumed, whole)
    assert fit_resumed.curves["step"] == fit_whole.curves["step"]
    assert fit_resumed.cpu_seconds > 0 and fit_resumed.seconds > 0


def test_curves_of_a_resumed_run_are_those_of_a_whole_one(tmp_path):
    _, whole = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=8)  # in the middle of an interval
    _, resumed = trained(tmp_path)
    assert set(whole.curves) == {
        "step",
        "seconds",
        "fit",
        "small",
        "size",
        "validation_accuracy",
    }
    for name in set(whole.curves) - {"seconds"}:
        assert whole.curves[name] == resumed.curves[name]


def test_a_finished_run_is_not_trained_again(tmp_path):
    one, fit_one = trained(tmp_path)
    two, fit_two = trained(tmp_path, Toy(99), stop=0)
    assert equal(one, two) and fit_one == fit_two


def test_the_best_weights_are_those_that_validate_best():
    kept, scores = {}, iter([0.2, 0.9, 0.9])

    def spy(model):
        score = next(scores)
        kept[score] = kept.get(score) or {
            name: value.clone() for name, value in model.state_dict().items()
        }
        assert not model.training and not torch.is_grad_enabled()
        return {"accuracy": score}

    model = Toy()
    found = fit(model, batches, spy, SHORT, seed=0, progress=False)
    assert (found.best, found.best_step) == (0.9, 10)
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[0.9][name])


def test_the_watched_metric_is_chosen_by_name():
    scores = iter([{"accuracy": 1, "hits": 3}, {"accuracy": 2, "hits": 1}] * 2)
    found = fit(
        Toy(),
        batches,
        lambda model: next(scores),
        replace(SHORT, steps=10),
        seed=0,
        watch="hits",
        progress=False,
    )
    assert (found.best, found.best_step) == (3, 5)


@pytest.mark.parametrize(
    "share, best",
    [(0.0, (0.9, 5)), (5 / 12, (0.9, 5)), (0.5, (0.7, 12)), (1.0, (0.7, 12))],
)
def test_weights_are_not_chosen_before_their_time(share, best):
    scores = iter([0.9, 0.2, 0.7])  # at the steps 5, 10 and 12
    found = fit(
        Toy(),
        batches,
        lambda model: {"accuracy": next(scores)},
        replace(SHORT, choose_after=share),
        seed=0,
        progress=False,
    )
    assert (found.best, found.best_step) == best
    assert found.curves["validation_accuracy"] == [0.9, 0.2, 0.7]  # all are kept


def test_a_run_killed_before_any_choice_resumes(tmp_path):
    late = replace(SHORT, choose_after=0.9)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=8, schedule=late)  # validated once, nothing chosen
    resumed, found = trained(tmp_path, Toy(99), late)
    whole, _ = trained(schedule=late)
    assert equal(resumed, whole) and found.best_step == 12


def test_the_learning_rate_warms_up_stays_and_falls_to_zero():
    schedule = Schedule(steps=1000, warmup=0.1, decay=0.2)
    factor = [schedule.factor(step) for step in range(1001)]
    assert factor[0] == pytest.approx(0.01) and factor[49] == pytest.approx(0.5)
    assert all(f == 1 for f in factor[99:801])
    assert factor[900] == pytest.approx(0.5) and factor[1000] == 0
    assert factor[999] > 0  # the last step still learns
    assert (
        factor[:100] == sorted(factor[:100])
        and factor[800:] == sorted(factor[800:])[::-1]
    )


def test_the_learning_rate_drops_once_where_that_is_asked_for():
    schedule = Schedule(steps=1000, warmup=0, decay=0, drop_at=0.8)
    factor = [schedule.factor(step) for step in range(1000)]
    assert factor == [1.0] * 800 + [0.1] * 200


def test_the_schedule_and_the_clip_reach_the_optimiser(monkeypatch):
    rates, norms = [], []
    adam = torch.optim.AdamW.step

    def spy(self, *words):
        rates.append(self.param_groups[0]["lr"])
        every = [p for group in self.param_groups for p in group["params"]]
        norms.append(torch.stack([p.grad.norm() for p in every]).norm().item())
        return adam(self, *words)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    schedule = replace(SHORT, rate=0.5, warmup=0.5, decay=0.5, clip=1e-3)
    trained(schedule=schedule)
    assert rates == [0.5 * schedule.factor(step) for step in range(12)]
    assert norms == pytest.approx([1e-3] * 12, rel=1e-2)


def test_the_loop_tells_the_model_how_far_it_is():
    seen = []

    class Curious(Toy):
        def loss(self, batch):
            seen.append(batch.get("progress"))
            return super().loss(batch)

    trained(model=Curious(), schedule=replace(SHORT, steps=4, validate_every=4))
    assert seen == [0, 0.25, 0.5, 0.75, None]  # the last is the validation's own


def test_bfloat16_trains_on_the_cpu():
    kinds = []

    class Kind(Toy):
        def loss(self, batch):
            found = super().loss(batch)
            kinds.append(self.net(batch["image"]).dtype)
            return found

    model, found = trained(model=Kind(), schedule=replace(SHORT, precision="bfloat16"))
    assert kinds[0] == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert found.curves["fit"][-1] < found.curves["fit"][0]


# ------------------------------------------------------------------- bad numbers


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_term_and_step(tmp_path, factor):
    model = Toy(break_at={3: {"small": factor}})
    with pytest.raises(train.NotFinite, match=r"loss term small .* step 3 .*fit"):
        trained(tmp_path, model)
    tensors, notes = train.read_tensors(tmp_path / "checkpoint.safetensors")
    assert notes["step"] == 3
    weight = tensors["model.net.0.weight"]
    assert torch.isfinite(weight).all()
    assert torch.equal(weight, model.net[0].weight)  # the bad step changed nothing


def test_a_gradient_that_is_not_finite_is_told_from_a_loss_that_is_not():
    class Root(Toy):
        def loss(self, batch):
            zero = (self.net[0].weight.sum() * 0).sqrt()  # 0, of infinite slope
            return Loss({"root": zero})

    with pytest.raises(train.NotFinite, match=r"gradient of a finite loss .* step 0"):
        trained(model=Root())


def test_a_term_that_is_infinite_without_a_slope_stops_too():
    class Flat(Toy):
        def loss(self, batch):
            found = super().loss(batch)
            found.terms["flat"] = found.terms["fit"].detach() + float("inf")
            return found

    with pytest.raises(train.NotFinite, match=r"loss term flat .* step 0"):
        trained(model=Flat(), schedule=replace(SHORT, steps=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_validation_that_is_not_finite_names_metric_and_step(tmp_path, value):
    scores = iter([0.5, value])
    with pytest.raises(
        train.NotFinite, match=r"validation accuracy is -?(nan|inf) .*10"
    ):
        fit(
            Toy(),
            batches,
            lambda model: {"accuracy": next(scores)},
            SHORT,
            seed=0,
            folder=tmp_path,
            progress=False,
            checkpoint_every=0,
        )
    _, notes = train.read_tensors(tmp_path / "checkpoint.safetensors")
    assert (notes["step"], notes["best"], notes["best_step"]) == (9, 0.5, 5)


# --------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(
    "change",
    [{"schedule": replace(SHORT, rate=1.0)}, {"seed": 4}, {"watch": "hits"}],
    ids=["schedule", "seed", "watch"],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=6)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"another run.*delete it or choose"):
        trained(tmp_path, **change)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_named(tmp_path, keep):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=6)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is not a readable"):
        trained(tmp_path)


def test_tensors_come_back_as_they_went(tmp_path):
    tensors = {
        "one": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "view": torch.arange(12).view(3, 4).t(),
        "nothing": torch.zeros(0),
        "number": torch.tensor(2.5, dtype=torch.float64),
    }
    notes = {"step": 3, "nested": {"name": "é", "list": [1, None]}}
    train.write_tensors(tmp_path / "deep" / "file.safetensors", tensors, notes)
    back, said = train.read_tensors(tmp_path / "deep" / "file.safetensors")
    assert said == notes and back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(back[name], value) and back[name].dtype == value.dtype
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.safetensors"]


# ------------------------------------------------------- what happens to a process


def elsewhere(code, *words, launcher=(), **options):
    """Start Python with this file's toy at hand."""
    code = f"import sys, torch; torch.set_num_threads(1)\n{code}"
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *launcher, *(["-c", code] if not launcher else []), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


SLOW = """
import time
from pathlib import Path
import test_train as t
folder = Path(sys.argv[1])

def batches(step):
    print(step, flush=True)
    time.sleep(0.02)
    return t.batches(step)

schedule = t.replace(t.SHORT, steps=60)
t.fit(t.Toy(), batches, t.validate, schedule, seed=3, folder=folder,
      progress=False, checkpoint_every=0)
"""


def test_a_run_killed_twice_ends_bit_equal(tmp_path):
    long = replace(SHORT, steps=60)
    reached = 0
    for more in (7, 5):
        process = elsewhere(SLOW, str(tmp_path))
        first = step = int(process.stdout.readline())
        assert first >= reached - 1  # it goes on where the last one stopped
        while step < first + more:
            step = int(process.stdout.readline())
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached = step
    _, notes = train.read_tensors(tmp_path / "checkpoint.safetensors")
    assert 0 < notes["step"] < 60
    resumed, fit_resumed = trained(tmp_path, schedule=long)
    whole, fit_whole = trained(schedule=long)
    assert equal(resumed, whole)
    for name in set(fit_whole.curves) - {"seconds"}:
        assert fit_whole.curves[name] == fit_resumed.curves[name]


FULL_DISK = """
import resource
from pathlib import Path
import test_train as t
folder = Path(sys.argv[1])
size = (folder / "checkpoint.safetensors").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
try:
    t.trained(folder)
except OSError as error:
    print(error)
    raise SystemExit(7)
"""


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop=6)
    path = tmp_path / "checkpoint.safetensors"
    before = path.read_bytes()
    process = elsewhere(FULL_DISK, str(tmp_path))
    out, err = process.communicate()
    assert process.returncode == 7, err
    assert f"could not write {path}" in out and f"{path} is as it was" in out
    assert "free some disk space" in out
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    assert path.read_bytes() == before
    resumed, _ = trained(tmp_path)  # with room again, it goes on
    whole, _ = trained()
    assert equal(resumed, whole)


TWO = """
import sys
import torch
from torch import nn
import test_train as t
from saccade_lib import train

torch.set_num_threads(1)
rank, world = train.start_processes()
model = t.Plain()

def batches(step):
    if step == int(sys.argv[2]):
        raise SystemExit(9)
    whole = t.batches(step)
    mine = train.share(torch.arange(8))
    return {name: value[mine] for name, value in whole.items()}

found = t.fit(model, batches, t.validate, t.SHORT, seed=3, progress=False,
              folder=t.Path(sys.argv[1]) / "work", checkpoint_every=0)
train.write_tensors(t.Path(sys.argv[1]) / f"{rank}-of-{world}", model.state_dict(), {})
torch.distributed.destroy_process_group()
"""


class Plain(Toy):
    """Without noise and without batch norm, whose statistics are each process's own."""

    def __init__(self):
        super().__init__()
        self.net[1] = nn.Identity()

    def loss(self, batch):
        out = self.net(batch["image"]).mean(dim=(2, 3))
        return Loss({"fit": (out - batch["target"]).square().mean()})


def test_two_processes_take_the_steps_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    run = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    for stop in (7, -1):  # killed, and gone on from the one checkpoint
        process = elsewhere("", str(script), str(tmp_path), str(stop), launcher=run)
        _, err = process.communicate(timeout=120)
        assert (process.returncode == 0) == (stop == -1), err
    one, _ = trained(model=Plain())
    for rank in range(2):
        state, _ = train.read_tensors(tmp_path / f"{rank}-of-2")
        for name, value in one.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)
    _, notes = train.read_tensors(tmp_path / "work" / "checkpoint.safetensors")
    assert notes["step"] == SHORT.steps
    assert notes["identity"] == asdict(SHORT) | {"seed": 3, "watch": "accuracy"}


def test_a_batch_is_shared_out_once(monkeypatch):
    whole = torch.arange(12)
    assert torch.equal(train.share(whole), whole)
    monkeypatch.setattr(train, "_world", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(train, "rank", lambda rank=rank: rank)
        parts.append(train.share(whole))
    assert all(len(part) == 4 for part in parts)
    assert torch.equal(torch.cat(parts).sort().values, whole)
    with pytest.raises(ValueError, match="batch 11 does not divide by 3"):
        train.share(torch.arange(11))
