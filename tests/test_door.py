"""The data door: what it finds, in which order, and what it refuses."""

import contextlib
import gzip
import hashlib
import http.server
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from saccade_lib.data import door, fetch, files, manifest
from saccade_lib.data.door import CorruptData, DataError, MissingData

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("SACCADE_DATA") or "nowhere")
TINY = "photos-large10"  # the name under which a tiny pack is registered here


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An empty cache, no SACCADE_DATA, no wish to download, no proxy for localhost."""
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("SACCADE_DATA", "SACCADE_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A folder with an MNIST of 60 + 20 digits, whose sums are the expected ones."""
    draw = np.random.default_rng(0)
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, (name, *_) in list(manifest.MNIST.items()):
        shape = (60 if part.startswith("train") else 20,)
        shape += (28, 28) if part.endswith("images") else ()
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        plain = header + draw.integers(0, 10, shape, np.uint8).tobytes()
        packed = gzip.compress(plain, mtime=0)
        (raw / f"{name}.gz").write_bytes(packed)
        sums = [hashlib.sha256(content).hexdigest() for content in (packed, plain)]
        monkeypatch.setitem(manifest.MNIST, part, (name, *sums))
    return tmp_path / "data"


def register(monkeypatch, archive: Path, folder: Path, unchanged: bool = True) -> None:
    """Let `archive`, unpacked in `folder`, be the pack expected under the name TINY."""
    names = "\n".join(files.data_files(folder))
    expected = manifest.Expected(
        files.sha256(archive),
        files.fingerprint(folder),
        hashlib.sha256(names.encode()).hexdigest(),
        files=len(files.data_files(folder)),
        size=None,
        unchanged=unchanged,
    )
    monkeypatch.setitem(manifest.PACKS, TINY, expected)


@pytest.fixture
def tiny_pack(tmp_path, monkeypatch):
    """A folder with a zip of 200 small files, which is the expected pack TINY."""
    source = tmp_path / "source" / "photos"
    source.mkdir(parents=True)
    for i in range(200):
        (source / f"{i:03}.jpg").write_bytes(bytes([i]) * 3000)
    (source / "README.txt").write_text("about")
    (tmp_path / "data").mkdir(exist_ok=True)
    archive = tmp_path / "data" / f"{TINY}.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(source.iterdir()):
            zipped.write(path, f"photos/{path.name}")
    register(monkeypatch, archive, tmp_path / "source")
    return tmp_path / "data"


def left_behind(folder: Path) -> list[str]:
    """All files and folders below `folder`, but for empty lock files."""
    found = (p.relative_to(folder) for p in folder.rglob("*"))
    return sorted(str(path) for path in found if path.suffix != ".lock")


def contents(folder: Path) -> dict[str, str]:
    return {name: files.sha256(folder / name) for name in files.data_files(folder)}


# ---------------------------------------------------------------- the embedded digits


def test_stand_in_digits_have_the_shape_of_mnist_and_a_name_of_their_own(capsys):
    pack = door.mnist()
    assert (pack.source, pack.origin) == ("sklearn-digits", "embedded")
    assert pack.train_images.shape == (1347, 28, 28)
    assert pack.test_images.shape == (450, 28, 28)
    assert pack.train_images.dtype == pack.test_images.dtype == np.uint8
    assert pack.train_labels.dtype == pack.test_labels.dtype == np.int64
    images = np.concatenate([pack.train_images, pack.test_images])
    margin = images.copy()
    margin[:, 4:24, 4:24] = 0
    assert not margin.any()
    assert images.max() == 255 and 0.1 < images.mean() / 255 < 0.4  # bright ink, some
    assert capsys.readouterr().out.count("\n") == 1


def test_stand_in_digits_are_split_evenly_and_always_alike():
    first, again = door.mnist(quiet=True), door.mnist(quiet=True)
    assert np.array_equal(first.test_images, again.test_images)
    train, test = np.bincount(first.train_labels), np.bincount(first.test_labels)
    assert np.all(np.abs(test - (train + test) / 4) < 1)
    seen = {image.tobytes() for image in first.train_images}
    shared = sum(image.tobytes() in seen for image in first.test_images)
    assert shared <= 2  # no picture in both parts, but for chance twins at 8x8


