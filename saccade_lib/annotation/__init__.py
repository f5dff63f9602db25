"""Near-optimal glimpse sequences: making sets of them, and reading them back.

    python -m saccade_lib.annotation make SET --profile standard [--shard 1/4]
    python -m saccade_lib.annotation join SET --profile standard [--shards 4]

`saccade_lib.sequences` chooses the places, `job` makes a whole set, `files` keeps it:
`load` gives `Annotations`. `published` reads the authors' own.
"""

from saccade_lib.annotation.files import Annotations, load, published
from saccade_lib.annotation.job import join, make, path_of

__all__ = [
    "Annotations",
    "join",
    "load",
    "make",
    "path_of",
    "published",
]
