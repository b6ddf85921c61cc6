"""One command of a launch script: read, check, ask, run. The scripts differ only in the client that they use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
from account import explained, find_region, use_region
from checks import check_all
from cost import agree, earlier_speed
from options import Options, read_options
from steps import Setting, run


def launch(description: str | None, open_session: Callable[[Options], Any], setting: Setting) -> None:
    """Nothing is uploaded or started before all checks have passed and the caller has agreed.

    open_session: makes the session of the client. setting: makes the steps, see `steps.Sdk`.
    """
    options = read_options(description)
    if options.local:
        run(options, open_session(options), setting)
        return
    with explained():
        region, source = find_region(options.region, options.image)
        use_region(region)
        if options.steps != ("delete",):
            session = boto3.Session(region_name=region)
            images = check_all(options, session, source)
            speed = earlier_speed(options, session) if images and not options.images_per_second else None
            agree(options, images, speed)
        run(options, open_session(options), setting)
