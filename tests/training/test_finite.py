import math

import pytest
import torch

from heteroreg.system.processes import start
from heteroreg.training.finite import FiniteCheck

CPU = torch.device("cpu")
GOOD = torch.tensor(1.0)


def test_numbers_are_well():
    finite = FiniteCheck(CPU)
    for step in range(1, 4):
        finite.note(step, [GOOD, torch.zeros(3, 2), torch.tensor(1e38)])
    assert finite.first_bad_step(start()) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_the_first_bad_step_is_remembered(bad, place):
    finite = FiniteCheck(CPU)
    finite.note(4, [GOOD, GOOD])
    figures = [GOOD, torch.tensor([1.0, bad])]
    finite.note(5, figures[::-1] if place == 0 else figures)
    finite.note(6, [torch.tensor(math.nan)])  # a later one does not hide it
    finite.note(7, [GOOD])  # nor does a good one
    assert finite.first_bad_step(start()) == 5


def test_nothing_is_asked_of_the_figures_but_to_be_looked_at():
    finite = FiniteCheck(CPU)
    figure = torch.ones(2, requires_grad=True) * 3
    finite.note(1, [figure])
    assert finite.first_bad_step(start()) is None
    figure.sum().backward()  # the graph is as it was


def test_low_precision_overflows_to_infinity():
    finite = FiniteCheck(CPU)
    finite.note(2, [torch.tensor(70000.0).to(torch.float16)])
    assert finite.first_bad_step(start()) == 2
