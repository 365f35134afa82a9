"""Numbers, p-values and verdicts as text, the same in the tables, on the page and in the model card."""

from __future__ import annotations

import math

from heteroreg.evaluation.metrics import MISSING, Metric


def mean_and_sd(metric: Metric, mean: float, sd: float | None, *, unit: bool = False) -> str:
    """Return `80.12 ± 3.40`; the mean alone without a standard deviation.

    Args:
        metric: Gives scale and decimals.
        mean: The mean as it is stored.
        sd: The standard deviation; None or NaN for fewer than two patients.
        unit: Append the unit.
    """
    if sd is None or not math.isfinite(sd):
        return metric.format(mean, unit=unit)
    return f"{metric.format(mean)} ± {metric.format(sd, unit=unit)}"


def interval(metric: Metric, low: float, high: float, *, sign: bool = False) -> str:
    """Return `[−0.20, +0.30]`; `–` if an end is NaN.

    Args:
        metric: Gives scale and decimals.
        low: Lower end as it is stored.
        high: Upper end.
        sign: The ends are those of a difference and get their signs.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return MISSING
    return f"[{metric.format(low, sign=sign)}, {metric.format(high, sign=sign)}]"


def p_number(p: float) -> str:
    """Return `0.21`, `0.051`, `<0.001`, or `–` without a test."""
    if not math.isfinite(p):
        return MISSING
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_value(p: float) -> str:
    """Return `p = 0.21`, `p < 0.001`, or `no test`."""
    if not math.isfinite(p):
        return "no test"
    number = p_number(p)
    sign = "<" if number.startswith("<") else "="
    return f"p {sign} {number.removeprefix('<')}"


def verdict(p: float, better: bool | None) -> str:
    """Return what a test says about a difference, in two or three words.

    Args:
        p: The corrected p-value; NaN without a test.
        better: True for a significant gain, False for a significant loss, else None.
    """
    if not math.isfinite(p):
        return "too few patients to test"
    return {True: "better", False: "worse", None: "no difference shown"}[better]
