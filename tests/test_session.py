"""The second cell of every notebook: what it accepts, what it says, what it leaves."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import saccade_lib
from saccade_lib import session

SOURCE = Path(saccade_lib.__file__).parent


@pytest.fixture
def book(tmp_path, monkeypatch):
    """An empty book, which the working directory is in."""
    (tmp_path / "book" / "published").mkdir(parents=True)
    (tmp_path / "_config.yml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("SACCADE_BOOK", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path.resolve()


def test_package_and_session_import_no_torch():
    code = (
        "import sys, saccade_lib, saccade_lib.session, saccade_lib.records;"
        "sys.exit('torch' in sys.modules)"
    )
    where = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=where).returncode == 0


def test_start_gives_what_was_asked_and_keeps_it(book):
    found = session.start("standard", seed=7)
    assert (found.profile, found.seed, found.root) == ("standard", 7, book)
    assert found.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found.threads == torch.get_num_threads()
    with pytest.raises(AttributeError):
        found.seed = 8


def test_unknown_profile_names_the_known_ones(book):
    with pytest.raises(ValueError, match=r"'fast'.*quick, standard, paper"):
        session.start("fast")


@pytest.mark.parametrize("seed", [-1, 1.0, "0", True, None])
def test_seed_is_a_whole_number(book, seed):
    with pytest.raises(ValueError, match="integer >= 0"):
        session.start(seed=seed)


def test_no_global_generator_is_touched(book):
    states = (
        lambda: torch.get_rng_state().tolist(),
        lambda: str(np.random.get_state()),  # noqa: NPY002
        random.getstate,
    )
    before = [state() for state in states]
    session.start(seed=3)
    assert [state() for state in states] == before


def test_greeting_names_the_data_but_no_private_path(book, monkeypatch, capsys):
    data = book / "private"
    (data / "MNIST").mkdir(parents=True)
    (data / "birds.zip").touch()
    (data / "SHA256SUMS").touch()
    monkeypatch.setenv("SACCADE_DATA", str(data))
    monkeypatch.setenv("SACCADE_CACHE", str(book / "absent"))
    session.start(minutes={"quick": "1", "standard": "40"})
    said = capsys.readouterr().out
    assert "MNIST, birds in $SACCADE_DATA" in said
    assert "SHA256SUMS" not in said and str(book) not in said
    assert "minutes   1\n" in said and len(said.splitlines()) == 5


def test_greeting_says_that_a_data_folder_is_empty(book, monkeypatch, capsys):
    monkeypatch.setenv("SACCADE_DATA", str(book / "mistyped"))
    monkeypatch.setenv("SACCADE_CACHE", str(book / "absent"))
    session.start(minutes={"paper": "60"})
    said = capsys.readouterr().out
    assert "nothing in $SACCADE_DATA" in said and "not measured" in said


def test_root_is_found_from_a_folder_below_it(book):
    assert session.root() == book


def test_root_by_variable_wins_and_a_wrong_one_is_named(book, monkeypatch, tmp_path):
    other = tmp_path / "other"
    (other / "book" / "published").mkdir(parents=True)
    (other / "_config.yml").touch()
    monkeypatch.setenv("SACCADE_BOOK", str(other))
    assert session.root() == other.resolve()
    monkeypatch.setenv("SACCADE_BOOK", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere.*_config\.yml"):
        session.root()


def test_root_is_missed_with_advice(tmp_path, monkeypatch):
    monkeypatch.delenv("SACCADE_BOOK", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "__file__", str(tmp_path / "lib" / "session.py"))
    with pytest.raises(FileNotFoundError, match="set SACCADE_BOOK"):
        session.root()


def test_hardware_says_what_a_record_needs():
    found = session.hardware("cpu")
    assert found["device"] == "cpu" and found["name"] == found["processor"] != ""
    assert 1 <= found["cores"] <= os.cpu_count() and found["memory_gib"] > 0
    assert found["gpus"] == torch.cuda.device_count()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_hardware_names_the_gpu():
    found = session.hardware()
    assert found["name"] == torch.cuda.get_device_name()
    assert found["gpu_memory_gib"] > 0 and found["gpus"] >= 1


def test_versions_are_those_that_are_imported():
    found = session.versions()
    assert found["numpy"] == np.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["saccade_lib"] == saccade_lib.__version__


def git(folder, *words):
    who = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"]
    command = ["git", "-C", str(folder), *who, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_tells_clean_from_changed_code(book):
    assert session.commit() == "unknown"
    (book / "saccade_lib").mkdir()
    (book / "saccade_lib" / "a.py").write_text("a = 1\n")
    git(book, "init", "-q")
    assert session.commit() == "unknown"  # a repository without a commit
    git(book, "add", "-A")
    git(book, "commit", "-qm", "first")
    head = git(book, "rev-parse", "HEAD")
    (book / "prose.md").write_text("new")
    assert session.commit() == head
    (book / "saccade_lib" / "b.py").touch()
    assert session.commit() == f"{head}+dirty"


def test_commit_of_a_repository_around_the_book_is_not_the_books(book):
    around = book / "inner"
    (around / "book" / "published").mkdir(parents=True)
    (around / "_config.yml").touch()
    git(book, "init", "-q")
    git(book, "add", "-A")
    git(book, "commit", "-qm", "first")
    os.chdir(around)  # the fixture takes us back
    assert session.commit() == "unknown"


def test_fingerprint_follows_content_only(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_bytes(b"x = 1\ny = 2\n")
    second.write_bytes(b"z = 3\n")
    mark = session.fingerprint(first, second)
    assert mark == session.fingerprint(second, str(first)) and len(mark) == 64
    assert mark == session.fingerprint(tmp_path) == session.fingerprint(first, tmp_path)
    os.utime(first, (0, 0))
    first.write_bytes(b"x = 1\r\ny = 2\r\n")
    assert mark == session.fingerprint(tmp_path)
    first.write_bytes(b"x = 1\ny = 3\n")
    assert mark != session.fingerprint(tmp_path)
    assert session.fingerprint(first) != session.fingerprint(second)


def test_fingerprint_tells_swapped_files_apart(tmp_path):
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "b.py").write_text("2")
    mark = session.fingerprint(tmp_path)
    (tmp_path / "a.py").write_text("2")
    (tmp_path / "b.py").write_text("1")
    assert mark != session.fingerprint(tmp_path)


def test_fingerprint_of_modules_is_that_of_their_files():
    path = SOURCE / "session.py"
    assert session.fingerprint(session) == session.fingerprint(path)
    assert session.fingerprint(saccade_lib) == session.fingerprint(SOURCE)


def test_fingerprint_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        session.fingerprint(tmp_path)
    with pytest.raises(ValueError, match="no source file"):
        session.fingerprint(sys)
    with pytest.raises(FileNotFoundError, match="missing"):
        session.fingerprint(tmp_path / "missing.py")
