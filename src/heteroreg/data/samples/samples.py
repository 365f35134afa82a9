"""Samples: the slices or volumes that a network is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Arrays of a pair, in the order of the channels.
TYPES = {"moving": torch.float32, "fixed": torch.float32}
LABEL_TYPES = {"moving_labels": torch.int32, "fixed_labels": torch.int32}


@dataclass(frozen=True)
class Samples:
    """Pairs prepared for a network, as slices or volumes. Accessing a sample may read it from disk.

    Attributes:
        arrays: For each pair `moving` and `fixed`, (n, *size) float32 in [0, 1], and with labels also
            `moving_labels` and `fixed_labels`, (n, *size) int32. n is 1 for a volume.
        ids: Ids of the pairs.
        patients: Patient of each pair.
    """

    arrays: tuple[Mapping[str, Tensor], ...]
    ids: tuple[str, ...]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pair)

    @cached_property
    def pair(self) -> Tensor:
        """Index of the pair of each sample."""
        return torch.repeat_interleave(torch.tensor([len(arrays["moving"]) for arrays in self.arrays]))

    @property
    def size(self) -> tuple[int, ...]:
        """Number of voxels of a sample along each axis."""
        return tuple(self.arrays[0]["moving"].shape[1:])

    @property
    def labelled(self) -> bool:
        """True if all pairs have labels."""
        return all(LABEL_TYPES.keys() <= arrays.keys() for arrays in self.arrays)

    @property
    def shared_labels(self) -> tuple[int, ...]:
        """Labels, without 0, that occur in both moving and fixed images."""
        if not self.labelled:
            return ()
        moving, fixed = (
            {label for arrays in self.arrays for label in arrays[name].unique().tolist()} for name in LABEL_TYPES
        )
        return tuple(sorted(int(label) for label in moving & fixed - {0}))

    def images(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return images of some samples, moving and fixed as channels (n, 2, *size)."""
        return self._stack(indices, tuple(TYPES))

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return label maps of some samples, moving and fixed as channels (n, 2, *size).

        Raises:
            KeyError: The samples have no labels.
        """
        return self._stack(indices, tuple(LABEL_TYPES))

    @cached_property
    def _first(self) -> Tensor:
        """Index of the first sample of each pair."""
        counts = torch.bincount(self.pair, minlength=len(self.arrays))
        return counts.cumsum(0) - counts

    def _stack(self, indices: Sequence[int] | Tensor, names: tuple[str, ...]) -> Tensor:
        chosen = torch.as_tensor(indices)
        pairs = self.pair[chosen]
        within = (chosen - self._first[pairs]).tolist()
        result = torch.empty(len(chosen), len(names), *self.size, dtype=self.arrays[0][names[0]].dtype)
        for sample, pair, at in zip(result, pairs.tolist(), within, strict=True):
            for channel, name in zip(sample, names, strict=True):
                channel.copy_(self.arrays[pair][name][at])
        return result
