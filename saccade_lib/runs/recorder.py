"""Which runs the tables want, and the making of one record."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import torch

from saccade_lib import cost, glimpse, models, records, session, zoom
from saccade_lib import train as training
from saccade_lib.runs import (
    arena,
    learning_to_zoom,
    near_optimal_glimpses,
    own_images,
    recurrent_attention,
    spatial_transformers,
    tnet,
    variational_saccading,
)
from saccade_lib.runs import experiment as experiment_module
from saccade_lib.runs.experiment import Experiment, Outcome, build, train
from saccade_lib.runs.measurement import Measured, Measurement

OF_NONE = "side-by-side"  # rows of no paper, for which there are no published cells
ROWS = {
    "variational-saccading": variational_saccading.ROWS,
    "recurrent-attention": recurrent_attention.ROWS,
    "tnet": tnet.ROWS,
    "near-optimal-glimpses": near_optimal_glimpses.ROWS,
    "learning-to-zoom": learning_to_zoom.ROWS,
    OF_NONE: arena.ROWS | own_images.ROWS,
    "spatial-transformers": spatial_transformers.ROWS,
}
WEIGHTS_LIMIT = 2_000_000  # bytes of weights that may lie beside a record


@dataclass(frozen=True)
class Run:
    """One run that a table wants: ``ROW--PROFILE--SEED`` of a paper."""

    paper: str
    row: str
    profile: str
    seed: int
    experiment: Experiment | Measurement

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
    run = Run(paper, row, profile, number, ROWS[paper][row][profile])
    if run.name != name:  # "01" is no second way to write 1
        raise ValueError(f"no run {name!r}: it is called {run.name}")
    return run


def record(
    run: Run, work: Path, device: str | None = None, say: Callable = print
) -> Path:
    """Make a run and write its record; training goes on from its checkpoint.

    Args:
        run: what to make; a run that is recorded already is left alone.
        work: folder for checkpoints, ``work/PAPER/ROW--PROFILE--SEED``.
        device: "cpu" or "cuda"; the GPU if there is one otherwise.
    """
    if run.path.exists():
        say(f"{run}: recorded already")
        return run.path
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    started = _started(work / run.paper / run.name)
    make = _measured if isinstance(run.experiment, Measurement) else _trained
    made = make(run, work / run.paper / run.name, device)
    if training.rank() != 0:
        return run.path
    path = records.write(
        records.make(
            paper=run.paper,
            row=run.row,
            profile=run.profile,
            seed=run.seed,
            config=described(run.experiment),
            hardware=session.hardware(torch.device(device).type),
            fingerprint=fingerprint(run.experiment),
            command=run.command,
            started=started,
            **made,
        )
    )
    accuracy = made["metrics"].get("test_accuracy")
    result = f"{accuracy['value']:.2f} %" if accuracy else "measured"
    say(f"{run}: {result} in {made['wall_seconds']:.0f} s")
    return path


def _trained(run: Run, folder: Path, device: str) -> dict:
    """The fields of the record of a trained row; its weights are written on the way."""
    outcome = train(run.experiment, run.seed, device, folder)
    if training.rank() == 0:
        _write_weights(run, outcome)
    return {
        "data": outcome.pack.record(),
        "metrics": outcome.metrics,
        "curves": outcome.fit.curves,
        "costs": outcome.costs,
        "wall_seconds": round(outcome.fit.seconds, 1),
    }


def _measured(run: Run, folder: Path, device: str) -> dict:
    """The fields of the record of a measured row."""
    clock = time.perf_counter()
    found: Measured = run.experiment.run(run.seed, device, folder)
    return asdict(found) | {"wall_seconds": round(time.perf_counter() - clock, 1)}


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
    if not _same_config(notes["config"], run.experiment):
        raise ValueError(f"{path.name} was trained in another configuration")
    model = build(run.experiment, seed)
    model.load_state_dict(weights)
    return model.eval()


def described(experiment: Experiment | Measurement) -> dict:
    """The full configuration of an experiment, as its record holds it."""
    part = "config" if isinstance(experiment, Measurement) else "model"
    inner = getattr(experiment, part)
    kind = type(inner)
    named = f"{kind.__module__.removeprefix('saccade_lib.')}.{kind.__name__}"
    plain = {f.name: getattr(experiment, f.name) for f in fields(experiment)}
    plain = {
        k: asdict(v) if hasattr(v, "__dataclass_fields__") else v
        for k, v in plain.items()
        if not callable(v)
    }
    plain |= {part: {"kind": named} | plain[part]}
    del plain["seeds"]
    return json.loads(json.dumps(plain))


def _same_config(noted: dict, experiment: Experiment) -> bool:
    """Whether weights were made by this configuration.

    A field that came into the code after the weights were made does not tell them
    apart as long as it stands at its default: that is what the weights had.
    """
    noted = _completed(noted, experiment)
    for part in ("model", "schedule"):
        noted[part] = _completed(noted[part], getattr(experiment, part))
    if noted.get("windows") is False:  # a name today, once a yes or no
        noted["windows"] = ""
    del noted["seeds"]
    return described(experiment) == noted


def _completed(noted: dict, config: object) -> dict:
    """A noted configuration with the defaults of fields that it lacks."""
    given = {f.name: f.default for f in fields(config) if f.default is not MISSING}
    return json.loads(json.dumps(given)) | noted


def fingerprint(experiment: Experiment | Measurement) -> str:
    """SHA-256 of the code that a recorded number depends on."""
    if isinstance(experiment, Measurement):
        measuring = sys.modules[experiment.measure.__module__]
        return session.fingerprint(glimpse, zoom, cost, models, measuring)
    return session.fingerprint(
        glimpse, zoom, *experiment.code, training, cost, models, experiment_module
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
    if run.seed != 0 or size > WEIGHTS_LIMIT or not run.experiment.kept:
        return
    notes = {"run": str(run), "config": described(run.experiment)}
    training.write_tensors(run.path.with_suffix(".safetensors"), weights, notes)
