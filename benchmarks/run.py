"""How fast the library is here, beside the plain way to do the same: `make bench`.

    python benchmarks/run.py [--json]

Both sides of a ratio run in turn in this process, on the CPU. Two clocks are read: the
wall's, and the process's own, which other processes hardly change but which does not
see a wait for memory. What counts is the ratio; images a second belong to this machine
alone. A test holds what both sides compute equal.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # also where the package is not installed

import loops  # noqa: E402
import overhead  # noqa: E402
import plain_ram  # noqa: E402
import plain_zoom  # noqa: E402

from saccade_lib import (  # noqa: E402
    glimpse,
    pyramid,
    retrieval,
    sequences,
    session,
    zoom,
)
from saccade_lib.data import digits, door, gaze  # noqa: E402
from saccade_lib.data.digits import Canvases  # noqa: E402
from saccade_lib.models import (  # noqa: E402
    avp,
    bagnet,
    baselines,
    recurrent_attention,
    tnet,
)
from saccade_lib.runs import find  # noqa: E402
from saccade_lib.runs.experiment import build  # noqa: E402

PAPER = "variational-saccading"
LARGE = 2528


@dataclass
class Side:
    """One way to do a thing: its name, a call, and the images that a call handles."""

    name: str
    call: Callable[[], object]
    images: int


def measure(*sides: Side, repeats: int = 3) -> list[dict]:
    """Images a second of each way by both clocks, and their ratios to the last way."""
    for side in sides:
        side.call()
    taken: list[list[tuple[float, float]]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, times in zip(sides, taken, strict=True):
            times.append(seconds(side.call))
    found = [{"name": side.name} for side in sides]
    for k, clock in enumerate(("wall", "cpu")):
        rates = [
            side.images / statistics.median(pair[k] for pair in times)
            for side, times in zip(sides, taken, strict=True)
        ]
        for way, rate in zip(found, rates, strict=True):
            way[f"images_per_{clock}_second"] = rate
            way[f"{clock}_ratio"] = rate / rates[-1]
    return found


def seconds(call: Callable[[], object], least: float = 0.05) -> tuple[float, float]:
    """Wall and CPU seconds of a call, repeated until the clock has much to count."""
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.process_time() - cpu < least:
        call()
        calls += 1
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def synthesis(pack: door.Pack) -> list[dict]:
    """Canvases of 100 x 100 from layouts that are functions of their index."""
    stream = Canvases(pack, "identification")
    index = torch.arange(1000)
    return measure(
        Side("batched", lambda: stream.batch(index), 1000),
        Side("image by image", lambda: loops.compose(stream, 0, 50), 50),
    )


def large_synthesis(pack: door.Pack) -> list[dict]:
    """Canvases of 2528 x 2528: composed at that size, or enlarged from 100 x 100."""
    index = torch.arange(2)
    true = Canvases(pack, "identification", side=LARGE)
    enlarged = Canvases(pack, "identification", enlarge=LARGE)
    return measure(
        Side("small digits, true detail", lambda: true.batch(index), 2),
        Side("enlarged, as in the paper", lambda: enlarged.batch(index), 2),
    )


def crops() -> list[dict]:
    """Four crops of 24 x 24 from each of 128 images of 100 x 100."""
    image, location = torch.rand(128, 1, 100, 100), torch.rand(128, 4, 2) - 0.5
    return measure(
        Side("one call", lambda: glimpse.crop(image, location, 0.4, 24), 128),
        Side("crop by crop", lambda: loops.crops(image, location, 0.4, 24), 128),
    )


def gradients() -> list[dict]:
    """Forward and backward through four crops of 2528 x 2528 images, batch 2."""
    image = torch.rand(2, 1, LARGE, LARGE)
    location = (torch.rand(2, 4, 2) - 0.5).requires_grad_()

    def backward(cut: Callable, picture: Tensor) -> None:
        cut(picture, location, 0.1, 24).sum().backward()
        location.grad = picture.grad = None

    wanting = image.clone().requires_grad_()
    return measure(
        Side("image detached", lambda: backward(glimpse.crop, image), 2),
        Side("gradient into it", lambda: backward(loops.attached, wanting), 2),
    )


def on_disk() -> list[dict]:
    """Four crops of 64 x 64 at full size from each of two images of 4096 x 4096."""
    image = torch.nn.functional.interpolate(torch.rand(2, 1, 64, 64), (4096, 4096))
    index, location = torch.arange(2), torch.rand(2, 4, 2) - 0.5
    with tempfile.TemporaryDirectory() as folder:
        ends = ("tif", "jpg", "png")
        paths = {end: [Path(folder, f"{b}.{end}") for b in range(2)] for end in ends}
        for b in range(2):
            pyramid.write(paths["tif"][b], image[b])
            for end in ("jpg", "png"):
                loops.save(image[b], paths[end][b])
        with pyramid.Pyramids(paths["tif"]) as store:

            def parts() -> Tensor:
                return store.crop(index, location, 1 / 64, 64)

            def whole(end: str) -> Tensor:
                return loops.from_whole_files(paths[end], location, 1 / 64, 64)

            return measure(
                Side(
                    "pyramid files", lambda: store.crop(index, location, 1 / 64, 64), 2
                ),
                Side("JPEG, decoded whole", lambda: whole("jpg"), 2),
                Side("PNG, decoded whole", lambda: whole("png"), 2),
            )


def training(pack: door.Pack) -> list[dict]:
    """One step at 100 x 100, batch 16: loss, backward pass and optimiser."""
    runs = {
        "saccading, standard": find(PAPER, "saccading-identification--standard--0"),
        "ResNet-18, width 16": find(PAPER, "resnet18-identification--standard--0"),
    }
    models = {name: build(run.experiment, 0) for name, run in runs.items()}
    models["ResNet-18, width 64"] = baselines.FullImage(baselines.Config(classes=55))
    batch = Canvases(pack, "identification").batch(torch.arange(16))
    sides = []
    for name, model in models.items():
        optimiser = torch.optim.AdamW(model.train().parameters())
        sides.append(Side(name, partial(step, model, optimiser, batch), 16))
    return measure(*sides)


def recurrent(pack: door.Pack) -> list[dict]:
    """RAM on 28 x 28, six glimpses, batch 128, from the images to the new weights."""
    config = recurrent_attention.Config(classes=10, sigma=0.05)
    ours = recurrent_attention.RecurrentAttention(config)
    plain = plain_ram.Ram()
    stream = Canvases(pack, "translated", side=digits.GLYPH)
    loader = iter(plain_ram.loader(pack))
    made = {
        net: torch.optim.AdamW(net.parameters(), lr=3e-4, foreach=True)
        for net in (ours, plain)
    }
    counter = count()

    def one_of_ours(half: bool) -> None:
        k = next(counter)
        batch = stream.batch(torch.arange(128 * k, 128 * (k + 1)))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = ours.loss(batch).total
        made[ours].zero_grad(set_to_none=True)
        loss.backward()
        made[ours].step()

    def one_of_theirs() -> None:
        nonlocal loader
        batch = next(loader, None)
        if batch is None:
            loader = iter(plain_ram.loader(pack))
            batch = next(loader)
        made[plain].zero_grad(set_to_none=True)
        plain(*batch).backward()
        made[plain].step()

    return measure(
        Side("batched, in bfloat16", partial(one_of_ours, True), 128),
        Side("batched", partial(one_of_ours, False), 128),
        Side("image by image", one_of_theirs, 128),
        repeats=5,
    )


def traversal() -> list[dict]:
    """TNet with five locations at a quarter of its width, beside BagNet-77, on 224^2.

    A traversal takes 0.59 of the baseline's multiplications, whatever the width.
    """
    torch.manual_seed(0)
    images = torch.rand(16, 3, 224, 224)
    net = tnet.TNet(tnet.Config(10, width=1 / 4)).eval()
    whole = bagnet.BagNet77(bagnet.Config(10, width=1 / 4)).eval()
    for model in (net, whole):
        model.to(memory_format=torch.channels_last)
    walk = partial(net.predict, images, locations=(5,))
    return measure(
        Side("a level in one batch", walk, 16),
        Side("cell by cell", partial(walk, one_by_one=True), 16),
        Side("BagNet-77, whole image", partial(whole.predict, images), 16),
    )


def judging() -> list[dict]:
    """Expected entropies of 169 places over 32 completions: evaluations of g."""
    torch.manual_seed(0)
    config = avp.Config(41)
    g = avp.Avp(config).eval()
    cnn = avp.Avp(replace(config, network="cnn", width=16)).eval()
    images = torch.rand(64, 3, 64, 64)
    base = retrieval.Database(images, torch.arange(64), g.grid, flip=True, reach=1)
    places, index = torch.tensor([0, 84]), torch.arange(32)
    weights = torch.full((32,), 1 / 32)
    ways = {
        "embeddings kept": sequences.Cached(g, base),
        "patches read anew": sequences.Plain(g, base),
        "small CNN on masked images": sequences.Plain(cnn, base),
    }
    sides = [
        Side(name, partial(way.epe, images[0], places, index, weights), 32 * 169)
        for name, way in ways.items()
    ]
    return measure(*sides, repeats=1)


def zooming() -> list[dict]:
    """Places from 32 saliency maps of 31 x 31, forward and backward."""
    S = torch.rand(32, 31, 31, generator=torch.Generator().manual_seed(0))
    S.requires_grad_()
    kernel = plain_zoom.kernel(31, 13)

    def backward(places: Callable[[], Tensor]) -> None:
        places().square().sum().backward()
        S.grad = None

    def matrices() -> Tensor:
        return zoom.positions(S, (31, 31), zoom.CODE_SIGMA, "replicate", reach=30)

    return measure(
        Side("two matrices an axis", partial(backward, matrices), 32),
        Side(
            "dense convolution",
            lambda: backward(lambda: plain_zoom.grid(S, kernel)),
            32,
        ),
    )


def in_front() -> list[dict]:
    """A ResNet-101 on two images, forward and backward, with the sampler and without.

    On a GPU: `python benchmarks/overhead.py --device cuda --batch 32`.
    """
    calls = overhead.ways("resnet101", layers=14, batch=2, device="cpu")
    return measure(*[Side(name, call, 2) for name, call in calls.items()])


def faces() -> list[dict]:
    """Faces of 256 x 256 whose edges are shares of a pixel."""
    stream = gaze.Faces("iphone")
    index = torch.arange(64)
    return measure(
        Side("batched, edges analytic", lambda: stream.batch(index), 64),
        Side("one by one, four points a pixel", lambda: loops.faces(stream, 8), 8),
    )


def step(model: torch.nn.Module, optimiser, batch: dict) -> None:
    optimiser.zero_grad(set_to_none=True)
    model.loss(batch | {"progress": 0.0}).total.backward()
    optimiser.step()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.manual_seed(0)
    pack = door.mnist(quiet=as_json)
    parts = {
        "digits on 100x100": partial(synthesis, pack),
        "digits on 2528x2528": partial(large_synthesis, pack),
        "four crops of 100x100": crops,
        "crops of 2528x2528, with backward": gradients,
        "crops of 4096x4096 from disk": on_disk,
        "one training step at 100x100": partial(training, pack),
        "RAM on 28x28, with its data": partial(recurrent, pack),
        "TNet, 5 locations on 224x224": traversal,
        "maps of expected entropy at 64x64": judging,
        "sampling grids of 31x31 maps": zooming,
        "a sampler before a ResNet-101": in_front,
        "faces on 256x256": faces,
    }
    found = {}
    for name, part in parts.items():
        found[name] = part()
        if not as_json:
            _show(name, found[name])
    if as_json:
        where = {"hardware": session.hardware("cpu"), "versions": session.versions()}
        print(json.dumps(where | {"data": pack.source, "found": found}, indent=1))
    return 0


def _show(name: str, ways: list[dict]) -> None:
    print(f"\n{name:34}{'images/s':>11}{'ratio':>8}{'images/CPU s':>15}{'ratio':>8}")
    for way in ways:
        line = f"  {way['name']:32}"
        for clock, width in (("wall", 11), ("cpu", 15)):
            line += f"{way[f'images_per_{clock}_second']:{width},.0f}"
            line += f"{way[f'{clock}_ratio']:8.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
