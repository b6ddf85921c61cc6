"""The steps of a run, one after the other, whichever SDK takes them."""

from __future__ import annotations

from collections.abc import Callable
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
    """Take the steps. What a step has made is deleted when it has its answer, the files in S3 in the end, whatever
    happens. session: an SDK's own."""
    account = LocalAccount(session.sagemaker_client) if options.local else session.boto_session
    if options.steps == ("delete",):
        _delete_kept(options, account)
        return
    archive = options.model or ""
    with _created(options, account, "0-files") as created:
        place = _place(options, session, created)
        for number, step in enumerate(options.steps, 1):
            print(f"== {step}", flush=True)
            with _created(options, account, f"{number}-{step}") as created:
                sdk = setting(options, session, created, place)
                if step in LEARNING:
                    archive = sdk.train() if step == "train" else sdk.tune()
                    _bring_home(options, place, archive)
                else:
                    options.show(step, _serving(sdk)[step](archive))


def _delete_kept(options: Options, account: Any) -> None:
    """What earlier runs kept or left behind, as the files in the output folder list it."""
    kept = [Created(account, file) for file in sorted(options.output.glob("created-*.json"), reverse=True)]
    count = sum(len(created.resources) for created in kept)
    if not count:
        print(f"nothing to delete: {options.output} has no created-*.json, which lists what a run left on AWS")
        return
    for created in kept:
        created.delete()
    print(f"deleted all {count} resources that {options.output}/created-*.json listed")


def _created(options: Options, account: Any, what: str) -> Created:
    """Local mode has nothing that outlives the script."""
    return Created(account, None if options.local else options.output / f"created-{what}.json", options.keep)


def _place(options: Options, session: Any, created: Created) -> Place:
    if options.local:
        return Place(options.output.as_uri(), session.boto_session)
    folder = created.folder(f"s3://{session.default_bucket()}/{options.run}")
    return Place(folder.rstrip("/"), session.boto_session)


def _serving(sdk: Sdk) -> dict[str, Callable[[str], Any]]:
    return {
        "deploy": sdk.deploy,
        "serverless": sdk.serverless,
        "async": sdk.asynchronous,
        "multi-model": sdk.multi_model,
        "transform": sdk.transform,
    }


def _bring_home(options: Options, place: Place, archive: str) -> None:
    """The model, and the report that the job wrote."""
    for what, address in (("model", archive), ("report", archive.replace("model.tar.gz", "output.tar.gz"))):
        print(f"{what}: {place.fetch(address, options.output).as_uri()}", flush=True)
