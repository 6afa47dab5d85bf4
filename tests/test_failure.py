"""What is said of a failure that depends on what else runs there."""

import numpy as np
import pytest
import torch

from dehazing.data.series import Field, Series
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import is_out_of_memory, with_sizes
from dehazing.pipeline.stage import Context

SERIES = Series(
    (Field("a", "train", np.zeros((3, 64, 48), np.float32)),) * 5, (1.0, 2.0, 3.0), "au", (0,) * 3, (1,) * 3
)


@pytest.mark.parametrize(
    ("error", "how_much"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"), "2.00 GiB more"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."), "64 bytes more"),
        (MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000, 1000)"), "7.45 GiB more"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "more memory"),
    ],
)
def test_running_out_of_memory_is_one_sentence_with_the_sizes(error, how_much):
    execution = Execution("hvae", {"batch_size": 64, "patch_px": 48}, "0123", 0)
    with pytest.raises(MemoryError) as raised, with_sizes(execution, Context(SERIES, {}, 0, "cuda:1")):
        raise error
    assert str(raised.value) == (
        f"hvae must fit into the memory of cuda:1, but {how_much} could not be allocated with `batch_size` = 64, "
        "`patch_px` = 48, `width` = 16, 5 fields of 3 x 64 x 48 px: lower `batch_size` or `patch_px`, or run fewer "
        "trials side by side."
    )
    assert raised.value.__cause__ is error and is_out_of_memory(raised.value)


def test_an_evaluation_has_no_batch_to_be_lowered():
    upstreams = {role: f"{role}/0" for role in ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader")}
    execution = Execution("iterative", {}, "0123", 0, upstreams)
    with (
        pytest.raises(MemoryError, match=r"with 5 fields of 3 x 64 x 48 px: lower the size of the fields, or"),
        with_sizes(execution, Context(SERIES, upstreams, 0, "cpu")),
    ):
        raise MemoryError


def test_other_failures_pass_as_they_are():
    error = RuntimeError("size mismatch")
    with (
        pytest.raises(RuntimeError) as raised,
        with_sizes(Execution("unet", {}, "0123", 0), Context(SERIES, {}, 0, "cpu")),
    ):
        raise error
    assert raised.value is error
