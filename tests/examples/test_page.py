"""The step on the page docs/outside.md trains both networks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "outside.md"
CHECK = """
torch.manual_seed(0)
moving, fixed = torch.nn.functional.interpolate(torch.rand(4, 1, 4, 4), size=(32, 32), mode="bilinear").chunk(2)
before = [[p.detach().clone() for p in module.parameters()] for module in (network, objective)]
losses = [step(moving, fixed) for _ in range(40)]
for module, old in zip((network, objective), before, strict=True):
    assert all(not torch.equal(p, q) for p, q in zip(module.parameters(), old, strict=True))
first, last = (float((objective.forward(warp(moving, u), fixed, weighted=False)).displacement)
               for u in (torch.zeros(2, 2, 32, 32), network(moving, fixed).forward))
assert last < 0.9 * first, (first, last)
"""


def test_the_step_trains_both_networks() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", block + CHECK], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
