"""Peak memory of a training step, each variant in a process of its own."""

from __future__ import annotations

from typing import Any

from benchmarks.case import PRECISIONS, Case, Plan
from benchmarks.measure import apart
from benchmarks.step import PUBLISHED

STEPS = 3  # the optimiser's moments are there from the second one on


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Return one row per case, variant and precision."""
    return [row for case in plan.cases for row in _measure(plan, case)]


def _measure(plan: Plan, case: Case) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"shape": case.shape, "batch": case.batch, "repeats": STEPS}
    published = apart("published_step", plan.threads, variant=PUBLISHED, **common)
    rows = [{"variant": PUBLISHED, "precision": PRECISIONS[0], **published}]
    for method in plan.methods:
        for precision in PRECISIONS:
            options = {"method": method, "precision": precision, "settings": dict(plan.settings)}
            figures = apart("step", plan.threads, **options, **common)
            rows.append({"variant": method, "precision": precision, **figures})
    for row in rows:
        row["case"] = case.name
        if "added_bytes" in row and "added_bytes" in published:
            row["share_of_published"] = row["added_bytes"] / published["added_bytes"]
    return rows
