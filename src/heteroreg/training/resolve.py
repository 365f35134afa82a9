"""Settings found from the cohort, if the user gives none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_grid
from heteroreg.methods import LEARNING_RATES, NETWORKS, NO_KERNEL, Network
from heteroreg.system.paths import expanded
from heteroreg.system.progress import progress
from heteroreg.system.run_files import BUNDLED
from heteroreg.training.config import Config

# Longest side of a sample, by dimension: what one workstation trains in a night.
LONGEST_SIDE = {2: 256, 3: 128}
MULTIPLE = 16
# Pairs per update, by dimension: a volume has so many voxels that updates with 8 of them take hours on a CPU.
BATCH_SIZES = {2: 8, 3: 2}


def resolve(config: Config, cohort: Cohort, network: Network | None = None) -> Config:
    """Fill in dimension, batch size, learning rate, working spacing, sample size and the intervals.

    The working spacing is the median of the fixed images of the cohort. If half of the images would not fit
    into the longest sample by far (1.5 times), it is coarsened until they do. The size holds the largest
    image, rounded up to a multiple of 16, up to the longest sample. Headers are read, not voxels.
    """
    fixed = []
    with progress("reading the headers", len(cohort)) as report:
        for done, pair in enumerate(cohort, start=1):
            fixed.append(read_grid(pair.fixed))
            report(done)
    dims = config.dims or (2 if fixed[0].dims == 2 or fixed[0].thick_slices else 3)
    usable = [grid for grid in fixed if grid.dims >= dims]  # an unfit image is reported when it is loaded
    spacings = np.array([grid.spacing[:dims] for grid in usable]) if usable else np.ones((1, dims))
    shapes = np.array([grid.shape[:dims] for grid in usable]) if usable else np.full((1, dims), MULTIPLE)
    if config.spacing == "image":  # the size is then that of the largest image, in voxels
        spacings = np.ones_like(spacings)
    given = config.spacing if isinstance(config.spacing, tuple) and len(config.spacing) == dims else None
    spacing = np.array(given) if given else np.median(spacings, axis=0)
    extents = np.median(shapes * spacings, axis=0) / spacing
    if config.spacing is None and extents.max() > 1.5 * LONGEST_SIDE[dims]:
        spacing = spacing * extents.max() / LONGEST_SIDE[dims]
    largest = (shapes * spacings / spacing).max(axis=0)
    size = [min(LONGEST_SIDE[dims], MULTIPLE * max(1, math.ceil(round(n) / MULTIPLE))) for n in largest]
    network = network or NETWORKS.get(config.network)
    rates = LEARNING_RATES if network is None else network.learning_rates
    kernels = NO_KERNEL if network is None else network.kernels
    interval = config.validate_every or max(1, config.steps // 10)
    # Checked again: a given size or spacing may not fit the dimension that was found.
    return Config.build(
        config.model_dump(),
        {
            "dims": dims,
            "batch_size": config.batch_size or config.accumulate * math.ceil(BATCH_SIZES[dims] / config.accumulate),
            "learning_rate": config.learning_rate or rates[dims],
            "kernel": kernels[dims] if config.kernel is None else config.kernel,
            "spacing": config.spacing or tuple(round(float(s), 6) for s in spacing),
            "size": config.size or tuple(size),
            "validate_every": interval,
            "checkpoint_every": config.checkpoint_every or interval,
            "init": _init(config.init, dims),
            "cohort": place_of(cohort),
        },
    )


def place_of(cohort: Cohort) -> str:
    """Return the absolute path of a cohort's table; of a cohort without a file, its name."""
    return str(Path(cohort.name).absolute()) if Path(cohort.name).is_file() else cohort.name


def _init(init: str | None, dims: int) -> str | None:
    """Return the run to begin with: for `phantom` the bundled model of the dimension."""
    if init == "phantom" and dims == 3:
        return "phantom-3d"
    return init if init is None or init in BUNDLED else str(expanded(init).absolute())
