"""Give the book its address, in `_config.yml` and in each chapter's Colab badge.

    python workflow/adopt.py https://github.com/OWNER/NAME

The address stands in `_config.yml` alone; badges are derived from it. An empty address
takes them away again. Colab opens notebooks from GitHub only, so a book that lives
elsewhere has an address and no badges.
"""

import json
import os
import re
import sys

import keys
import yaml

ROOT = keys.ROOT
BADGE = "colab-badge"  # id of the cell that holds the badge
ADDRESS = re.compile(r"https://[\w.-]+(/[\w.~-]+){2,}")
URL_LINE = re.compile(
    r"^(repository:\n(?:[ \t]+.*\n|[ \t]*\n)*?[ \t]+url:)[^\n#]*", re.M
)


class AdoptError(Exception):
    """What is wrong with the address or with `_config.yml`."""


def repository(root=ROOT):
    """Address and branch as they stand in `_config.yml`."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    found = config.get("repository") or {}
    return found.get("url") or "", found.get("branch") or "main"


def badge(name, url, branch):
    """The line that opens a chapter in Colab; None if its address is not on GitHub."""
    host, _, path = url.removeprefix("https://").partition("/")
    if host != "github.com":
        return None
    target = f"https://colab.research.google.com/github/{path}/blob/{branch}"
    return f"[Open this chapter in Colab]({target}/notebooks/{name}.ipynb)"


def replace(path, text):
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)  # there only if something went wrong


def set_badge(path, line):
    """Put the badge below a chapter's title, renew it, or take it away."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell.get("id") != BADGE]
    if line:
        cell = {"cell_type": "markdown", "id": BADGE, "metadata": {}, "source": [line]}
        cells.insert(1, cell)
    notebook["cells"] = cells
    replace(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def adopt(url, root=ROOT):
    """Write the address into `_config.yml` and the badges into the chapters.

    Raises:
        AdoptError: no web address, or `_config.yml` has no place for it.
    """
    url = url.strip().removesuffix("/").removesuffix(".git")
    if url and not ADDRESS.fullmatch(url):
        raise AdoptError(f"{url!r} is no address like https://github.com/OWNER/NAME")
    config = root / "_config.yml"
    text = config.read_text(encoding="utf-8")
    new, count = URL_LINE.subn(rf'\g<1> "{url}"', text)
    if count != 1:
        raise AdoptError("_config.yml has no `url:` line below `repository:`: add one")
    replace(config, new)
    url, branch = repository(root)
    names = keys.chapters(root)
    for name in names:
        line = badge(name, url, branch)
        set_badge(root / "notebooks" / f"{name}.ipynb", line)
    return f"address {url or 'taken away'}; {len(names)} chapters"


def main():
    if len(sys.argv) != 2:
        sys.exit("adopt: say make adopt URL=https://github.com/OWNER/NAME")
    try:
        print(adopt(sys.argv[1]))
    except AdoptError as error:
        sys.exit(f"adopt: {error}")


if __name__ == "__main__":
    main()
