"""Time of a training step for each method, in one run, by turns: `python -m benchmarks.step`.

2D, 128×128, batch 8, both directions, float32, all threads that PyTorch takes. The median over the turns.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from heteroreg.losses import smoothness
from heteroreg.methods import METHODS
from heteroreg.networks import VoxelMorph
from heteroreg.spatial import warp


class Step:
    """One method's networks and optimiser, ready for an update."""

    def __init__(self, method: str, size: int) -> None:
        self.network = VoxelMorph(2, head_sd=1e-2)
        self.objective = METHODS[method].objective(2, 0.5, 0.5)
        parameters = [*self.network.parameters(), *self.objective.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4)
        self.moving, self.fixed = torch.rand(2, 8, 1, size, size, generator=torch.Generator().manual_seed(0))

    def __call__(self) -> float:
        """Makes an update and gives its seconds."""
        began = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        displacement = self.network(self.moving, self.fixed)
        both = torch.cat([displacement.forward, displacement.backward])
        losses = self.objective(
            warp(torch.cat([self.moving, self.fixed]), both), torch.cat([self.fixed, self.moving])
        )
        loss: Tensor = losses.displacement + 0.01 * smoothness(displacement.velocity)
        if losses.variance is not None:
            loss = loss + losses.variance
        torch.autograd.backward(loss)
        self.optimizer.step()
        return time.perf_counter() - began


def main() -> None:
    """Times every method by turns and prints the medians, and their ratio to mse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    steps = {name: Step(name, options.size) for name in METHODS}
    for step in steps.values():  # the first call of each shape prepares kernels
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.turns):
        for name, step in steps.items():
            seconds[name].append(step())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    for name, median in medians.items():
        print(f"{name:14} {1000 * median:7.1f} ms   {median / medians['mse']:.2f} x mse")


if __name__ == "__main__":
    main()
