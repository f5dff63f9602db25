"""Which runs the tables want, and the making of one record."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from saccade_lib import cost, glimpse, models, records, session
from saccade_lib import train as training
from saccade_lib.data import digits
from saccade_lib.runs import experiment as experiment_module
from saccade_lib.runs import variational_saccading
from saccade_lib.runs.experiment import Experiment, Outcome, build, train

ROWS = {"variational-saccading": variational_saccading.ROWS}
WEIGHTS_LIMIT = 2_000_000  # bytes of weights that may lie beside a record


@dataclass(frozen=True)
class Run:
    """One run that a table wants: ``ROW--PROFILE--SEED`` of a paper."""

    paper: str
    row: str
    profile: str
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        return f"{self.row}--{self.profile}--{self.seed}"

    @property
    def path(self) -> Path:
        return session.root() / "book" / "records" / self.paper / f"{self.name}.json"

    @property
    def command(self) -> str:
        run = f"{self.paper}/{self.row}"
        return f"make record RUN={run} PROFILE={self.profile} SEED={self.seed}"

    def __str__(self) -> str:
        return f"{self.paper}/{self.name}"


def runs(profiles: tuple[str, ...] = ("standard", "paper")) -> list[Run]:
    """Every run that the tables want, recorded or not, in the order of the rows."""
    return [
        Run(paper, row, profile, seed, by_profile[profile])
        for paper, rows in ROWS.items()
        for row, by_profile in rows.items()
        for profile in profiles
        if profile in by_profile
        for seed in by_profile[profile].seeds
    ]


def find(paper: str, name: str) -> Run:
    """The run ``ROW--PROFILE--SEED``.

    Raises ValueError naming what there is instead.
    """
    if paper not in ROWS:
        raise ValueError(f"no runs of paper {paper!r}: one of {', '.join(ROWS)}")
    try:
        row, profile, seed = name.split("--")
        number = int(seed)
    except ValueError:
        raise ValueError(f"a run is named ROW--PROFILE--SEED, not {name!r}") from None
    if row not in ROWS[paper]:
        raise ValueError(f"no row {row!r} in {paper}: one of {', '.join(ROWS[paper])}")
    session.check_profile(profile)
    if profile not in ROWS[paper][row]:
        there = ", ".join(ROWS[paper][row])
        raise ValueError(f"row {row!r} has no profile {profile!r}: one of {there}")
    session.check_seed(number)
    return Run(paper, row, profile, number, ROWS[paper][row][profile])


def record(
    run: Run, work: Path, device: str | None = None, say: Callable = print
) -> Path:
    """Train a run, going on from its checkpoint if there is one, and write its record.

    Args:
        run: what to make; a run that is recorded already is left alone.
        work: folder for checkpoints, ``work/PAPER/ROW--PROFILE--SEED``.
        device: "cpu" or "cuda"; the GPU if there is one otherwise.
    """
    if run.path.exists():
        say(f"{run}: recorded already")
        return run.path
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = work / run.paper / run.name
    started = _started(folder)
    outcome = train(run.experiment, run.seed, device, folder)
    if training.rank() != 0:
        return run.path
    made = records.make(
        paper=run.paper,
        row=run.row,
        profile=run.profile,
        seed=run.seed,
        config=described(run.experiment),
        data=outcome.pack.record(),
        metrics=outcome.metrics,
        curves=outcome.fit.curves,
        costs=outcome.costs,
        hardware=session.hardware(torch.device(device).type),
        fingerprint=fingerprint(),
        command=run.command,
        started=started,
        wall_seconds=round(outcome.fit.seconds, 1),
    )
    _write_weights(run, outcome)
    path = records.write(made)
    accuracy = outcome.metrics["test_accuracy"]["value"]
    say(f"{run}: {accuracy:.2f} % in {outcome.fit.seconds:.0f} s")
    return path


def recorded_model(
    row: str, profile: str, seed: int = 0, paper: str = "variational-saccading"
) -> torch.nn.Module:
    """The trained model of a record, from the weights that lie beside it.

    Raises FileNotFoundError, with the command that makes them, if there are none.
    """
    run = find(paper, f"{row}--{profile}--{seed}")
    path = run.path.with_suffix(".safetensors")
    if not path.exists():
        raise FileNotFoundError(
            f"no weights beside the record {run}: make them with `{run.command}`"
        )
    weights, notes = training.read_tensors(path)
    if notes["config"] != described(run.experiment):
        raise ValueError(f"{path.name} was trained in another configuration")
    model = build(run.experiment, seed)
    model.load_state_dict(weights)
    return model.eval()


def described(experiment: Experiment) -> dict:
    """The full configuration of an experiment, as its record holds it."""
    model = type(experiment.model)
    named = f"{model.__module__.removeprefix('saccade_lib.')}.{model.__name__}"
    plain = asdict(experiment) | {"model": {"kind": named} | asdict(experiment.model)}
    del plain["seeds"]
    return json.loads(json.dumps(plain))


def fingerprint() -> str:
    """SHA-256 of the code that a recorded number depends on."""
    return session.fingerprint(
        glimpse, digits, training, cost, models, experiment_module
    )


def _started(folder: Path) -> str:
    """When the run was begun: its first part, if this one resumes it."""
    note = folder / "started"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(records.now())
    return note.read_text()


def _write_weights(run: Run, outcome: Outcome) -> None:
    """Weights of the first seed, small enough, so that a reader need not train."""
    weights = outcome.model.state_dict()
    size = sum(w.numel() * w.element_size() for w in weights.values())
    if run.seed != 0 or size > WEIGHTS_LIMIT:
        return
    notes = {"run": str(run), "config": described(run.experiment)}
    training.write_tensors(run.path.with_suffix(".safetensors"), weights, notes)
