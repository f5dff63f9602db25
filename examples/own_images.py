"""From a folder of images, a folder a class, to a classifier that looks.

python examples/own_images.py FOLDER OUT
"""

import sys
from pathlib import Path

from saccade_lib import own_images


def main(images: str, out: str, **chosen) -> own_images.Trained:
    folder = own_images.scan(images)  # raises an error that says all that is wrong
    decisions = own_images.decide(folder, **chosen)  # proxy, glimpses, places
    print(folder, decisions, sep="\n")
    print(own_images.estimate(folder, decisions))
    trained = own_images.train(folder, decisions, out=out)
    print(trained.report(), trained.verdict(), sep="\n")
    tested = [picture.path for picture in folder.of("test")]
    trained.save(out)
    trained.log(tested, Path(out) / "glimpses.csv")
    trained.draw(tested[0]).savefig(Path(out) / "where-it-looks.png")
    return trained


if __name__ == "__main__":
    main(*sys.argv[1:3])
