"""The job that makes a set of sequences: in blocks, resumable, on several machines.

Images are cut into blocks, the same ones whatever the machine. Shard i of n makes the
blocks i, i + n, ... and keeps what it has after each, so that a process that is killed
and started again loses one block at most, and a set does not depend on the number of
shards. `join` makes one file of all shards.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from saccade_lib import session
from saccade_lib.annotation.files import Annotations, joined, load, save
from saccade_lib.data.door import Source
from saccade_lib.data.files import MissingData
from saccade_lib.data.image_sets import ImageSet
from saccade_lib.models.avp import Avp
from saccade_lib.retrieval import Database
from saccade_lib.runs import find, recorded_model, train
from saccade_lib.runs.near_optimal_glimpses.partial import TASKS
from saccade_lib.sequences import (
    Cached,
    Plain,
    Settings,
    design_sequences,
    first_map,
)

PAPER = "near-optimal-glimpses"


@dataclass(frozen=True)
class Plan:
    """A set of sequences.

    Attributes:
        rows: of g, trained on fold 0 and on fold 1.
        profile: of these rows.
        count: images of the training split that get a sequence, half of them of each
            fold, evenly spaced; 0: all.
        database: images of a fold that complete others, evenly spaced; 0: all.
        flip, reach: of `retrieval.Database`.
        settings: of the sequences.
        block: images that are made at once.
        attribute: what the places shall tell: of a bird's species, an attribute; "" is
            the class itself.
    """

    rows: tuple[str, str]
    profile: str
    count: int = 0
    database: int = 0
    flip: bool = False
    reach: int = 0
    settings: Settings = field(default_factory=Settings)
    block: int = 50
    attribute: str = ""


def plans() -> dict[tuple[str, str], Plan]:
    """By name of the set and profile."""
    digits = {"rows": ("g-set-digits-0", "g-set-digits-1")}
    birds = {"rows": ("g-set-birds-0", "g-set-birds-1"), "flip": True, "reach": 1}
    few = Settings(completions=8, ess=8.0, first=100)
    sets = {
        ("digits", "quick"): Plan(
            profile="quick", count=40, database=400, settings=few, block=10, **digits
        ),
        ("digits", "standard"): Plan(
            profile="standard", count=1_000, database=5_000, **digits
        ),
        ("birds", "quick"): Plan(
            profile="quick", count=40, database=100, settings=few, block=10, **birds
        ),
        ("birds", "standard"): Plan(profile="standard", **birds),
    }
    for name, attribute in TASKS.items():
        for profile in ("quick", "standard"):
            plan = replace(sets["birds", profile], attribute=attribute)
            sets[f"birds-{name}", profile] = plan
    return sets


PLANS = plans()


def plan_of(name: str, profile: str) -> Plan:
    """Raises ValueError naming the sets that there are."""
    session.check_profile(profile)
    if (name, profile) not in PLANS:
        known = ", ".join(f"{set} at {profile}" for set, profile in PLANS)
        raise ValueError(f"no set {name!r} at {profile}: there are {known}")
    return PLANS[name, profile]


def folder_of(name: str, profile: str) -> Path:
    return session.root() / "_build" / "annotations" / f"{name}--{profile}"


def path_of(name: str, profile: str) -> Path:
    """The file of a whole set."""
    return folder_of(name, profile).with_suffix(".safetensors")


def posterior(row: str, profile: str) -> Avp:
    """g of a row: its recorded weights, or else trained now (and resumed)."""
    try:
        return recorded_model(row, profile, paper=PAPER)
    except FileNotFoundError:
        run = find(PAPER, f"{row}--{profile}--0")
        work = session.root() / "_build" / "runs" / PAPER / run.name
        return train(run.experiment, 0, "cpu", work).model


class Job:
    """The blocks of a plan and what is needed to make one.

    Args:
        networks: trained on fold 0 and on fold 1; those of the plan's rows otherwise.

    Attributes:
        images: the training split.
        source: where it came from.
        about: of the `Annotations`; also what tells two jobs apart.
        blocks: positions in `images`, one tensor a block, of one fold each.
    """

    def __init__(self, name: str, plan: Plan, networks: list[Avp] | None = None):
        self.plan = plan
        runs = [
            find(PAPER, f"{row}--{plan.profile}--0").experiment for row in plan.rows
        ]
        self.source = runs[0].find(quiet=True)
        self.images: ImageSet = runs[0].part(self.source, "train")
        self.networks = networks or [posterior(row, plan.profile) for row in plan.rows]
        if plan.attribute:
            group = torch.from_numpy(self.source.has(plan.attribute)).long()
            self.networks = [g.about(group) for g in self.networks]
        base = self.database(0)
        self.about = {
            "set": name,
            "plan": asdict(plan),
            "grid": asdict(base.grid),
            "versions": base.versions,
            "data": self.source.record(),
            "networks": [_digest(g) for g in self.networks],
        }
        of_fold = [(self.images.fold == f).nonzero()[:, 0] for f in (0, 1)]
        of_fold = [f[evenly(len(f), plan.count // 2)] for f in of_fold]
        self.blocks = [block for f in of_fold for block in f.split(plan.block)]
        self.scorer = cache(self._scorer)  # and its first map, by fold

    def database(self, fold: int) -> Database:
        some = self.images.of_fold(fold)
        some = some.take(evenly(len(some), self.plan.database))
        grid, plan = self.networks[0].grid, self.plan
        return Database(some.pixels(), some.id, grid, plan.flip, plan.reach)

    def _scorer(self, fold: int) -> tuple[Cached | Plain, Tensor]:
        """Completions from a fold, judged by what was trained on the other one."""
        g, base = self.networks[1 - fold], self.database(fold)
        scorer = (Cached if g.config.network == "set" else Plain)(g, base)
        return scorer, first_map(scorer, self.plan.settings)

    def block(self, number: int) -> Annotations:
        """The sequences of one block."""
        some = self.images.take(self.blocks[number])
        scorer, first = self.scorer(int(some.fold[0]))
        base = scorer.database
        found = design_sequences(
            scorer,
            some.pixels(),
            some.id,
            base.own(some.id),
            first,
            self.plan.settings,
        )
        candidates = found.pop("candidates")
        return Annotations(
            id=some.id,
            fold=some.fold,
            completion=base.ids[candidates % base.M],
            version=candidates // base.M,
            about=self.about,
            **found,
        )


def make(name: str, profile: str, shard: int = 1, shards: int = 1) -> Path:
    """Make a shard of a set, going on where it was left; returns its file.

    Raises ValueError for a shard that is none, or whose half-made file belongs to
    another plan, other data or other networks.
    """
    if not 1 <= shard <= shards:
        raise ValueError(f"shard {shard}/{shards}: the first is 1/{shards}")
    plan = plan_of(name, profile)
    path = shard_path(name, profile, shard, shards)
    if path.exists():
        return path
    job = Job(name, plan)
    return run(job, range(shard - 1, len(job.blocks), shards), path)


def shard_path(name: str, profile: str, shard: int, shards: int) -> Path:
    folder = folder_of(name, profile)
    return folder / f"shard-{shard}-of-{shards}.safetensors"


def run(job: Job, numbers: range, path: Path) -> Path:
    """Make these blocks, of which some may be there; then put the file at `path`."""
    half = path.with_name(f"{path.stem}.half{path.suffix}")
    parts = []
    if half.exists():
        parts = [load(half)]
        if plain(parts[0].about) != plain(job.about):
            raise ValueError(
                f"{half} was begun with another plan, data or network: delete it"
            )
    there = set(parts[0].id.tolist()) if parts else set()
    quiet = bool(os.environ.get("TQDM_DISABLE"))
    for number in tqdm(numbers, desc=path.stem, unit="block", disable=quiet):
        ids = job.images.id[job.blocks[number]].tolist()
        if there.issuperset(ids):
            continue
        parts = [joined([*parts, job.block(number)], job.about)]
        save(half, parts[0])
    if not parts:
        raise ValueError(f"{path.stem}: no block is left for it, take fewer shards")
    os.replace(half, path)
    return path


def join(name: str, profile: str, shards: int = 1) -> Path:
    """One file of all shards.

    Raises:
        MissingData: a shard that is not there.
        CorruptData: one that is cut off.
        ValueError: shards that do not belong together.
    """
    plan_of(name, profile)
    paths = [shard_path(name, profile, k + 1, shards) for k in range(shards)]
    if missing := [p.name for p in paths if not p.is_file()]:
        raise MissingData(f"{name} at {profile} lacks {', '.join(missing)}: make them")
    parts = [load(p) for p in paths]
    if any(plain(p.about) != plain(parts[0].about) for p in parts):
        raise ValueError("the shards were made with different plans, data or networks")
    path = path_of(name, profile)
    save(path, joined(parts, parts[0].about))
    return path


def current(name: str, profile: str, source: Source) -> Annotations:
    """The whole set, made now where it is not there or was made of other data.

    Args:
        source: the data that it has to be of.
    """
    path, folder = path_of(name, profile), folder_of(name, profile)
    if path.is_file():
        found = load(path)
        if found.about["data"]["sha256"] == source.record()["sha256"]:
            return found
    if folder.is_dir():
        shutil.rmtree(folder)
    make(name, profile)
    return load(join(name, profile))


def plain(about: dict) -> dict:
    """As it is read back: JSON knows no tuples."""
    return json.loads(json.dumps(about))


def evenly(count: int, wanted: int) -> Tensor:
    """Positions of so many out of `count`, evenly spaced; all of them for 0."""
    if not 0 < wanted < count:
        return torch.arange(count)
    return torch.arange(wanted) * count // wanted


def _digest(g: Avp) -> str:
    """SHA-256 of a network's weights."""
    sha = hashlib.sha256()
    for key, value in sorted(g.state_dict().items()):
        sha.update(key.encode() + value.cpu().numpy().tobytes())
    return sha.hexdigest()
