import os
import stat

import pytest

from heteroreg.errors import UserError
from heteroreg.files import atomic_file, atomic_folder, require_free, write_text


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


def test_a_folder_appears_once_it_is_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with atomic_folder(out, "summary.json") as temporary:
        (temporary / "summary.json").write_text("{}")
        (temporary / "data").write_text("1")
        assert not out.exists()
    assert sorted(p.name for p in out.iterdir()) == ["data", "summary.json"]
    assert list(out.parent.iterdir()) == [out]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o777 & ~mask  # as any folder, not private


def test_an_earlier_output_of_the_kind_is_replaced_whole(tmp_path):
    out = tmp_path / "out"
    for content in ("old", "new"):
        with atomic_folder(out, "summary.json") as temporary:
            (temporary / "summary.json").write_text(content)
            (temporary / content).write_text("")
    assert sorted(p.name for p in out.iterdir()) == ["new", "summary.json"]
    assert list(tmp_path.iterdir()) == [out]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out", "summary.json") as temporary:
        (temporary / "summary.json").write_text("")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["summary.json"]


def test_a_crash_leaves_the_old_folder(tmp_path):
    out = tmp_path / "out"
    with atomic_folder(out, "summary.json") as temporary:
        (temporary / "summary.json").write_text("old")

    def write():
        with atomic_folder(out, "summary.json") as temporary:
            (temporary / "summary.json").write_text("new")
            raise CrashError

    with pytest.raises(CrashError):
        write()
    assert (out / "summary.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_not_ours_stays(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    problem = r"exists and holds something else \(no summary\.json\)"
    with pytest.raises(UserError, match=problem), atomic_folder(tmp_path, "summary.json"):
        pytest.fail("nothing may be written")
    assert (tmp_path / "thesis.tex").read_text() == "years"
    with pytest.raises(UserError, match="is a file; name a folder"):
        require_free(tmp_path / "thesis.tex", "summary.json")
    require_free(tmp_path / "nothing yet", "summary.json")


def test_what_a_killed_write_leaves_is_nothing(tmp_path):
    (tmp_path / ".123-config.yaml").write_text("half")
    require_free(tmp_path, "config.yaml")
    (tmp_path / ".hidden").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        require_free(tmp_path, "config.yaml")


def test_a_message_is_one_line():
    assert str(UserError("a\n  long\tstory")) == "a long story"
