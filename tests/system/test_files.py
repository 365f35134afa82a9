import errno
import os

import pytest

from heteroreg.system.errors import UserError
from heteroreg.system.files import append, atomic_file, remove_leftovers, write_text


class CrashError(Exception):
    pass


def test_a_file_appears_once_it_is_whole(tmp_path):
    path = tmp_path / "new folder" / "a.nii.gz"
    with atomic_file(path) as temporary:
        assert temporary.parent == path.parent  # the move stays on one disk
        assert temporary.name.endswith("a.nii.gz")
        temporary.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_crash_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write():
        with atomic_file(path) as temporary:
            temporary.write_text("half of the n")
            raise CrashError

    with pytest.raises(CrashError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf_8(tmp_path):
    write_text(tmp_path / "a.txt", "σ̂ ≤ γ\n")
    assert (tmp_path / "a.txt").read_bytes() == "σ̂ ≤ γ\n".encode()


def test_a_message_is_one_line():
    assert str(UserError("a\n  long\tstory")) == "a long story"


def test_a_write_that_fails_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_text(tmp_path / "a.txt", "new")
    assert error.value.filename == str(tmp_path / "a.txt")
    assert "->" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_comes_in_pieces_is_added_whole(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:3]))
    append(tmp_path / "a.txt", b"one row\n")
    append(tmp_path / "a.txt", b"another row\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one row\nanother row\n"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_cannot_be_added_whole_is_not_added(tmp_path, monkeypatch, fault):
    path, write = tmp_path / "a.txt", os.write
    append(path, b"one row\n")

    def half(handle, data):
        write(handle, data[:3])
        raise fault

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(type(fault)):
        append(path, b"another row\n")
    assert path.read_bytes() == b"one row\n"


def test_leftovers_of_a_kill_go_and_nothing_else(tmp_path):
    best = tmp_path / "checkpoints" / "best"
    best.mkdir(parents=True)
    left = [tmp_path / ".4242-0a1b2c3d-metrics.csv", best / ".17-ffffffff-tensors-0000007.safetensors"]
    mine = tmp_path / "checkpoints" / "4242-notes.txt"
    kept = [tmp_path / "metrics.csv", tmp_path / ".gitignore", tmp_path / ".12-mine", mine]
    for path in [*left, *kept]:
        path.write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
