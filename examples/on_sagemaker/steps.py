"""The steps of a run, one after the other, whichever SDK takes them."""

from __future__ import annotations

from typing import Any, Protocol

from created import Created
from options import LEARNING, Options
from place import LocalAccount, Place


class Sdk(Protocol):
    """The steps in an SDK's own classes. train and tune give the address of the model's archive, the others the answer
    to the picture. Whatever a step makes it names to `Created` before."""

    def train(self) -> str: ...
    def tune(self) -> str: ...
    def deploy(self, archive: str) -> Any: ...
    def serverless(self, archive: str) -> Any: ...
    def asynchronous(self, archive: str) -> Any: ...
    def multi_model(self, archive: str) -> Any: ...
    def transform(self, archive: str) -> Any: ...


class Setting(Protocol):
    """What makes an Sdk."""

    def __call__(self, options: Options, session: Any, created: Created, place: Place) -> Sdk: ...


def run(options: Options, session: Any, setting: Setting) -> None:
    """Take the steps, and delete what they have made, whatever happens. session: an SDK's own."""
    account = LocalAccount(session.sagemaker_client) if options.local else session.boto_session
    created = Created(account, None if options.local else options.list_of_created, options.keep)
    if options.steps == ("delete",):
        created.delete()
        return
    with created:
        place = _place(options, session, created)
        _take(options, setting(options, session, created, place), place)


def _place(options: Options, session: Any, created: Created) -> Place:
    if options.local:
        return Place(options.output.as_uri(), session.boto_session)
    folder = created.folder(f"s3://{session.default_bucket()}/{options.run}")
    return Place(folder.rstrip("/"), session.boto_session)


def _take(options: Options, sdk: Sdk, place: Place) -> None:
    serving = {
        "deploy": sdk.deploy,
        "serverless": sdk.serverless,
        "async": sdk.asynchronous,
        "multi-model": sdk.multi_model,
        "transform": sdk.transform,
    }
    archive = options.model or ""
    for step in options.steps:
        print(f"== {step}", flush=True)
        if step in LEARNING:
            archive = sdk.train() if step == "train" else sdk.tune()
            for what, address in (("model", archive), ("report", archive.replace("model.tar.gz", "output.tar.gz"))):
                print(f"{what}: {place.fetch(address, options.output).as_uri()}", flush=True)
        else:
            options.show(step, serving[step](archive))
