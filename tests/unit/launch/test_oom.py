"""What ran out, in words."""

from __future__ import annotations

import errno

import pytest
import torch

from byoc_vision.errors import ResourceError
from byoc_vision.launch.oom import explained


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to"),
            r"batch_size=8; take batch_size=4 with",
        ),
        (MemoryError(), r"memory does not suffice for batch_size=8"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), r"take a smaller batch"),
        (
            RuntimeError("DataLoader worker (pid 41) is killed by signal: Bus error. It is possible that"),
            r"shared memory is full.*--shm-size",
        ),
        (RuntimeError("DataLoader worker (pid 41) is killed by signal: Killed. "), r"killed, mostly by the kernel"),
        (RuntimeError("DataLoader worker (pid(s) 41, 42) exited unexpectedly"), r"take fewer num_workers"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/opt/ml/model/x"),
            r"/opt/ml/model/x \([\d,]+ bytes are free\): the disk is full",
        ),
    ],
)
def test_what_ran_out_is_said_with_the_remedy(error: Exception, said: str) -> None:
    with pytest.raises(ResourceError, match=said) as caught, explained(batch_size=8):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "no such file"), KeyError("a")])
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained(batch_size=8):
        raise error
    assert caught.value is error
