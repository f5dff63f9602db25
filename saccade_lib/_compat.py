"""torchvision beside a CPU-only torch: `from saccade_lib._compat import torchvision`.

The registry's torchvision is linked against CUDA. Beside a CPU torch its compiled part
does not load, and the import stops because two operators are not declared. Declaring
them is enough for models, datasets and transforms. `ops.nms`, `ops.deform_conv2d` and
`torchvision.io` still raise when called: read pictures with Pillow or pyvips.
"""

import importlib
import sys
from types import ModuleType

_MISSING = "operator torchvision::nms does not exist"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _import_torchvision() -> ModuleType:
    """torchvision, with the two operators declared only where its import asks for it.

    Declaring them first would clash with a compiled part that does load. Any other
    error of the import is raised as it is.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    import torch

    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half-imported: start again
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", _SCHEMA)
    return importlib.import_module("torchvision")


torchvision = _import_torchvision()
