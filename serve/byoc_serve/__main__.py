"""`python -m byoc_serve`: the server without the rest of the command line."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from byoc_serve.run import serve
from byoc_vision.errors import UserError
from byoc_vision.logs import set_up_logging
from byoc_vision.paths import MlPaths


def main() -> int:
    parser = argparse.ArgumentParser(prog="byoc_serve", description="Serve ROOT/model over HTTP.")
    parser.add_argument("--root", type=Path, help="stands for /opt/ml (default: ML_ROOT, else /opt/ml)")
    parser.add_argument("--port", type=int, help="default: SAGEMAKER_BIND_TO_PORT, else 8080")
    options = parser.parse_args()
    set_up_logging()
    try:
        return serve(MlPaths.from_environment(options.root), options.port)
    except UserError as error:
        logging.getLogger("byoc_serve").error("%s: %s", error.category, error)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
