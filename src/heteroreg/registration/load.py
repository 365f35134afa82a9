"""From the name of a registrar to the registrar."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from heteroreg.registration.classical import Elastix, Undeformed
from heteroreg.registration.elastix import require_installed
from heteroreg.registration.model import load
from heteroreg.registration.result import Registrar, Registration
from heteroreg.system.errors import UserError
from heteroreg.system.run_files import CONFIG


def registrar_of(
    model: str | Path,
    device: str | None = None,
    threads: int | None = None,
    samples: int | None = None,
    refine: int = 0,
) -> Registrar:
    """The registrar of a name: `elastix`, `undeformed`, `phantom`, or else the folder of a run.

    `phantom` is the model that comes with the package: 2D, trained on phantoms of wide variety alone. A run in a
    folder of one of these names is meant by another path to it, such as `./elastix`.

    Args:
        model: The name or the folder.
        device: Where a run computes; a GPU if there is one by default.
        threads: Of elastix, for one pair; 1 by default.
        samples: Of the displacement, of a run whose method has its uncertainty.
        refine: Steps by which a run's model refines each pair.

    Raises:
        UserError: There is neither such a name nor such a run; elastix is not installed; `threads`, `samples` or
            `refine` are not for it.
    """
    if threads is not None and model != "elastix":
        raise UserError(f"--threads: is for elastix; {model} takes those that OMP_NUM_THREADS allows")
    if model in CLASSICAL:
        if samples is not None:
            raise UserError(f"--samples: {model} has no uncertainty of the displacement; name a run that has")
        if refine:
            raise UserError(f"--refine: {model} has no network to begin from; name a run")
        return CLASSICAL[str(model)](threads or 1)
    model = PHANTOM if str(model) == SHIPPED else model
    if not (Path(model) / CONFIG).is_file():
        near = get_close_matches(str(model).lower(), (*CLASSICAL, SHIPPED), n=1)
        hint = f"did you mean {near[0]}?" if near else f"name one that `heteroreg train` made, or {NAMES}"
        raise UserError(f"{model}: is not the folder of a run (no {CONFIG}); {hint}")
    return load(model, device=device, samples=samples, refine=refine)


def remarks(model: str | Path, registration: Registration) -> list[str]:
    """What whoever looks at a registration should know of what made it, a line each."""
    lines = []
    if str(model) == SHIPPED:
        lines.append(
            "registered by the model that comes with heteroreg, trained on phantoms alone; one trained on your own "
            "images is likely to be better: heteroreg train"
        )
    if registration.slicewise and not registration.grid.thick_slices:
        lines.append(
            "each slice was registered in its own plane; what moves through it needs a model of volumes: "
            "heteroreg train --dims 3"
        )
    return lines


def _elastix(threads: int) -> Registrar:
    require_installed()  # before the work, not at its first pair
    return Elastix(threads)


CLASSICAL: dict[str, Callable[[int], Registrar]] = {"elastix": _elastix, "undeformed": lambda _: Undeformed()}
SHIPPED = "phantom"
PHANTOM = Path(__file__).with_name("models") / SHIPPED
NAMES = f"{', '.join(CLASSICAL)} or {SHIPPED}"
