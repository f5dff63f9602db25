"""Your own images: from a folder to a trained saccading classifier.

    from saccade_lib import own_images

    folder = own_images.scan("FOLDER")             # all that is wrong, at once
    decisions = own_images.decide(folder)          # three decisions, with reasons
    print(own_images.estimate(folder, decisions))  # seconds, memory, disk
    trained = own_images.train(folder, decisions)
    print(trained.report())                        # does looking pay on these images?
    trained.draw("FOLDER/cats/one.tif")
    trained.save("OUT")

or, in one line: ``python -m saccade_lib.own_images FOLDER --out OUT``.
"""

from saccade_lib.data.folders import BadFolder, Folder, scan
from saccade_lib.own_images.budget import Budget, estimate
from saccade_lib.own_images.decisions import Decisions, decide
from saccade_lib.own_images.exports import CannotExport
from saccade_lib.own_images.looks import Look
from saccade_lib.own_images.trained import Trained, load
from saccade_lib.own_images.training import train

__all__ = ["BadFolder", "Budget", "CannotExport", "Decisions", "Folder", "Look"]
__all__ += ["Trained", "decide", "estimate", "load", "scan", "train"]
