"""A calibration as files: JSON, and the estimators of the error and of the noise as safetensors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file, write_text
from heteroreg.system.text import read_json
from heteroreg.uncertainty.calibration import (
    ALL,
    CALIBRATION_LEVELS,
    Calibration,
    Combination,
    Held,
    PairStatistics,
    SizeCalibration,
)
from heteroreg.uncertainty.error import ErrorEstimator
from heteroreg.uncertainty.noise import NoiseEstimator
from heteroreg.uncertainty.slices import SlicePresence

FOLDER, FILE = "calibration", "calibration.json"
# The first calibrations had no digest in the name.
ESTIMATOR = re.compile(r"estimator(-[0-9a-f]{16})?\.safetensors")
NOISE_FILE = re.compile(r"noise-[0-9a-f]{16}\.safetensors")
CALIBRATION_SCHEMA = 2  # 1 noticed unusual pairs in another way


def save_calibration(
    folder: Path, calibration: Calibration, estimator: ErrorEstimator, noise: NoiseEstimator | None = None
) -> None:
    """Write a calibration into a folder, atomically: `calibration.json` names the files of its estimators.

    Raises:
        OSError: It could not be written.
    """
    names = {"estimator": _save(folder, "estimator", estimator)}
    if noise is not None:
        names["noise"] = _save(folder, "noise", noise)
    text = {"schema_version": CALIBRATION_SCHEMA, "inputs": estimator.inputs, **names}
    write_text(folder / FILE, json.dumps({**text, **asdict(calibration)}, indent=2) + "\n")
    for path in folder.iterdir():
        ours = ESTIMATOR.fullmatch(path.name) or NOISE_FILE.fullmatch(path.name)
        if ours and path.name not in names.values():
            path.unlink()


def _save(folder: Path, kind: str, model: nn.Module) -> str:
    content = serialise({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    with atomic_file(folder / name) as temporary:
        temporary.write_bytes(content)
    return name


def read_calibration(folder: str | Path) -> tuple[Calibration, ErrorEstimator, NoiseEstimator | None]:
    """Read a calibration, with its estimators of the error and, where it has one, of the noise.

    Raises:
        UserError: It is missing, damaged, or of a newer version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(f"{folder}: holds no calibration (no {FILE}); make one with `heteroreg calibrate`")
    found: dict[str, Any] = read_json(path)
    try:
        version = found.pop("schema_version")
        if isinstance(version, int) and version > CALIBRATION_SCHEMA:
            raise UserError(f"{path}: was written by a newer heteroreg; update heteroreg")
        if version == 1:
            raise UserError(f"{path}: was written by an earlier heteroreg; calibrate again")
        inputs = int(found.pop("inputs"))
        file, noise_file = found.pop("estimator", "estimator.safetensors"), found.pop("noise", None)
        calibration = _calibration(found)
        if not 3 <= inputs <= 64:
            raise ValueError(f"inputs is {inputs}")
        noise = None
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced; the caller's numbers stay
            estimator = ErrorEstimator(calibration.dims, inputs)
            if noise_file is not None:
                noise = NoiseEstimator()
        _load(estimator, path.parent, file, ESTIMATOR)
        if noise is not None:
            _load(noise, path.parent, noise_file, NOISE_FILE)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: the calibration is damaged ({reason}); calibrate again") from error
    return calibration, estimator, noise


def _load(model: nn.Module, folder: Path, file: str, names: re.Pattern[str]) -> None:
    if not names.fullmatch(file):  # a folder may come from anyone: the name never points out of it
        raise ValueError(f"an estimator is {file!r}")
    tensors = load_file(folder / file)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{file} holds NaN or infinite values")
    model.load_state_dict(tensors)
    model.eval()


def _calibration(found: Mapping[str, Any]) -> Calibration:
    sizes = {
        str(label): SizeCalibration(
            **{**entry, "scales": _by_level(entry["scales"]), "presence": _presence(entry["presence"])}
        )
        for label, entry in found["sizes"].items()
    }
    held = {
        str(label): Held(**{**entry, "coverage": _by_level(entry["coverage"])})
        for label, entry in found["held"].items()
    }
    combination = found["combination"]
    calibration = Calibration(
        **{
            **found,
            "spacing": tuple(found["spacing"]) if isinstance(found["spacing"], list) else found["spacing"],
            "maps": tuple(found["maps"]),
            "lengths": tuple(found["lengths"]),
            "combination": None if combination is None else Combination(**_tuples(combination)),
            "scales": {str(label): _by_level(scales) for label, scales in found["scales"].items()},
            "sizes": sizes,
            "held": held,
            "statistics": PairStatistics(**_tuples(found["statistics"])),
        }
    )
    if calibration.dims not in (2, 3) or not calibration.scales.get(ALL):
        raise ValueError("it gives no level")
    if calibration.combination is not None and not _fits(calibration.combination, len(calibration.maps)):
        raise ValueError("the maps do not fit their combination")
    statistics = calibration.statistics
    if not len(statistics.names) == len(statistics.mean) == len(statistics.sd) or not all(
        sd > 0 for sd in statistics.sd
    ):
        raise ValueError("the statistics of the pairs do not fit each other")
    return calibration


def _fits(combination: Combination, maps: int) -> bool:
    ranges = (combination.mean, combination.sd, combination.low, combination.high)
    products = combination.products
    return (
        all(len(values) == maps for values in ranges)
        and len(combination.coefficients) == maps + 1
        and (not products or (len(products) == maps and all(len(row) == maps for row in products)))
    )


def _presence(entry: Mapping[str, Any] | None) -> SlicePresence | None:
    return None if entry is None else SlicePresence(**_tuples(entry))


def _by_level(scales: Mapping[str, float]) -> dict[int, float]:
    found = {int(level): float(scale) for level, scale in scales.items()}
    if not set(found) <= set(CALIBRATION_LEVELS):
        raise ValueError(f"levels {sorted(found)}")
    return found


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in entry.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
