"""What a result depends on, by content: a small key file a chapter, one for the site.

A key file is rewritten only when what it stands for changed, so Snakemake, which
compares key and result, executes a chapter again for a changed code cell but not for
`touch`, nor for new words in a markdown cell.
"""

import hashlib
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE_SOURCES = ("_config.yml", "_toc.yml", "book", "notebooks", "saccade_lib")
PINS = ("requirements/run.txt", "pyproject.toml")


def chapters(root=ROOT):
    """Names of the chapters in reading order."""
    return sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))


def digest(path):
    """SHA-256 over a file, or over names and contents of a folder's finished files."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    total = hashlib.sha256()
    for file in files:
        hidden = {"__pycache__", ".ipynb_checkpoints"} & set(file.parts)
        if file.is_file() and not hidden and file.suffix != ".part":
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(
                f"{file.relative_to(path.parent).as_posix()} {content}\n".encode()
            )
    return total.hexdigest()


def code(path):
    """Source text of a notebook's code cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def evidence(text, root):
    """Digests of the published cells and records of each paper that the code names."""
    papers = [path.stem for path in (root / "book" / "published").glob("*.yml")]
    folders = ("book/published/{}.yml", "book/records/{}")
    named = [
        folder.format(paper) for paper in papers for folder in folders if paper in text
    ]
    return {name: digest(root / name) for name in sorted(named)}


def chapter_key(name, profile, root=ROOT):
    """Everything that decides what the outputs of a chapter look like."""
    cells = code(root / "notebooks" / f"{name}.ipynb")
    text = "\n".join(cells)
    return {
        "code": hashlib.sha256(json.dumps(cells).encode()).hexdigest(),
        "library": digest(root / "saccade_lib"),
        "pins": [digest(root / pin) for pin in PINS],
        "profile": profile,
        "data": os.environ.get("SACCADE_DATA", ""),
        "evidence": evidence(text, root),
    }


def site_key(root=ROOT):
    """Everything that the pages are made from, apart from the executed chapters."""
    sources = {name: digest(root / name) for name in SITE_SOURCES}
    builders = sorted((root / "workflow").glob("*.py"))
    pins = digest(root / "requirements" / "build.txt")
    return sources | {path.name: digest(path) for path in builders} | {"pins": pins}


def key_path(name, root=ROOT):
    return root / "_build" / "keys" / f"{name}.json"


def write(name, key, root):
    """Write a key file, unless it says the same already."""
    path, text = key_path(name, root), json.dumps(key, indent=1, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def refresh(profile="quick", root=ROOT):
    """Bring all key files up to date."""
    for name in chapters(root):
        write(name, chapter_key(name, profile, root), root)
    write("site", site_key(root), root)
    if not (root / "_build" / "html" / "index.html").exists():
        (root / "_build" / "site.done").unlink(missing_ok=True)


def newer(result, name, root):
    """Whether a result stands and is at least as new as its key."""
    key = key_path(name, root)
    exists = result.exists() and key.exists()
    return exists and result.stat().st_mtime_ns >= key.stat().st_mtime_ns


def executed(root=ROOT):
    """Names of the chapters whose execution is up to date."""
    folder = root / "_build" / "executed"
    return [n for n in chapters(root) if newer(folder / f"{n}.ipynb", n, root)]


def site_built(root=ROOT):
    """Whether the site stands and is newer than its key and each executed chapter."""
    done = root / "_build" / "site.done"
    pages = [root / "_build" / "executed" / f"{n}.ipynb" for n in chapters(root)]
    return newer(done, "site", root) and all(
        page.exists() and page.stat().st_mtime_ns <= done.stat().st_mtime_ns
        for page in pages
    )
