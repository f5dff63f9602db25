"""Images that belong together by name, and parts that never tear them apart."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

SHARE = 0.2  # of the images of a class that validation and test get, each
GROUPS = 5  # of each class, for names to be read as groups by themselves
AUTO = "_"  # ends the name of a group, where that leaves so many

Found = Sequence[tuple[Path, int, str]]  # path, label and part


def groups(
    root: Path, found: Found, same: dict[Path, str], group: str | None
) -> tuple[dict[Path, str], list[str]]:
    """The name of each file's group, and what is to be said of it.

    Args:
        same: a digest for each of the files that have a twin.
        group: as of `folders.scan`.
    """
    paths = [path for path, _, _ in found]
    names = _named(root, paths, AUTO if group == "auto" else group)
    if group == "auto":
        pairs = {(label, names[path]) for path, label, _ in found}
        if min(Counter(label for label, _ in pairs).values()) < GROUPS:
            names = _named(root, paths, None)
    often = Counter(names.values()).most_common(1)
    notes = []
    if group is not None and often[0][1] > 1:
        name, count = often[0]
        notes = [
            f"split by names: {len(set(names.values())):,} groups, the largest "
            f"{printable(name)} of {count:,} images (group=None: each by itself)"
        ]
    elif group is not None:
        notes = ["split by names: each image is a group of its own"]
    first: dict[str, str] = {}  # one group for all files of one content
    joined = {
        path: first.setdefault(same.get(path, str(path)), name)
        for path, name in names.items()
    }
    return joined, notes


def _named(root: Path, paths: Sequence[Path], mark: str | None) -> dict[Path, str]:
    """The text before the last mark of a file's name; without a mark, each its own."""
    if mark is None:
        return {path: path.relative_to(root).as_posix() for path in paths}
    return {path: path.stem.rpartition(mark)[0] or path.stem for path in paths}


def dealt(cards: Sequence[tuple[str, int]], given: set[str], seed: int) -> list[str]:
    """A part for each card, a group and a label; cards of one group get one part.

    Class by class, groups in the order of a hash of seed and name fill validation, then
    test, until each has its share; what is left is for training. Parts that are given
    get nothing.
    """
    members = defaultdict(Counter)  # of a group, by label
    for group, label in cards:
        members[group][label] += 1
    order = sorted(members, key=lambda name: _hash(f"{seed}:{name}"))
    part_of: dict[str, str] = {}
    wanted = [split for split in ("validation", "test") if split not in given]
    for label in sorted({label for _, label in cards}):
        mine = {name: members[name][label] for name in order if members[name][label]}
        share = max(1, round(SHARE * sum(mine.values())))
        for split in wanted:
            have = sum(n for name, n in mine.items() if part_of.get(name) == split)
            for name, n in mine.items():
                if name not in part_of and have < share:
                    part_of[name], have = split, have + n
    return [part_of.get(group, "train") for group, _ in cards]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def printable(name: object) -> str:
    """A name with line breaks and the like written out, for a line of text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))
