"""A classifier for other programs: two ONNX graphs, and what lies between them.

    places.onnx   proxy (B, 3, J, J)                        -> location (B, T, 2)
    answer.onnx   proxy (B, 3, J, J), crops (B, T, 3, L, L) -> after (B, 1 + T, N)

Between them the program itself cuts the windows, of ``scale`` of the image's sides
around each location, shrunk to L x L: reading parts of a file of any size is no
operation of ONNX. All numbers are in [0, 1], locations in [-1, 1].
"""

import importlib.util
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from saccade_lib.models.looking import Looking

PACKAGES = ("onnx", "onnxscript")


class CannotExport(RuntimeError):
    """A graph cannot be written; the text says what to do."""


class _Places(nn.Module):
    def __init__(self, model: Looking):
        super().__init__()
        self.model = model

    def forward(self, proxy: Tensor) -> Tensor:
        return self.model.places(proxy, sample=False)[0]


class _Answer(nn.Module):
    def __init__(self, model: Looking):
        super().__init__()
        self.model = model

    def forward(self, proxy: Tensor, crops: Tensor) -> Tensor:
        read, _ = self.model.read(crops)
        return self.model.after(self.model.classify_proxy(proxy), read)


def to_onnx(model: Looking, folder: Path) -> tuple[Path, Path]:
    """Write ``places.onnx`` and ``answer.onnx``, for batches of any number of images.

    Raises CannotExport where a package lacks, or torch cannot write a graph.
    """
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        raise CannotExport(
            f"{' and '.join(lacking)} not installed: an ONNX graph needs them. Install "
            'them with `pip install "saccade-lib[export]"`'
        )
    cfg = model.config
    folder.mkdir(parents=True, exist_ok=True)
    proxy = torch.rand(2, cfg.channels, cfg.proxy, cfg.proxy)
    crops = torch.rand(2, cfg.glimpses, cfg.channels, cfg.size, cfg.size)
    first = _Places(model), (proxy,), ["proxy"], ["location"]
    second = _Answer(model), (proxy, crops), ["proxy", "crops"], ["after"]
    return (
        _write(folder / "places.onnx", *first),
        _write(folder / "answer.onnx", *second),
    )


def _write(path: Path, graph: nn.Module, inputs, names, outputs) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    batch = torch.export.Dim("batch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            program = torch.onnx.export(
                graph.eval(),
                inputs,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                dynamo=True,
                verbose=False,
            )
        program.save(str(part), external_data=False)
        os.replace(part, path)
    except OSError:
        raise
    except Exception as error:
        raise CannotExport(
            f"torch {torch.__version__} could not write {path.name} ({error}): use "
            "Trained.save, or another torch"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
