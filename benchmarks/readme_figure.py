"""The figure of the README: one registration of a phantom pair by the bundled model.

    python -m benchmarks.readme_figure

It writes docs/pictures/registration.png. The pair has artefacts and a known truth, so the figure also shows the
true noise and the error of the displacement.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from heteroreg import evaluate
from heteroreg.data.phantom import write_phantom
from heteroreg.registration.plot import plot_registrations

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "registration.png"
SEED = 7
SIZE = 96
DOTS_PER_INCH = 120


def main(arguments: Sequence[str] | None = None) -> None:
    """Register one pair and write the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme_figure", description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE, help="the picture to write")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        cohort = write_phantom(Path(folder) / "cohort", pairs=1, size=SIZE, artefacts=True, seed=SEED)
        assert cohort is not None  # it is None for the layouts of public data sets alone
        (case,) = evaluate("phantom", cohort, gallery=1, stacks=0).cases
    figure = plot_registrations({"": replace(case, weight=None)})  # five columns are legible at 800 pixels
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH)
    colours = Image.open(picture).convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
    colours.save(chosen.out, optimize=True)
    print(f"{chosen.out}: {chosen.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
