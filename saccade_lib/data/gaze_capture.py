"""A reader's own copy of GazeCapture: people who look at dots on phones and tablets.

1,474 people, 2.4 million frames (Krafka et al. 2016). Who asks for it may use it for
research and not pass it on, so nothing of it comes with this book. A copy is laid out
like this, a folder a recording:

    00002/frames/00000.jpg     the front camera's frames
    00002/frames.json          their names
    00002/info.json            "Dataset": train, val or test; "DeviceName"
    00002/dotInfo.json         "XCam", "YCam" of each frame's dot
    00002/appleFace.json       "X", "Y", "W", "H", "IsValid": the face in the frame
    00002/appleLeftEye.json    likewise, in the face; appleRightEye.json
    00002/faceGrid.json        "IsValid": whether all three were found
    00002/screen.json          "Orientation" of each frame, 1 for upright

``XCam`` and ``YCam`` are centimetres from the camera as the person sees the screen, y
upwards; here y is turned to point down, as in all of the book. The person's left eye is
at the frame's right. Frames without face and eyes are left out, as in the paper of the
data; so are, by default, frames that are not upright.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.data import augmentation, door
from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.session import one_of

NAMES = {"train": "train", "val": "validation", "test": "test"}
MARKS = ("dotInfo", "faceGrid", "appleFace", "appleLeftEye", "appleRightEye")
STREAM = 540  # of random numbers


@dataclass(frozen=True, eq=False)
class GazeCapture(door.Source):
    """The usable frames of one kind of device.

    Attributes:
        frames: by split, paths.
        targets: by split ``(N, 2)``, cm from the camera, y down.
        squares: by split ``(N, 3, 4)`` in pixels of the frame, left, top, width and
            height of the eye at the image's left, of the other, and of the face.
        people: by split ``(N,)``, number of the recording.
    """

    frames: dict[str, tuple[Path, ...]] = field(repr=False)
    targets: dict[str, np.ndarray] = field(repr=False)
    squares: dict[str, np.ndarray] = field(repr=False)
    people: dict[str, np.ndarray] = field(repr=False)


def gaze_capture(
    folder: str | Path, device: str, upright: bool = True, quiet: bool = False
) -> GazeCapture:
    """A copy's frames of phones or of tablets.

    Args:
        folder: holds the numbered recordings.
        device: ``"iphone"`` or ``"ipad"``: how the recordings' ``DeviceName`` begins.
        upright: leave out frames in another orientation.

    Raises:
        MissingData: no folder, a file that lacks, or a split without a frame.
        CorruptData: a file that is none, or lists of different lengths.
    """
    one_of("device", device, ("iphone", "ipad"))
    top, rows = Path(folder), {split: [] for split in SPLITS}
    if not top.is_dir():
        raise MissingData(f"no folder {top}. Correct the path.")
    for path in sorted(p for p in top.iterdir() if p.is_dir() and p.name.isdigit()):
        info = _json(path / "info.json")
        if not str(info.get("DeviceName", "")).lower().startswith(device):
            continue
        if info.get("Dataset") not in NAMES:
            raise CorruptData(
                f'{path / "info.json"}: "Dataset" must be one of {", ".join(NAMES)}, '
                f"not {info.get('Dataset')!r}."
            )
        rows[NAMES[info["Dataset"]]] += _recording(path, upright)
    for split, some in rows.items():
        if not some:
            raise MissingData(f"{top}: no frame of {device} and {split} with a face.")
    return _announced(rows, device, quiet)


def _announced(rows: dict[str, list], device: str, quiet: bool) -> GazeCapture:
    names = (f"{s}/{r[0].parts[-3]}/{r[0].name}\n" for s in rows for r in rows[s])
    digest = hashlib.sha256("".join(names).encode()).hexdigest()
    counts = ", ".join(f"{len(some):,} {split}" for split, some in rows.items())
    note = f"GazeCapture, {device}, {counts}, from the folder given"
    if not quiet:
        print(f"data: {note}")
    frames = {split: tuple(row[0] for row in some) for split, some in rows.items()}
    targets, squares, people = (
        {split: np.array([row[k] for row in some]) for split, some in rows.items()}
        for k in (1, 2, 3)
    )
    about = "gazecapture", "folder", {"frames": digest}, note
    return GazeCapture(*about, frames, targets, squares, people)


def _recording(path: Path, upright: bool) -> list[tuple]:
    """(frame, target, squares, person) of each frame with a face and both eyes."""
    frames, dots, grid = (_json(path / f"{n}.json") for n in ("frames", *MARKS[:2]))
    orientation = _json(path / "screen.json")["Orientation"]
    face, left, right = (_json(path / f"{n}.json") for n in MARKS[2:])
    columns = [dots["XCam"], dots["YCam"], grid["IsValid"], orientation]
    columns += [of["IsValid"] for of in (face, left, right)]
    columns += [of[side] for of in (face, left, right) for side in "XYWH"]
    if {len(column) for column in columns} != {len(frames)}:
        raise CorruptData(
            f"{path}: its lists are not as long as frames.json's, {len(frames)}: "
            "unpack this recording again."
        )
    found = []
    for k, name in enumerate(frames):
        valid = all(of["IsValid"][k] for of in (face, left, right, grid))
        if not valid or (upright and orientation[k] != 1):
            continue
        boxes = [[of[side][k] for side in "XYWH"] for of in (right, left, face)]
        for box in boxes[:2]:  # an eye is noted from the face's corner
            box[0], box[1] = box[0] + boxes[2][0], box[1] + boxes[2][1]
        dot = dots["XCam"][k], -dots["YCam"][k]
        found.append((path / "frames" / name, dot, boxes, int(path.name)))
    return found


def _json(path: Path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise MissingData(
            f"no file {path}: this recording is not whole. Unpack it again."
        ) from None
    except ValueError as error:
        raise CorruptData(f"{path} is no JSON: {error}. Unpack it again.") from None


@dataclass(frozen=True)
class Frames:
    """A stream of frames, brought to a square, with what `gaze.Faces` gives.

    Index k of training is drawn from (seed, k); of validation and test it is frame k
    in the order of the paths, counted round.

    Attributes:
        pack: of `gaze_capture`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        side: S, pixels; frames are squeezed to it whatever their shape.
        seed: of training.
    """

    pack: GazeCapture = field(repr=False)
    split: str = "train"
    side: int = 800
    seed: int = 0

    classes = 2  # numbers of an answer

    def __post_init__(self):
        one_of("split", self.split, SPLITS)

    def __len__(self) -> int:
        return len(self.pack.frames[self.split])

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """As of `gaze.Faces`; an eye's box is the detector's, half as high as wide."""
        number = index % len(self)
        if self.split == "train":
            number = (uniforms(self.seed, STREAM, index, 1)[:, 0] * len(self)).long()
        images, squares = [], []
        for k in number.tolist():
            picture = augmentation.read(self.pack.frames[self.split][k]).float() / 255
            H, W = picture.shape[1:]
            size = (self.side, self.side)
            small = F.interpolate(picture[None], size, mode="bilinear", antialias=True)
            images.append(small[0].clamp(0, 1))
            box = torch.tensor(self.pack.squares[self.split][k]).double()  # (3, 4)
            corner, sides = box[:, :2], box[:, 2:]
            ends = torch.cat((corner, corner + sides), dim=1)
            squares.append(ends * 2 / torch.tensor([W, H, W, H]) - 1)
        boxes = torch.stack(squares)  # (B, 3, 4)
        middle = (boxes[..., 2:] + boxes[..., :2]) / 2
        half = (boxes[..., 2:] - boxes[..., :2]) / 2
        lids = half[:, :2] * half.new_tensor([1.0, 0.5])
        eyes = torch.cat((middle[:, :2] - lids, middle[:, :2] + lids), dim=-1)
        found = {
            "image": torch.stack(images),
            "target": torch.from_numpy(self.pack.targets[self.split])[number],
            "person": torch.from_numpy(self.pack.people[self.split])[number],
            "eyes": eyes.float(),
            "face": boxes[:, 2].float(),
            "detected": torch.cat((middle, half[..., :1]), dim=-1).float(),
        }
        return {name: value.to(device) for name, value in found.items()}
