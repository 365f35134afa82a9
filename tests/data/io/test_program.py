"""A program that answers questions: replaced when it dies, blamed only for what it did itself."""

import json
import multiprocessing

import pytest

from heteroreg.data.io.program import Program, ProgramError

ANSWERS = """
import json, sys
for number, line in enumerate(sys.stdin):
    question = json.loads(line)
    if question == {"die": number}:
        sys.exit(1)
    print(json.dumps({"number": number, "length": 3}), flush=True)
    print("abc", end="", flush=True)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(ANSWERS)
    found = Program(tmp_path / "program.py")
    yield found
    found.stop()


def test_one_process_answers_all_questions(program):
    assert [program.ask({}, 60)[0]["number"] for _ in range(3)] == [0, 1, 2]
    assert program.ask({}, 60)[1] == b"abc"


def test_a_question_that_a_used_process_dies_of_is_asked_again_of_a_new_one(program):
    program.ask({}, 60)
    assert program.ask({"die": 1}, 60)[0]["number"] == 0


def test_a_question_that_a_new_process_dies_of_is_to_blame(program):
    with pytest.raises(ProgramError, match="crashed") as error:
        program.ask({"die": 0}, 60)
    assert not error.value.late
    program.ask({}, 60)
    program.stop()
    assert program.ask({}, 60)[0]["number"] == 0


def test_a_program_that_takes_too_long_is_ended(tmp_path):
    (tmp_path / "program.py").write_text("import time; time.sleep(60)")
    program = Program(tmp_path / "program.py")
    with pytest.raises(ProgramError, match="took too long") as error:
        program.ask({}, 0.5)
    assert error.value.late
    assert program._process is None


def _ask(program, pipe):
    pipe.send(json.dumps(program.ask({}, 60)[0]))
    program.stop()


def test_a_fork_has_a_process_of_its_own(program):
    assert program.ask({}, 60)[0]["number"] == 0
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_ask, args=(program, there))
    child.start()
    assert here.poll(60)
    assert json.loads(here.recv())["number"] == 0
    child.join()
    assert program.ask({}, 60)[0]["number"] == 1
