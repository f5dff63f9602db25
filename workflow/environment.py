"""Make `.venv`: one environment for the notebooks, the site and the checks.

    python3 workflow/environment.py

Needs the standard library alone. A stamp inside `.venv` holds what it was made from, by
content; when nothing changed this returns at once. Two ways, chosen by `choose`:

pins  `.venv` stands alone and gets the exact versions of requirements/dev.txt.
host  the Python at hand already has its own torch (Colab, a GPU image, conda): `.venv`
      sees its packages, torch, torchvision and numpy stay as they are, and only what is
      missing is added: the floors of pyproject.toml and the exact tool versions of
      requirements/build.txt and dev.txt.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "made-from.json"
LOG = ROOT / "_build" / "logs" / "environment.log"
FLOORS = {"torch": (2, 6), "torchvision": (0, 21)}
KEPT = ("torch", "torchvision", "numpy")


class SetUpError(Exception):
    """Why `.venv` could not be made, and what to do."""


def host_versions():
    """Versions of the packages in KEPT that the Python at hand has, by name."""
    found = {}
    for name in KEPT:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def choose(versions):
    """The way to go, "host" or "pins", and the reason in a few words."""
    if "torch" not in versions:
        return "pins", "exact versions of requirements/dev.txt"
    for name, floor in FLOORS.items():
        if name not in versions:
            return "pins", f"the Python at hand has torch but no {name}"
        numbers = tuple(int(n) for n in re.findall(r"\d+", versions[name])[:2])
        if numbers < floor:
            wanted = ".".join(map(str, floor))
            return "pins", f"its {name} {versions[name]} is older than {wanted}"
    return "host", f"keeps the torch {versions['torch']} that is already here"


def requirements():
    """Text of everything that says what to install, by file name."""
    files = [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "pyproject.toml"]
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def tools():
    """The exact versions in build.txt and dev.txt, without those of run.txt."""
    lines = [
        line.partition("#")[0].strip()
        for name in ("build.txt", "dev.txt")
        for line in requirements()[name].splitlines()
    ]
    return [line for line in lines if line and not line.startswith("-")]


def plan():
    """What `.venv` is to be made from; equal to the stamp if nothing is to be done."""
    versions = host_versions()
    way, why = choose(versions)
    base = {"way": way, "root": str(ROOT)}
    if way == "host":
        base |= {"python": sys.executable, "versions": versions}
    text = json.dumps(requirements(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"base": base, "requirements": digest}, why


def stamp():
    """What the `.venv` at hand was made from; {} if it is absent or broken."""
    if not PYTHON.exists() or not STAMP.exists():
        return {}
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except ValueError:
        return {}


def call(*command):
    """Run a command into the log; on failure its last lines become the error."""
    words = [str(word) for word in command]
    with LOG.open("a", encoding="utf-8") as log:
        print("$", *words, file=log, flush=True)
        code = subprocess.run(words, stdout=log, stderr=log, cwd=ROOT).returncode
    if code:
        tail = "\n".join(LOG.read_text(encoding="utf-8").splitlines()[-15:])
        raise SetUpError(f"{' '.join(words[:4])} … failed:\n{tail}\nlog: {LOG}")


def works(*command):
    """Whether a command exits 0; its output goes nowhere."""
    return not subprocess.run(map(str, command), capture_output=True).returncode


def usable():
    """Whether a `.venv` made by other hands can be built upon."""
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    return PYTHON.exists() and works(PYTHON, "-c", probe)


def create(base):
    """An empty `.venv`; in the way "host" it sees the packages of this Python."""
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists():
        raise SetUpError(f"{VENV} exists and is no virtual environment: move it away")
    shutil.rmtree(VENV, ignore_errors=True)
    call(sys.executable, "-m", "venv", "--without-pip", VENV)
    if base["way"] == "host":
        folders = [p for p in sys.path if Path(p).name.endswith("-packages")]
        site = next(VENV.glob("lib/python*/site-packages"))
        lines = [f"import site; site.addsitedir({folder!r})\n" for folder in folders]
        (site / "host.pth").write_text("".join(lines), encoding="utf-8")


def has_pip():
    """Whether `.venv` has pip, or can be given the one that comes with Python."""
    pip = (PYTHON, "-m", "pip", "--version")
    return works(*pip) or works(PYTHON, "-m", "ensurepip")


def installers():
    """Commands that install into `.venv`: uv if it can be had, then pip."""
    to_venv = ["pip", "install", "--python", PYTHON, "--compile-bytecode"]
    uv = shutil.which("uv")
    if uv:
        yield [uv, *to_venv]
    if has_pip():
        if not uv and works(PYTHON, "-m", "pip", "install", "uv"):
            yield [PYTHON, "-m", "uv", *to_venv]
        yield [PYTHON, "-m", "pip", "install"]


def install_pins():
    """The exact versions, then this project; pip where uv fails (a proxy, say)."""
    error = SetUpError(
        f"{sys.executable} brings no pip and there is no uv.\n"
        "Install one of them, for example `apt install python3-venv`."
    )
    for command in installers():
        try:
            call(*command, "-r", "requirements/dev.txt")
            call(*command, "--no-deps", "-e", ".")
            return
        except SetUpError as new:
            error = new
    raise error


def install(base):
    """Everything into `.venv`, this project last and editable."""
    if base["way"] == "pins":
        install_pins()
        return
    if not has_pip():
        raise SetUpError(f"{sys.executable} has torch but no pip: install pip there")
    # uv would not see the host's packages; pip does, and leaves what satisfies a floor.
    constraints = VENV / "host-constraints.txt"
    lines = [f"{name}=={version}\n" for name, version in base["versions"].items()]
    constraints.write_text("".join(lines), encoding="utf-8")
    command = [PYTHON, "-m", "pip", "install", "-c", constraints]
    call(*command, *tools(), "-e", ".[notebooks]")
    # The host's kernel of this name would start the host's Python.
    call(PYTHON, "-m", "ipykernel", "install", "--sys-prefix", "--name", "python3")


def write_stamp(wanted):
    """Only now is the environment complete."""
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    os.replace(part, STAMP)


def make():
    """Bring `.venv` up to date; silent if nothing changed."""
    wanted, why = plan()
    present = stamp()
    if present == wanted:
        return
    start = time.monotonic()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print(f"environment: making .venv ({why}; Python {sys.version.split()[0]}) …")
    sys.stdout.flush()
    STAMP.unlink(missing_ok=True)
    kept = present.get("base", wanted["base"]) == wanted["base"]
    if not (kept and usable() and (present or wanted["base"]["way"] == "pins")):
        create(wanted["base"])
    install(wanted["base"])
    write_stamp(wanted)
    print(f"environment: ready after {time.monotonic() - start:.0f} s")


def main():
    if sys.version_info < (3, 11):  # noqa: UP036 (called before anything is set up)
        sys.exit(f"environment: Python 3.11 or newer is needed, this is {sys.version}")
    if Path(sys.prefix) == VENV:  # called from an activated .venv: use what made it
        os.execv(sys._base_executable, [sys._base_executable, __file__])
    try:
        make()
    except SetUpError as error:
        sys.exit(f"environment: {error}")


if __name__ == "__main__":
    main()
