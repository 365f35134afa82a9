"""The figure of a calibration: what held, how wide, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from heteroreg.registration.plot.style import PALETTE, RULE_COLOUR, styled
from heteroreg.registration.scaling import Evidence
from heteroreg.uncertainty.calibration import Calibration
from heteroreg.uncertainty.conformal import patient_weights
from heteroreg.uncertainty.sparsification import sparsification_curve


def plot_calibration(calibration: Calibration, evidence: Evidence, path: Path) -> None:
    """Draw a calibration into a PNG: reliability on patients left out, half-widths, and sparsification.

    Args:
        calibration: The calibration.
        evidence: The points that it was computed from.
        path: The file.
    """
    with styled():
        figure = Figure(figsize=(11, 3.6), layout="constrained", facecolor="white")
        reliability, widths, order = figure.subplots(1, 3)
        held = calibration.held
        reliability.plot([0, 100], [0, 100], color=RULE_COLOUR)
        for colour, (label, one) in zip(PALETTE * 4, held.items(), strict=False):
            name = "all" if label == "all" else calibration.label_names.get(label, f"label {label}")
            shares = [100 * share for share in one.coverage.values()]
            reliability.plot(list(one.coverage), shares, "o-", color=colour, markersize=4, label=name)
        reliability.set(title="Reliability, patients left out", xlabel="level (%)", ylabel="errors inside (%)")
        reliability.legend(frameon=False)
        level = calibration.level
        half = calibration.scale(level) * evidence.sd
        weights = patient_weights(evidence.patient)
        widths.hist(half, bins=40, range=(0, float(np.percentile(half, 99.5))), weights=weights, color=PALETTE[0])
        widths.set(title="Width", xlabel=f"half-width of the {level} % interval (mm)", ylabel="patients", yticks=[])
        for colour, name, key in (
            (PALETTE[0], "by the map", evidence.sd),
            (PALETTE[1], "by the true error", np.abs(evidence.error)),
        ):
            curve = sparsification_curve(evidence.error**2, key)
            if curve is not None:
                order.plot(100 * curve.fraction, np.sqrt(curve.mse), color=colour, label=name)
        order.axhline(float(np.sqrt(np.mean(evidence.error**2))), color=RULE_COLOUR, label="at random")
        order.set(
            title="Sparsification", xlabel="most uncertain points removed (%)", ylabel="RMS error (mm)", ylim=0
        )
        order.legend(frameon=False)
        figure.savefig(path, dpi=110, format="png")
