"""The weight of the uncertainty penalty, found from the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from heteroreg.data.samples.samples import Samples
from heteroreg.training.parts import Parts

ALPHA_SHARE = 0.005  # of the data term without a registration; see benchmarks/log.md
SAMPLED = {2: 64, 3: 8}  # samples that the data term is measured on, by dimension
SMALLEST_DATA_TERM = 1e-6  # where moving and fixed are equal


def with_alpha(parts: Parts, samples: Samples) -> Parts:
    """Return the parts of a training with α, if the method has one and the configuration leaves it open.

    α is 0.5 % of the data term of moving and fixed as they lie, with the weight 1 everywhere. The data term decides
    how wide a distribution of displacements may be: an α that is small on one kind of images outweighs it on
    another, and the model then learns the identity.

    Args:
        parts: The parts.
        samples: The samples to learn from; some of them, spread evenly, are used.
    """
    if parts.config.alpha is not None or not parts.method.takes_alpha:
        return parts
    count = SAMPLED[len(samples.size)]
    chosen = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int)).tolist()
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # the initial weights stay what they are without it
        objective = parts.build()[1].eval()
        terms = [
            abs(float(objective(*samples.images([one]).chunk(2, dim=1), weighted=False).displacement))
            for one in chosen
        ]
    alpha = ALPHA_SHARE * max(sum(terms) / len(terms), SMALLEST_DATA_TERM)
    return replace(parts, config=parts.config.model_copy(update={"alpha": float(f"{alpha:.4g}")}))
