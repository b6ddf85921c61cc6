"""What torch.compile needs of a machine. What it makes of a network is tested on a GPU."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from byoc_vision.models.torch_compile import compile_network, what_is_missing


def test_on_a_cpu_it_does_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Linear(2, 1)
    with caplog.at_level(logging.WARNING):
        compile_network(net, torch.device("cpu"))
    assert "compile=true does nothing" in caplog.text
    assert net._compiled_call_impl is None


def test_a_compiler_and_the_headers_are_needed(tmp_path: Path) -> None:
    assert what_is_missing(str(tmp_path), tmp_path) == "a C compiler"
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh")
    compiler.chmod(0o755)
    assert what_is_missing(str(tmp_path), tmp_path) == f"Python's headers in {tmp_path}"
    (tmp_path / "Python.h").touch()
    assert what_is_missing(str(tmp_path), tmp_path) is None
