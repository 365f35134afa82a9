from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

NOW = 1_000_000.0
HEADER = "step,loss,seconds,val_loss,val_dice\n"


class Folder:
    """Writes what a training writes, at times that the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, steps: int = 100, age: float = 0.0) -> Folder:
        self.path.mkdir(parents=True, exist_ok=True)
        config = {"schema_version": 1, "method": "mse", "network": "voxelmorph", "steps": steps}
        (self.path / "config.yaml").write_text(yaml.safe_dump(config))
        self._touch(self.path / "config.yaml", age)
        return self

    def rows(self, text: str, age: float = 0.0) -> Folder:
        (self.path / "metrics.csv").write_text(HEADER + text)
        self._touch(self.path / "metrics.csv", age)
        return self

    def save(self, step: int, age: float = 0.0) -> Folder:
        state = self.path / "checkpoints" / "last" / "state.json"
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps({"schema_version": 1, "step": step, "tensors": "t.safetensors"}))
        self._touch(state, age)
        return self

    @staticmethod
    def _touch(path: Path, age: float) -> None:
        os.utime(path, (NOW - age, NOW - age))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "run")
