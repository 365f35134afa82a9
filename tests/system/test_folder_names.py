import unicodedata

import pytest

from heteroreg.system.names import LONGEST_NAME, folder_names


@pytest.mark.parametrize("name", ["phantom001", "A-b_c.9", "Müller", "患者1", "_x", "p." + "x" * 70])
def test_a_plain_id_is_its_own_name(name):
    assert folder_names([name]) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "a/b", "../../etc/passwd", "..", ".", ".hidden", "end.", "a b", "a\\b", "a:b", 'say "x"', "<b>", "-rf",
        "tab\t", "new\nline", "nul", "COM1.txt", "x" * 300, "ü" * 100, "💔", "a\u202eb", "Q-0123456789abcdef",
    ],
)  # fmt: skip
def test_any_other_id_gets_a_name_that_every_file_system_takes(name, tmp_path):
    (safe,) = folder_names([name])
    assert safe != name
    assert len(safe.encode()) <= LONGEST_NAME
    assert safe[0] not in ".-"
    assert all(c.isalnum() or c in "-_" for c in safe)
    (tmp_path / safe).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [safe]
    assert folder_names([name, "other"])[0] == safe  # whatever else is in the cohort


def test_no_two_ids_get_one_name():
    ids = ["a b", "a_b", "a/b", "A", "a", "é", unicodedata.normalize("NFD", "é"), "STRASSE", "straße", "x" * 90]
    ids += ["x" * 91, *folder_names(["a b"])]
    names = folder_names(ids)
    assert len({name.casefold() for name in names}) == len(ids)


def test_a_name_that_is_taken():
    assert folder_names(["table.csv", "b"], taken=["Table.csv"])[0].startswith("table_csv-")
