"""Precision in which networks compute."""

from __future__ import annotations

from typing import Any

import torch


def precision_of(name: str, device: str) -> Any:
    """Return the precision for a device; `auto` is bf16-mixed where that is faster than float32."""
    if name != "auto":
        return name
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        # Only newer versions of PyTorch report what a CPU can do.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = device == "cpu" and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if fast else "32-true"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return a context in which networks run in the precision, outside of Fabric."""
    enabled = precision_of(precision, device.type) == "bf16-mixed"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
