import pickle

import pytest

from heteroreg.system.errors import LONGEST_MESSAGE, UserError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a.nii:\n  is\tno   image", "a.nii: is no image"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\u2028b\x85c", "a b c"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("Größe 心 ✓", "Größe 心 ✓"),
        ("\udcff.nii", r"\udcff.nii"),  # a name that is no UTF-8, as Python gives it
    ],
)
def test_a_message_is_one_line_that_can_be_printed(message, line):
    assert str(UserError(message)) == line
    assert line.isprintable()


@pytest.mark.parametrize("length", [LONGEST_MESSAGE + 100, 10_000_000])
def test_of_a_very_long_message_both_ends_are_kept(length):
    message = str(UserError("a.csv: has '" + "x" * length + "'; correct it"))
    assert len(message) < LONGEST_MESSAGE + 10
    assert message.startswith("a.csv: has 'xxx")
    assert message.endswith("xxx'; correct it")


def test_an_error_carries_the_argument_between_processes():
    error = pickle.loads(pickle.dumps(UserError("samples: must be 2 or more", argument="samples", elsewhere=True)))
    assert (str(error), error.argument, error.elsewhere) == ("samples: must be 2 or more", "samples", True)
