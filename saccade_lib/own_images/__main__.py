"""``python -m saccade_lib.own_images FOLDER --out OUT``: estimate, train, save."""

import argparse
import sys
from pathlib import Path

from saccade_lib import own_images
from saccade_lib.data.files import DataError


def options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m saccade_lib.own_images",
        description="Train a saccading classifier on a folder of images, a folder a "
        "class.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where results go")
    parser.add_argument("--proxy", type=int, help="side of the small copy, pixels")
    parser.add_argument("--size", type=int, help="side of a glimpse, pixels")
    parser.add_argument("--glimpses", type=int, help="how many")
    parser.add_argument("--places", choices=("reward", "slope", "spread"))
    parser.add_argument("--steps", type=int, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--group", default="auto", help="mark that ends a group's name")
    parser.add_argument("--ignore", nargs="*", default=(), help="endings to pass over")
    parser.add_argument("--dry-run", action="store_true", help="estimate, do not train")
    return parser.parse_args(words)


def first_of_each(folder: own_images.Folder) -> dict[str, Path]:
    """The first test image of each class, by class."""
    first = {}
    for picture in folder.of("test"):
        first.setdefault(folder.classes[picture.label], picture.path)
    return first


def main(words: list[str] | None = None) -> int:
    args = options(words)
    chosen = {"seed": args.seed}
    for name in ("proxy", "size", "glimpses", "places", "steps"):
        chosen[name] = getattr(args, name)
    try:
        folder = own_images.scan(args.folder, args.group, args.seed, args.ignore)
        print(folder)
        decisions = own_images.decide(folder, **chosen)
        print(decisions)
        print(own_images.estimate(folder, decisions))
        if args.dry_run:
            return 0
        trained = own_images.train(folder, decisions, out=args.out)
        trained.save(args.out)
        tested = [picture.path for picture in folder.of("test")]
        trained.log(tested, args.out / "glimpses.csv")
        for name, path in first_of_each(folder).items():
            trained.draw(path).savefig(args.out / f"where-it-looks-{name}.png")
    except (DataError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(trained.report())
    print(trained.verdict())
    print(f"weights, glimpses.csv and a picture a class are in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
