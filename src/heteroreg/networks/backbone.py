"""A network from elsewhere in place of the U-Net."""

from __future__ import annotations

from torch import Tensor, nn

FEATURES = 16  # what the paper's U-Net ends with


class Backbone(nn.Module):
    """A network that is checked to give the features that its head expects.

    Args:
        network: Maps two images as channels, (N, 2, *shape), to features (N, C, *grid).
        features: C.
        full: Whether the grid has to be that of the images.
    """

    def __init__(self, network: nn.Module, features: int, *, full: bool = False) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.full = full

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images (N, 2, *shape).

        Raises:
            ValueError: They are not what was announced.
        """
        name = f"the backbone {type(self.network).__name__}"
        features = self.network(images)
        if not isinstance(features, Tensor):
            raise ValueError(
                f"expected one tensor from {name}, got {type(features).__name__}; wrap it in a module that returns "
                "the features"
            )
        if features.ndim != images.ndim or features.shape[:2] != (images.shape[0], self.features):
            raise ValueError(
                f"expected {self.features} features (N, {self.features}, *grid) from {name} for images "
                f"{tuple(images.shape)}, got {tuple(features.shape)}; `features=` says how many there are"
            )
        if self.full and features.shape[2:] != images.shape[2:]:
            raise ValueError(
                f"expected features at the resolution of the images, {tuple(images.shape[2:])}, from {name}, got "
                f"{tuple(features.shape[2:])}"
            )
        return features
