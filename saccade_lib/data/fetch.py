"""Downloads: whole and checked, or one clear error and nothing left behind."""

from dataclasses import dataclass
from pathlib import Path

from saccade_lib.data.files import CorruptData, MissingData, new_folder
from saccade_lib.data.manifest import MNIST

# The mirrors that torchvision's own MNIST class uses.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)


@dataclass(frozen=True)
class Original:
    """A public file that a pack is made from.

    Attributes:
        file: name to store it under.
        urls: where it lies, tried in order.
        sha256: None for archives that the host packs anew on each request: there the
            finished pack's fingerprint decides.
    """

    file: str
    urls: tuple[str, ...]
    sha256: str | None = None


def download(original: Original, folder: Path) -> Path:
    """Fetch one file into `folder`.

    Raises MissingData where no address answers with the whole file, CorruptData where
    the last one that did has another SHA-256. Neither leaves a file.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    known = original.sha256 and f"sha256:{original.sha256}"
    errors = []
    for url in original.urls:
        downloader = pooch.HTTPDownloader(progressbar=True)
        try:
            path = pooch.retrieve(url, known, original.file, folder, None, downloader)
            return Path(path)
        except ValueError as error:  # pooch: another check sum
            errors.append(CorruptData(f"{url}: not the file expected. {error}"))
        except OSError as error:  # requests' errors are OSErrors
            reason = str(error).rpartition("(Caused by ")[2]
            errors.append(MissingData(f"{url}: {type(error).__name__}: {reason}"))
    tried = "\n  ".join(str(error) for error in errors)
    raise type(errors[-1])(
        f"could not download {original.file}. Nothing was kept. Tried:\n  {tried}\n"
        "  Check the network, or set SACCADE_DATA to a folder that has the data."
    )


def fetch_mnist(root: Path) -> Path:
    """Download MNIST's four files, as published, into `root/MNIST/raw`."""
    final = root / "MNIST"
    with new_folder(final) as partial:
        if partial:
            for name, packed, _ in MNIST.values():
                urls = tuple(f"{mirror}{name}.gz" for mirror in MIRRORS)
                download(Original(f"{name}.gz", urls, packed), partial / "raw")
    return final / "raw"
