"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Machines that run tests are busy: how long an example takes says nothing.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
# CI judges a change by the same examples each time; other runs look for new ones.
settings.register_profile("fixed", deadline=None, derandomize=True)

# Jobs in tests ask no model hub; the tests of the hub start one of their own.
os.environ["HF_HUB_OFFLINE"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and weights."""
    folder = Path(os.environ.get("BYOC_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
