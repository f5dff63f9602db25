"""torchvision beside any torch: imported as it is, shimmed only where it must be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDS_OPERATORS = """
import torch
try:
    torch.library.register_fake("torchvision::nms", lambda *tensors: tensors)
except RuntimeError:
    raise RuntimeError("operator torchvision::nms does not exist") from None
"""


def run(code: str, *folders: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(map(str, [*folders, ROOT]))
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def fake(folder: Path, text: str) -> Path:
    """A folder with a package called torchvision, and a submodule that it imports."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "early.py").write_text("")
    (package / "__init__.py").write_text(f"from . import early\n{text}\n")
    return folder


def test_the_installed_torchvision_serves_models_datasets_and_transforms():
    done = run("""
import torch
from saccade_lib._compat import torchvision
assert torchvision is __import__("torchvision")
model = torchvision.models.resnet18(num_classes=3).eval()
assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
from torchvision.transforms import v2
image, label = torchvision.datasets.FakeData(2, (3, 8, 8), transform=v2.ToImage())[0]
assert image.shape == (3, 8, 8)
from torchvision.extension import _has_ops
print("native" if _has_ops() else "shimmed")
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("native", "shimmed")


def test_operators_are_declared_only_after_the_import_asked_for_them(tmp_path):
    done = run(
        "from saccade_lib._compat import torchvision; import torch;"
        "print(torch.ops.torchvision.nms.default._schema)",
        fake(tmp_path, NEEDS_OPERATORS + "whole = True"),
    )
    assert done.returncode == 0, done.stderr
    assert "iou_threshold" in done.stdout


def test_a_torchvision_that_loads_is_left_alone(tmp_path):
    done = run(
        "from saccade_lib._compat import torchvision; import sys;"
        "print(torchvision.whole, 'torch' in sys.modules)",
        fake(tmp_path, "whole = True"),
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


@pytest.mark.parametrize(
    "error", ["RuntimeError('other trouble')", "ImportError('nms does not exist')"]
)
def test_any_other_error_comes_through(tmp_path, error):
    done = run("import saccade_lib._compat", fake(tmp_path, f"raise {error}"))
    assert done.returncode == 1
    assert error.split("'")[1] in done.stderr.splitlines()[-1]
