"""python -m saccade_lib.annotation make|join SET --profile PROFILE"""

import argparse
import re
import sys

from saccade_lib.annotation.job import PLANS, join, make
from saccade_lib.data.files import DataError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m saccade_lib.annotation")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make a set of sequences, or a shard")
    joining = commands.add_parser("join", help="one file of all shards")
    for command in (making, joining):
        command.add_argument("set", choices=sorted({name for name, _ in PLANS}))
        command.add_argument("--profile", default="quick")
    making.add_argument("--shard", type=_shard, help="i/n, the i-th of n")
    joining.add_argument("--shards", type=int, default=1)
    given = parser.parse_args(arguments)
    try:
        if given.command == "join":
            print(join(given.set, given.profile, given.shards))
            return 0
        path = make(given.set, given.profile, *(given.shard or (1, 1)))
        print(path if given.shard else join(given.set, given.profile))
    except (ValueError, OSError, DataError) as error:
        print(f"annotation: {error}", file=sys.stderr)
        return 1
    return 0


def _shard(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+/\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not i/n, such as 1/4")
    number, shards = map(int, text.split("/"))
    return number, shards


if __name__ == "__main__":
    sys.exit(main())
