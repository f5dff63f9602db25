"""Build the site of the book: stage, generate, render strictly, put in place.

    python workflow/site.py build

Reads the committed sources and `_build/executed/*.ipynb`, writes `_build/html/`.
A build that fails leaves the site that was there untouched.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fragments
import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
MATHJAX = "static/mathjax/"
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2/", "input/tex/extensions/")


class SiteError(Exception):
    """What is wrong with the sources, in one sentence for the reader."""


def toc_files(toc):
    """Every page named in a table of contents, in reading order, without suffix."""
    if isinstance(toc, list):
        return [name for part in toc for name in toc_files(part)]
    own = [toc[key] for key in ("root", "file") if key in toc]
    nested = [toc[key] for key in ("parts", "chapters", "sections") if key in toc]
    return own + toc_files(nested)


def staged_config(config):
    """The configuration as rendered: no button without a place that it leads to.

    Without an address there is nothing to link to; Colab opens only GitHub's.
    """
    url = config["repository"].get("url") or ""
    buttons = config["launch_buttons"]
    if not url.startswith("https://github.com/"):
        buttons = {k: v for k, v in buttons.items() if k != "colab_url"}
    html = {k: v for k, v in config["html"].items() if url or "_button" not in k}
    return {**config, "html": html, "launch_buttons": buttons}


def code_cells(notebook):
    """Its code cells in order, without the one that papermill injects."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code"
        and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def merge(source, executed, name):
    """Committed text and code with the outputs of the execution.

    Raises:
        SiteError: the execution failed, or belongs to other code than the source.
    """
    if executed.metadata.get("papermill", {}).get("exception"):
        raise SiteError(f"{name}: its last execution failed; run `make book`")
    wanted, ran = code_cells(source), code_cells(executed)
    if [cell.source for cell in wanted] != [cell.source for cell in ran]:
        raise SiteError(f"{name}: its code changed after execution; run `make book`")
    for cell, twin in zip(wanted, ran, strict=True):
        cell.outputs = twin.outputs
        cell.execution_count = twin.execution_count
    if "widgets" in executed.metadata:
        source.metadata["widgets"] = executed.metadata["widgets"]
    return source


def stage_notebook(root, stage, name):
    """Write the merged notebook NAME (as in the table of contents) into the stage."""
    source = root / f"{name}.ipynb"
    executed = root / "_build" / "executed" / source.name
    for path, hint in ((source, "it is in _toc.yml"), (executed, "run `make book`")):
        if not path.exists():
            raise SiteError(f"{path.relative_to(root)} is missing: {hint}")
    merged = merge(nbformat.read(source, 4), nbformat.read(executed, 4), name)
    target = stage / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(merged, target)


def stage_mathjax(static):
    """Copy MathJax's script and fonts out of the installed package."""
    package = importlib.metadata.distribution("sphinx-mathjax-offline")
    for file in package.files:
        part = file.as_posix().partition(MATHJAX)[2]
        if part.startswith(MATHJAX_PARTS):
            target = static / "mathjax" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)
    if not (static / "mathjax" / MATHJAX_PARTS[0]).exists():
        raise SiteError("sphinx-mathjax-offline holds no MathJax; reinstall build.txt")


def stage_book(root, status):
    """Fill `_build/stage` with everything that the renderer reads; returns it."""
    stage = root / "_build" / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    ignore = shutil.ignore_patterns("records", "published", "_generated")
    shutil.copytree(root / "book", stage / "book", ignore=ignore)
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    (stage / "_config.yml").write_text(
        yaml.safe_dump(staged_config(config), allow_unicode=True), encoding="utf-8"
    )
    shutil.copyfile(root / "_toc.yml", stage / "_toc.yml")
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    for name in toc_files(toc):
        if name.startswith("notebooks/"):
            stage_notebook(root, stage, name)
        elif not (stage / f"{name}.md").exists():
            raise SiteError(f"{name}.md is missing: it is in _toc.yml")
    stage_mathjax(stage / "book" / "_static")
    fragments.write(stage / "book" / "_generated", status)
    return stage


def render(stage, out, log):
    """Run Jupyter Book strictly from clean; returns the folder of the pages."""
    start = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "build", str(stage)]
    command += ["--path-output", str(out), "-W", "-n", "--keep-going"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    pages = out / "_build" / "html"
    if done.returncode or not (pages / "index.html").exists():
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8"))
        said = [
            line for line in text.splitlines() if re.search("WARN|ERROR|rror:", line)
        ]
        raise SiteError("\n".join(["the strict build failed:", *said, f"log: {log}"]))
    return pages


def put_in_place(pages, target):
    """Swap the finished folder in; nothing half-built ever stands at the target."""
    old = target.with_name(f"{target.name}.old-{os.getpid()}")
    if target.exists():
        target.rename(old)
    pages.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def build(root=ROOT, status=None):
    """Build the whole site; returns the path of its index.html.

    Args:
        status: the ledger; by default `saccade_lib.records.status()`.
    """
    if status is None:
        from saccade_lib import records

        status = records.status()
    stage = stage_book(root, status)
    target = root / "_build" / "html"
    with tempfile.TemporaryDirectory(dir=root / "_build", prefix=".site-") as out:
        pages = render(stage, Path(out), root / "_build" / "logs" / "site.log")
        put_in_place(pages, target)
    return target / "index.html"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["build"])
    parser.parse_args()
    start = time.monotonic()
    try:
        index = build()
    except SiteError as error:
        sys.exit(f"site: {error}")
    print(f"site: built in {time.monotonic() - start:.0f} s")
    print(index)


if __name__ == "__main__":
    main()
