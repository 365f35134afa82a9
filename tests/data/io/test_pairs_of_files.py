import nibabel as nib
import numpy as np
import pytest

from heteroreg.data.image import read_image
from heteroreg.system.errors import UserError


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.AnalyzeImage])
@pytest.mark.parametrize("opened", ["a.hdr", "a.img"])
def test_voxels_that_are_missing_are_not_zeros(tmp_path, kind, opened):
    array = np.random.default_rng(0).random((20, 24, 4)).astype(np.float32)
    nib.save(kind(array, np.eye(4)), tmp_path / "a.img")
    assert read_image(tmp_path / opened).array.shape == (20, 24, 4)
    content = (tmp_path / "a.img").read_bytes()
    (tmp_path / "a.img").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"a\.img: holds 7679 bytes but a\.hdr declares 7680"):
        read_image(tmp_path / opened)
    (tmp_path / "a.img").unlink()
    with pytest.raises(UserError, match=r"no such file|has no \.img file beside it"):
        read_image(tmp_path / opened)