def test_what_goes_into_a_record_names_the_stand_in_and_no_folder():
    entry = door.mnist(quiet=True).record()
    assert set(entry) == {"source", "sha256", "note"}
    assert entry["source"] == "sklearn-digits" and "stand-in" in entry["note"]
    assert all(len(total) == 64 for total in entry["sha256"].values())


# ---------------------------------------------------------------- MNIST on disk


def test_mnist_is_read_packed_and_unpacked_alike_and_nothing_is_written(
    tiny_mnist, monkeypatch, capsys
):
    monkeypatch.setenv("SACCADE_DATA", str(tiny_mnist))
    before = contents(tiny_mnist)
    packed = door.mnist()
    assert (packed.source, packed.origin) == ("mnist", "SACCADE_DATA")
    assert packed.train_images.shape == (60, 28, 28)
    assert packed.test_labels.shape == (20,) and packed.test_labels.dtype == np.int64
    packed.train_images[0] = 1  # an array of one's own, which torch takes silently
    assert contents(tiny_mnist) == before
    for path in (tiny_mnist / "MNIST" / "raw").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    unpacked = door.mnist(quiet=True)
    assert np.array_equal(packed.test_images, unpacked.test_images)
    assert np.array_equal(packed.train_labels, unpacked.train_labels)
    assert set(unpacked.sha256) == {name for name, *_ in manifest.MNIST.values()}
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "$SACCADE_DATA" in line
    assert str(tiny_mnist) not in line + packed.note


def test_saccade_data_comes_before_the_cache_and_the_cache_before_the_stand_in(
    tiny_mnist, places, monkeypatch
):
    (places / "cache").mkdir()
    (places / "cache" / "MNIST").symlink_to(tiny_mnist / "MNIST")
    assert door.mnist(quiet=True).origin == "cache"
    monkeypatch.setenv("SACCADE_DATA", str(tiny_mnist))
    assert door.mnist(quiet=True).origin == "SACCADE_DATA"
    assert door.mnist(quiet=True, folder=tiny_mnist).origin == "folder"


