"""The commands of docs/first-hour.md still say what the page shows."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.readme import REPOSITORY


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_commands_say_what_the_page_shows() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "local_test/first_hour.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
