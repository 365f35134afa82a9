import warnings

import pytest
import torch

from heteroreg.training.process_state import restored_process_state


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_training_changes_is_restored(fails):
    torch.manual_seed(7)
    random, benchmark, filters = torch.get_rng_state(), torch.backends.cudnn.benchmark, list(warnings.filters)
    try:
        with restored_process_state():
            torch.manual_seed(1)
            torch.rand(3)
            torch.backends.cudnn.benchmark = not benchmark
            warnings.simplefilter("ignore")
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.cudnn.benchmark == benchmark
    assert warnings.filters == filters