@pytest.mark.parametrize("part", ["train_images", "test_labels"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_file_is_named_with_both_sums_and_no_stand_in_hides_it(
    tiny_mnist, monkeypatch, part, damage
):
    monkeypatch.setenv("SACCADE_DATA", str(tiny_mnist))
    name, expected, _ = manifest.MNIST[part]
    path = tiny_mnist / "MNIST" / "raw" / f"{name}.gz"
    whole = path.read_bytes()
    flipped = whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:]
    damaged = {"truncated": whole[:-20], "flipped": flipped, "empty": b""}[damage]
    path.write_bytes(damaged)
    with pytest.raises(CorruptData) as caught:
        door.mnist()
    text = str(caught.value)
    got = hashlib.sha256(damaged).hexdigest()
    assert all(word in text for word in (str(path), expected, got, "make data"))
    assert "Truncated or damaged" in text


def test_a_whole_file_of_other_digits_is_not_called_truncated(tiny_mnist):
    raw = tiny_mnist / "MNIST" / "raw"
    train, test = (manifest.MNIST[part][0] for part in ("train_images", "test_images"))
    (raw / f"{train}.gz").write_bytes((raw / f"{test}.gz").read_bytes())
    with pytest.raises(CorruptData, match="wrong SHA-256") as caught:
        door.mnist(folder=tiny_mnist)
    assert "Truncated" not in str(caught.value)


def test_a_folder_that_is_not_there_or_empty_takes_one_line_then_the_next_source(
    tiny_mnist, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SACCADE_DATA", str(tmp_path / "typo"))
    assert door.mnist().origin == "embedded"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "typo" in lines[0] and "stand-in" in lines[1]
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SACCADE_DATA", str(tmp_path / "empty"))
    assert door.mnist().origin == "embedded"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "no MNIST in $SACCADE_DATA" in lines[0]
    name = manifest.MNIST["test_labels"][0]
    (tiny_mnist / "MNIST" / "raw" / f"{name}.gz").unlink()
    monkeypatch.setenv("SACCADE_DATA", str(tiny_mnist))
    assert door.mnist().origin == "embedded"
    assert name in capsys.readouterr().out.splitlines()[0]
    door.mnist(quiet=True)
    assert capsys.readouterr().out == ""


def test_a_folder_given_by_name_must_hold_what_was_asked_for(tmp_path):
    for call in (door.mnist, lambda folder: door.pack(TINY, folder=folder)):
        with pytest.raises(MissingData, match="typo"):
            call(folder=tmp_path / "typo")
        with pytest.raises(MissingData):
            call(folder=tmp_path)


# ---------------------------------------------------------------- downloads


@contextlib.contextmanager
def server(folder: Path, cut: int = 0, stall: threading.Event | None = None):
    """Serve `folder` on this machine; send `cut` bytes too few; stall half-way."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words, **options):
            super().__init__(*words, directory=str(folder), **options)

        def copyfile(self, source, outputfile):
            content = source.read()
            if stall:
                outputfile.write(content[: len(content) // 2])
                outputfile.flush()
                stall.wait(30)
            outputfile.write(content[: len(content) - cut])

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}/"
        finally:
            if stall:
                stall.set()
            served.shutdown()


def closed_port() -> str:
    """An address on this machine where nothing answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


def test_a_download_happens_only_when_asked_for_and_once(
    tiny_mnist, places, monkeypatch, capsys
):
    with server(tiny_mnist / "MNIST" / "raw") as address:
        monkeypatch.setattr(fetch, "MIRRORS", (closed_port(), address))
        assert door.mnist(quiet=True).origin == "embedded"
        monkeypatch.setenv("SACCADE_DOWNLOAD", "1")
        assert door.mnist(download=False, quiet=True).origin == "embedded"
        assert not (places / "cache").exists()
        assert door.mnist().origin == "download"
        assert "download" in capsys.readouterr().out
    again = door.mnist(quiet=True)  # the server is gone
    assert (again.source, again.origin) == ("mnist", "cache")
    names = {f"{name}.gz" for name, *_ in manifest.MNIST.values()}
    assert set(os.listdir(places / "cache" / "MNIST" / "raw")) == names


def test_without_a_network_one_error_says_so_and_nothing_stays(places, monkeypatch):
    monkeypatch.setattr(fetch, "MIRRORS", (closed_port(),))
    with pytest.raises(MissingData) as caught:
        door.mnist(download=True)
    text = str(caught.value)
    assert "could not download" in text and "SACCADE_DATA" in text
    assert left_behind(places / "cache") == []


@pytest.mark.parametrize("fault", ["truncated", "other bytes", "absent"])
def test_a_download_that_is_not_the_published_file_does_not_stay(
    tiny_mnist, places, monkeypatch, fault
):
    raw = tiny_mnist / "MNIST" / "raw"
    last = raw / f"{manifest.MNIST['test_labels'][0]}.gz"  # three good ones before it
    if fault == "other bytes":
        last.write_bytes(b"<html>log in first</html>")
    if fault == "absent":
        last.unlink()
    with server(raw, cut=7 if fault == "truncated" else 0) as address:
        monkeypatch.setattr(fetch, "MIRRORS", (address,))
        expected = CorruptData if fault == "other bytes" else MissingData
        with pytest.raises(expected, match="Nothing was kept"):
            door.mnist(download=True)
    assert left_behind(places / "cache") == []


def test_a_download_killed_half_way_is_cleared_by_the_next(
    tiny_mnist, places, monkeypatch
):
    code = (
        "import sys; from saccade_lib.data import fetch, manifest;"
        "fetch.MIRRORS = (sys.argv[1],); fetch.fetch_mnist(fetch.Path(sys.argv[2]))"
    )
    cache, raw = places / "cache", tiny_mnist / "MNIST" / "raw"
    with server(raw, stall=threading.Event()) as address:
        child = subprocess.Popen(
            [sys.executable, "-c", code, address, str(cache)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not left_behind(cache) or "raw" not in left_behind(cache)[-1]:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert ".MNIST.partial" in left_behind(cache)
    assert door.mnist(quiet=True).origin == "embedded"  # never taken for finished
    with server(raw) as address:
        monkeypatch.setattr(fetch, "MIRRORS", (address,))
        assert door.mnist(download=True, quiet=True).origin == "download"
    assert ".MNIST.partial" not in left_behind(cache)


# ---------------------------------------------------------------- packs of pictures


def test_a_zip_is_unpacked_once_into_the_cache_and_never_beside_itself(
    tiny_pack, places, monkeypatch, capsys
):
    monkeypatch.setenv("SACCADE_DATA", str(tiny_pack))
    tiny_pack.chmod(0o555)
    try:
        path = door.pack(TINY)
    finally:
        tiny_pack.chmod(0o755)
    assert path == places / "cache" / TINY
    assert os.listdir(tiny_pack) == [f"{TINY}.zip"]
    assert (path / "photos" / "007.jpg").read_bytes() == bytes([7]) * 3000
    assert left_behind(places / "cache")[0] == TINY
    times = [file.stat().st_mtime_ns for file in sorted(path.rglob("*"))]
    found = door.find(TINY, quiet=True)
    assert [file.stat().st_mtime_ns for file in sorted(path.rglob("*"))] == times
    assert found.record()["sha256"] == {TINY: manifest.PACKS[TINY].fingerprint}
    monkeypatch.delenv("SACCADE_DATA")
    assert door.find(TINY, quiet=True).origin == "cache"
    assert capsys.readouterr().out.count("\n") == 1


def test_an_unpacked_folder_is_taken_as_it_is(tiny_pack, places, monkeypatch):
    (places / "source").rename(tiny_pack / TINY)
    (tiny_pack / f"{TINY}.zip").unlink()
    monkeypatch.setenv("SACCADE_DATA", str(tiny_pack))
    assert door.pack(TINY, quiet=True) == tiny_pack / TINY
    assert not (places / "cache").exists()


def test_a_pack_that_is_nowhere_says_both_ways_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SACCADE_DATA", str(tmp_path))
    with pytest.raises(MissingData) as caught:
        door.pack("birds-cub41-crops227")
    text = str(caught.value)
    assert all(word in text for word in ("SACCADE_DATA", "make data", "packs birds"))
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(DataError, match="natural-caltech25"):
        door.pack("birds")


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_zip_with_a_wrong_sum_is_not_unpacked(tiny_pack, places, monkeypatch, damage):
    monkeypatch.setenv("SACCADE_DATA", str(tiny_pack))
    archive = tiny_pack / f"{TINY}.zip"
    whole = archive.read_bytes()
    flipped = whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]
    archive.write_bytes(whole[:-500] if damage == "truncated" else flipped)
    with pytest.raises(CorruptData) as caught:
        door.pack(TINY)
    text = str(caught.value)
    expected = manifest.PACKS[TINY].zip_sha256
    assert all(s in text for s in (str(archive), expected, files.sha256(archive)))
    assert not (places / "cache").exists()


@pytest.mark.parametrize("fault", ["lost", "changed", "added"])
@pytest.mark.parametrize("unchanged", [True, False])
def test_a_cache_that_someone_changed_is_noticed(
    tiny_pack, places, monkeypatch, fault, unchanged
):
    register(monkeypatch, tiny_pack / f"{TINY}.zip", places / "source", unchanged)
    path = door.pack(TINY, quiet=True, folder=tiny_pack)
    if fault == "lost":
        (path / "photos" / "007.jpg").unlink()
    else:
        name = "007.jpg" if fault == "changed" else "new.jpg"
        (path / "photos" / name).write_bytes(b"other")
    with pytest.raises(CorruptData, match="not the recorded pack") as caught:
        door.pack(TINY, quiet=True)
    assert str(path) in str(caught.value) and "Remove" in str(caught.value)


def zip_with(path: Path, name: str, content: bytes = b"x", kind: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("good.txt", "good")
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        zipped.writestr(info, content)
    return path


@pytest.mark.parametrize(
    "name",
    ["../out", "a/../../out", "/out", "//out", "C:\\out", "..\\out", "a\\..\\..\\out"],
)
def test_names_that_leave_the_folder_are_refused_before_anything_is_written(
    tmp_path, name
):
    archive = zip_with(tmp_path / "bad.zip", name)
    with pytest.raises(CorruptData, match="refuses"):
        files.unzip(archive, tmp_path / "to", 1000)
    assert sorted(os.listdir(tmp_path)) == ["bad.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = zip_with(tmp_path / "bad.zip", "link", b"/etc/hostname", kind)
    with pytest.raises(CorruptData, match="link"):
        files.unzip(archive, tmp_path / "to", 1000)
    assert not (tmp_path / "to").exists()


def test_a_zip_bomb_is_refused_by_its_declared_size_and_caught_when_it_lies(tmp_path):
    bomb = zip_with(tmp_path / "bomb.zip", "zeros", bytes(5_000_000))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(CorruptData, match="5,000,004 bytes"):
        files.unzip(bomb, tmp_path / "to", 1_000_000)
    assert not (tmp_path / "to").exists()
    content = bomb.read_bytes()
    lie = content.replace((5_000_000).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    assert lie != content
    bomb.write_bytes(lie)
    with pytest.raises(CorruptData):
        files.unzip(bomb, tmp_path / "to", 1_000_000)
    size = sum(p.stat().st_size for p in (tmp_path / "to").rglob("*") if p.is_file())
    assert size < 1_000_000


def test_a_failed_unpacking_leaves_nothing(places):
    final = places / "cache" / "pack"
    bad = zip_with(places / "bad.zip", "../out")
    with pytest.raises(CorruptData), files.new_folder(final) as partial:
        (partial / "first").write_text("half")
        files.unzip(bad, partial, 1000)
    assert left_behind(places / "cache") == []


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tiny_pack, places):
    """A limit on file size makes the system refuse a write in the middle of a file."""
    code = f"""
import resource, sys
from saccade_lib.data import files
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    with files.new_folder(Path(sys.argv[2])) as partial:
        files.unzip(Path(sys.argv[1]) / "{TINY}.zip", partial, 10**9)
except files.DataError as error:
    print(error)
"""
    final = places / "cache" / TINY
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_pack), str(final)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "could not be made" in done.stdout and "too large" in done.stdout
    assert left_behind(places / "cache") == []


def test_a_cache_that_cannot_be_written_says_what_to_set(
    tiny_pack, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="Set SACCADE_CACHE"):
        door.pack(TINY, folder=tiny_pack)


def test_processes_that_race_for_a_pack_all_get_it_whole(tiny_pack, places):
    code = """
import sys, time
from pathlib import Path
from saccade_lib.data import files
while time.time() < float(sys.argv[3]):
    pass
with files.new_folder(Path(sys.argv[2])) as partial:
    if partial:
        files.unzip(Path(sys.argv[1]), partial, 10**9)
    print("made" if partial else "found")
print(files.fingerprint(Path(sys.argv[2])))
"""
    final = places / "cache" / TINY
    words = [str(tiny_pack / f"{TINY}.zip"), str(final), str(time.time() + 1)]
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in racing]
    expected = manifest.PACKS[TINY].fingerprint
    assert sorted(said) == [["found", expected]] * 3 + [["made", expected]]
    assert left_behind(final.parent)[0] == TINY


# ---------------------------------------------------------------- the real packs


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason="SACCADE_DATA is not set: no real MNIST")
def test_the_real_mnist_is_whole():
    if not (REAL / "MNIST").is_dir():
        pytest.skip("no MNIST in SACCADE_DATA")
    pack = door.mnist(folder=REAL)
    assert pack.train_images.shape == (60000, 28, 28)
    assert pack.test_images.shape == (10000, 28, 28)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(pack.test_labels).tolist() == counts
    assert pack.train_images.mean() == pytest.approx(0.1307 * 255, abs=0.02)


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason="SACCADE_DATA is not set: no real packs")
@pytest.mark.parametrize("name", manifest.PACKS)
def test_the_real_packs_unpack_to_the_files_they_should(name):
    if not (REAL / f"{name}.zip").is_file():
        pytest.skip(f"no {name}.zip in SACCADE_DATA")
    found = door.find(name, folder=REAL)
    assert len(files.data_files(found.path)) == manifest.PACKS[name].files
