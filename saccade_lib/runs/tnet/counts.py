"""What needs no training: parameters, multiplications, layers, settings of the paper.

Every model of Tables 1 and 2 is built at the paper's size on torch's device ``meta``,
where shapes are computed and numbers are not, and counted: eq. 11 over convolutions and
matrix products. `layers` reads Tables 3, 4 and 5 off the modules, `settings` what the
text says of the two models off the configurations that train.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from saccade_lib import cost
from saccade_lib.models import (
    bagnet,
    efficientnet,
    imagenet_dram,
    saccader,
    tnet,
    tnet_parts,
)
from saccade_lib.runs.experiment import MODELS
from saccade_lib.runs.measurement import Measured, Measurement


@dataclass(frozen=True)
class Imagenet:
    """The models of Table 1 and the numbers of locations that it prints."""

    tnet: tnet.Config = tnet.IMAGENET
    bagnet: bagnet.Config = bagnet.Config(classes=1000)
    saccader: saccader.Config = saccader.Config(classes=1000)
    dram: imagenet_dram.Config = imagenet_dram.Config(classes=1001)
    side: int = 224
    locations: tuple[int, ...] = (0, 1, 2, 3, 5)
    of_saccader: tuple[int, ...] = (2, 6, 20, 30)
    of_dram: tuple[int, ...] = (2, 4, 8, 20)


@dataclass(frozen=True)
class Fmow:
    """The models of Table 2: sides, and locations by level."""

    tnet: tnet.Config = tnet.FMOW
    efficientnet: efficientnet.Config = efficientnet.Config(classes=62)
    sides: tuple[int, ...] = (224, 448, 896)
    locations: tuple[tuple[int, tuple[int, ...]], ...] = (
        (224, (0,)),
        (448, (1,)),
        (448, (2,)),
        (448, (3,)),
        (896, (2, 1)),
        (896, (3, 1)),
    )


def shape_of(side: int) -> Tensor:
    """One colour image that has a shape and no content."""
    return torch.empty(1, 3, side, side, device="meta")


def shell(config: object) -> nn.Module:
    """A model that has shapes and no weights."""
    with torch.device("meta"):
        return MODELS[type(config)](config).eval()


def count_imagenet(config: Imagenet, seed: int, device, folder: Path) -> Measured:
    """The arithmetic columns of Table 1."""
    image, found = shape_of(config.side), {}
    net = shell(config.tnet)
    found["parameters_tnet"] = cost.parameters(net) / 1e6, "M"
    ways = [(f"tnet_{k}", {"locations": (k,)}) for k in config.locations]
    found |= flops(net, image, [*ways, ("tnet_unscored", {"locations": ()})])
    net = shell(config.bagnet)
    found["parameters_bagnet"] = cost.parameters(net) / 1e6, "M"
    found |= flops(net, image, [("bagnet", {})])
    others = {"saccader": config.of_saccader, "dram": config.of_dram}
    for name, numbers in others.items():
        net = shell(getattr(config, name))
        found[f"parameters_{name}"] = cost.parameters(net, statistics=True) / 1e6, "M"
        found[f"trained_{name}"] = cost.parameters(net) / 1e6, "M"
        ways = [(f"{name}_{t}", {"glimpses": t}) for t in numbers]
        found |= flops(net, image, ways)
    grid = tnet_parts.grid_over(config.side, config.tnet.grid, config.tnet.cell)
    padded = grid.origins(config.tnet.grid)[-1] + grid.patch - grid.first
    found["coverage_1"] = 100 * grid.patch**2 / padded**2, "%"
    return measured(found)


def flops(net: nn.Module, image: Tensor, ways: list[tuple[str, dict]]) -> dict:
    """Multiplications of a prediction, billions, by name; eq. 11."""
    return {
        f"flops_{name}": (
            cost.multiplications(lambda how=how: net.predict(image, **how)) / 1e9,
            "G",
        )
        for name, how in ways
    }


def count_fmow(config: Fmow, seed: int, device, folder: Path) -> Measured:
    """The arithmetic columns of Table 2, in two readings of eq. 11.

    ``flops_`` counts one multiplication for each number that squeeze and excitation
    rescales, ``strict_`` only convolutions and matrix products.
    """
    net, found = shell(config.efficientnet), {}
    found |= parameters_of("efficientnet", net)
    for side in config.sides:
        found |= both(f"efficientnet_{side}", net, shape_of(side), {})
    net = shell(config.tnet)
    found |= parameters_of("tnet", net)
    for side, k in config.locations:
        name = f"tnet_{side}_{attended(k)}"
        found |= both(name, net, shape_of(side), {"locations": k})
    largest = f"efficientnet_{config.sides[-1]}"
    ratio = found["flops_tnet_896_4"][0] / found[f"flops_{largest}"][0]
    # Two cells of two cells: what their squares can cover of the image at most.
    share = 100 * 2 * config.tnet.cell ** (2 * len(config.tnet.locations))
    return measured(found | {"ratio_896": (ratio, "x"), "coverage_896": (share, "%")})


def attended(locations: tuple[int, ...]) -> int:
    """Number of locations on all levels: 2 and then 1 from each are 4."""
    nodes, total = 1, 0
    for k in locations:
        nodes *= k
        total += nodes
    return total


def parameters_of(name: str, net: nn.Module) -> dict:
    return {
        f"parameters_{name}": (cost.parameters(net, statistics=True) / 1e6, "M"),
        f"trained_{name}": (cost.parameters(net) / 1e6, "M"),
    }


def both(name: str, net: nn.Module, image: Tensor, how: dict) -> dict:
    """Both readings of eq. 11."""

    def run():
        net.predict(image, **how)

    strict = cost.multiplications(run)
    more = cost.outputs(run, net, efficientnet.SqueezeExcite)
    return {
        f"strict_{name}": (strict / 1e9, "G"),
        f"flops_{name}": ((strict + more) / 1e9, "G"),
    }


# --- Tables 3, 4 and 5 ----------------------------------------------------------------


@dataclass(frozen=True)
class Layers:
    """The two networks, at the sides at which their tables describe them."""

    imagenet: tnet.Config = tnet.IMAGENET
    fmow: tnet.Config = tnet.FMOW


TABLE_4 = ["conv", *(f"conv-block-{n}" for n in range(1, 17)), "conv-last"]
TABLE_5 = ["conv", "mbconv1", *(f"mbconv6-{n}" for n in range(2, 17)), "conv-last"]
TOGETHER = {  # blocks that a table prints in one line, under the name of the last
    "table_4": {"conv-blocks-6-7": (6, 7), "conv-blocks-10-13": (10, 13)},
    "table_5": {"mbconv6-10-11": (10, 11), "mbconv6-13-15": (13, 15)},
}


def layers(config: Layers, seed: int, device, folder: Path) -> Measured:
    """Every number of Tables 3, 4 and 5 that a built module has."""
    found = {}
    for table, part in (("table_4", config.imagenet), ("table_5", config.fmow)):
        net = shell(part)
        names = TABLE_4 if table == "table_4" else TABLE_5
        lines = dict(zip(names, described(net.extract, part.base), strict=True))
        for name, (low, high) in TOGETHER[table].items():
            lines[name] = lines[names[high]] | {"repeats": (high - low + 1, "")}
        for name, line in lines.items():
            for column, quantity in line.items():
                found[f"{table}_{name}_{column}".replace("-", "_")] = quantity
        _, vector = net.extract(shape_of(part.base))  # (1, features): one a channel
        side = math.sqrt(vector[0].numel() / net.extract.features)
        found[f"{table}_pooling_output"] = side, "px"
        found |= {f"{table}_{k}": v for k, v in heads(net).items()}
    return measured(found | blocks(config))


def described(net: nn.Module, side: int) -> Iterator[dict]:
    """Kernel, channels, stride, output side and receptive field, layer by layer."""
    convolutions, shapes = [], []

    def note(module, inputs, output):
        shapes.append(output.shape)

    for block in blocks_of(net):
        block.register_forward_hook(note)
        inner = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
        # Of a block, the convolution that widens what is seen or takes strides.
        widest = max(inner, key=lambda m: (m.kernel_size[0], m.stride[0]))
        convolutions.append(widest)
    net(shape_of(side))
    chain = [(m.kernel_size[0], m.stride[0], m.padding[0]) for m in convolutions]
    seen = cost.receptive_fields(chain, side)
    for (kernel, stride, _), shape, at in zip(chain, shapes, seen, strict=True):
        if at.side != shape[-1]:
            raise AssertionError(f"a layer of {shape[-1]} pixels, computed {at.side}")
        yield {
            "kernel": (kernel, ""),
            "channels": (shape[1], ""),
            "stride": (stride, ""),
            "output": (shape[-1], "px"),
            "receptive-field": (at.field, "px"),
        }


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """First convolution, blocks, last convolution."""
    groups = net.groups if isinstance(net, bagnet.BagNet) else net.stages
    return [net.stem, *(block for group in groups for block in group), net.last]


def heads(net: tnet.TNet) -> dict:
    """Location, position and classification modules of a built TNet."""
    n, K = net.config.grid, net.config.grid**2
    M, Fe = net.extract.map_channels, net.extract.features
    where = net.locate
    found = {
        "pooling_channels": Fe,
        "location_map_side": n,
        "location_map_channels": M,
        "location_softmax_regions": K,
        "location_conv_1_channels": where.conv1.out_channels,
        "location_conv_2_channels": where.conv2.out_channels,
        "positional_encoding_size": net.position.length,
        "positional_channels": net.position.dense.out_features,
        "classifier_classes": net.classify.out_features,
    }
    if isinstance(where, tnet_parts.WithVector):
        inputs = where.conv1.in_channels
        found |= {
            "location_context_channels": inputs - M - 2,
            "location_channels_without_coordinates": inputs - 2,
            "location_input_channels": inputs,
            "positional_feature_size": Fe,
        }
    else:
        found |= {
            "location_se_squeezed_channels": where.rescale.squeeze.out_channels,
            "location_conv_2_input_channels": where.conv2.in_channels,
            "location_conv_3_channels": where.conv3.out_channels,
        }
    return {name: (value, "") for name, value in found.items()}


def blocks(config: Layers) -> dict:
    """Table 3: widths inside a block, relative to its own."""
    block = shell(config.imagenet).extract.groups[0][0]
    expanded = shell(config.fmow).extract.stages[1][0]
    squeeze = next(
        m for m in expanded.modules() if isinstance(m, efficientnet.SqueezeExcite)
    )
    outputs = block.conv3.out_channels
    inputs = expanded.body[0].in_channels
    return {
        "table_3_bottleneck_divisor": (outputs / block.conv2.out_channels, ""),
        "table_3_shortcut_factor": (block.shortcut.out_channels / outputs, ""),
        "table_3_reduction": (squeeze.squeeze.out_channels / inputs, "x"),
    }


# --- what the text says of the two models ---------------------------------------------


@dataclass(frozen=True)
class Settings:
    """The configurations that train, and the example of figure 4.

    Attributes:
        stage_1: the satellite model at 448, which is trained first.
        example: figure 4's: 896 pixels, 2 x 2 cells that do not overlap.
    """

    imagenet: tnet.Config = tnet.IMAGENET
    stage_1: tnet.Config = tnet.FMOW_448
    stage_2: tnet.Config = tnet.FMOW
    example: tnet.Config = replace(tnet.FMOW, grid=2, picked=(3, 10))
    example_side: int = 896


def settings(config: Settings, seed: int, device, folder: Path) -> Measured:
    """Levels, locations, grids, weights, and the grids of figure 4."""
    found = {}
    parts = {"imagenet": config.imagenet, "stage_1": config.stage_1}
    for name, part in (parts | {"stage_2": config.stage_2}).items():
        of_maps = part.backbone == "bagnet"
        shares = {"dropout": 1 - part.dropout if of_maps else part.dropout}
        shares |= {"stochastic_depth": part.depth_drop}
        plain = shares | {
            "levels": len(part.locations) + 1,
            "locations": attended(part.locations),
            "grid": part.grid,
            "encoding_size": shell(part).position.length,
            "lambda_f": part.lambda_f,
            "lambda_c": part.lambda_c,
            "lambda_r": part.lambda_r,
        }
        found |= {f"{name}_{k}": (v, "") for k, v in plain.items()}
        found[f"{name}_base_side"] = part.base, "px"
        found[f"{name}_cell_share"] = 100 * part.cell, "%"
    return measured(found | example(config))


def example(config: Settings) -> dict:
    """Figure 4: cells a side of each level's coordinates, and attended ones a node."""
    levels = shell(config.example).traverse(shape_of(config.example_side)).levels
    found = {
        "figure_4_image_side": (config.example_side, "px"),
        "figure_4_base_side": (levels[0].crops.shape[-1], "px"),
        "figure_4_levels": (len(levels), ""),
    }
    for number, level in enumerate(levels):
        found[f"figure_4_grid_{number + 1}"] = (config.example.grid**number, "")
        if level.chosen is not None:
            found[f"figure_4_attended_{number + 1}"] = (level.chosen.shape[-1], "")
    return found


def measured(found: dict[str, tuple[float, str]]) -> Measured:
    return Measured(
        metrics={k: {"value": float(v), "unit": u} for k, (v, u) in found.items()}
    )


ROWS = {
    "counts-imagenet": {"paper": Measurement(count_imagenet, Imagenet())},
    "counts-fmow": {"paper": Measurement(count_fmow, Fmow())},
    "layers": {"paper": Measurement(layers, Layers())},
    "settings": {"paper": Measurement(settings, Settings())},
}
