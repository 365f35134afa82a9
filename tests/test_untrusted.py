"""Nothing in a file is executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from heteroreg.cli.app import _settings
from heteroreg.evaluation.gallery import Case
from heteroreg.evaluation.stack import Stack
from heteroreg.system.errors import UserError
from heteroreg.training import checkpoint
from heteroreg.training.config import read_settings


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


@pytest.fixture
def fired(tmp_path: Path) -> Path:
    """The file that must not come into being, shown to be made by a plain unpickling."""
    path = tmp_path / "fired"
    os.close(pickle.loads(pickle.dumps(Bomb(path))))
    path.unlink()
    return path


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.open ['{}', 64]",
        "!!python/object/new:os.open ['{}', 64]",
        "!!python/name:os.open",
        "!!python/module:os",
        "!!python/object:os.open {{}}",
    ],
)
def test_tags_of_yaml(tag: str, fired: Path, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"method: {tag.format(fired)}\n")
    with pytest.raises(UserError, match=r"s\.yaml: not readable as YAML"):
        read_settings(tmp_path / "s.yaml")
    with pytest.raises(UserError, match="--set method: not readable as YAML"):
        _settings([f"method={tag.format(fired)}"])
    assert not fired.exists()


def test_pickles_in_a_gallery_case(fired: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", id=np.array([Bomb(fired)], dtype=object))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Bomb(fired)))
    with zipfile.ZipFile(tmp_path / "inside.npz", "w") as archive:
        archive.writestr("id.npy", pickle.dumps(Bomb(fired)))
    for name in ("objects", "bare", "inside"):
        with pytest.raises(UserError, match=rf"{name}\.npz: not a readable gallery case"):
            Case.read(tmp_path / f"{name}.npz")
        with pytest.raises(UserError, match=rf"{name}\.npz: not readable slices"):
            Stack.read(tmp_path / f"{name}.npz")
    assert not fired.exists()


def test_pickles_in_a_checkpoint(fired: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last", {"a": torch.ones(3)}, {"step": 1})
    (file,) = (tmp_path / "last").glob("*.safetensors")
    buffer = io.BytesIO()
    torch.save({"a": Bomb(fired)}, buffer)
    for content in (pickle.dumps(Bomb(fired)), buffer.getvalue()):
        file.write_bytes(content)
        with pytest.raises(UserError, match="the checkpoint is damaged"):
            checkpoint.read(tmp_path / "last")
    assert not fired.exists()
