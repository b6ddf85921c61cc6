"""What `byoc-vision` starts: the command line, and one line if Ctrl-C comes while it is imported."""

from __future__ import annotations

import os

INTERRUPTED = 130  # as shells report a process that SIGINT ended


def main() -> int:
    """Run the command in the process's arguments; returns the exit status."""
    try:
        from byoc_vision.cli import main as run

        return run()
    except KeyboardInterrupt:
        os.write(1, b"Interrupted\n")
        return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
