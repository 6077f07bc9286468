"""A file's hash is never that of what it held before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis_lib.common import hashes
from analysis_lib.common.files import file_hash
from analysis_lib.common.hashes import contents, known_hashes

OLD = 1_000_000_000 * 10**9  # ns: long ago


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept" / "hashes.json"


@pytest.fixture
def counted(monkeypatch):
    """The files that were read."""
    read: list[str] = []
    monkeypatch.setattr(hashes, "file_hash", lambda path: read.append(path.name) or file_hash(path))
    return read


def settled(monkeypatch) -> None:
    """As if some seconds had passed since the files were written."""
    now = hashes.time.time
    monkeypatch.setattr(hashes.time, "time", lambda: now() + 10)


def asked(kept: Path, *paths: Path) -> list[str]:
    with known_hashes(kept) as hash_by:
        return [hash_by(path) for path in paths]


def test_a_file_is_read_once(tmp_path, kept, counted, monkeypatch):
    settled(monkeypatch)
    (one := tmp_path / "Jane Doe.dcm").write_bytes(b"1")
    (two := tmp_path / "two").write_bytes(b"2")
    expected = [file_hash(one), file_hash(two)]
    assert [asked(kept, one, two) for _ in range(3)] == [expected] * 3
    assert counted == [one.name, two.name]
    assert "Jane" not in kept.read_text()
    assert contents([one, two]) == list(zip([one.name, two.name], expected, strict=True))


@pytest.mark.parametrize("how", ["longer", "same size", "time put back", "replaced", "renamed over"])
def test_a_file_that_changed_is_read_again(tmp_path, kept, counted, monkeypatch, how):
    settled(monkeypatch)
    (path := tmp_path / "ct").write_bytes(b"before")
    os.utime(path, ns=(OLD, OLD))
    asked(kept, path)
    other = tmp_path / "other"
    other.write_bytes(b"behind")
    os.utime(other, ns=(OLD, OLD))
    if how == "longer":
        path.write_bytes(b"longer than before")
    elif how == "same size":
        path.write_bytes(b"behind")
    elif how == "time put back":
        path.write_bytes(b"behind")
        os.utime(path, ns=(OLD, OLD))
    elif how == "replaced":
        path.unlink()
        path.write_bytes(b"behind")
        os.utime(path, ns=(OLD, OLD))
    else:
        other.replace(path)
    assert asked(kept, path) == [file_hash(path)] and counted == ["ct", "ct"]


def test_what_was_written_just_now_is_not_remembered(tmp_path, kept, counted):
    (path := tmp_path / "ct").write_bytes(b"x")
    assert asked(kept, path) == asked(kept, path) == [file_hash(path)]
    assert counted == ["ct", "ct"] and not kept.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}'])
def test_a_damaged_list_is_begun_anew(tmp_path, kept, content, monkeypatch):
    settled(monkeypatch)
    kept.parent.mkdir()
    kept.write_text(content)
    (path := tmp_path / "ct").write_bytes(b"x")
    assert asked(kept, path) == [file_hash(path)]


def test_what_was_hashed_before_an_error_is_kept(tmp_path, kept, counted, monkeypatch):
    settled(monkeypatch)
    (path := tmp_path / "ct").write_bytes(b"x")
    with pytest.raises(FileNotFoundError), known_hashes(kept) as hash_by:
        hash_by(path)
        hash_by(tmp_path / "nowhere")
    assert asked(kept, path) == [file_hash(path)] and counted == ["ct"]
