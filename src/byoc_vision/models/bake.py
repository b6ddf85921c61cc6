"""Put pretrained weights into the image, for jobs without a network.

    python -m byoc_vision.models.bake --to FOLDER [--from FOLDER] [NAME…]

`docker build` runs it. NAME is the name of a classifier, an encoder or an FCN. Its weights come from the file
`NAME.safetensors` in the folder `--from` if that exists, else from the hub. NAME can also be the path of such a file.
Without names a small default set is baked, as far as the hub can be reached; `none` bakes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from byoc_vision.atomic_write import give_usual_mode
from byoc_vision.errors import DataError, InputError, ResourceError, UserError
from byoc_vision.models.build import build_model
from byoc_vision.models.hub import hub_weights
from byoc_vision.models.hub_download import NotOnHubError
from byoc_vision.models.names import (
    TIMM_ENCODER,
    TORCHVISION_FCNS,
    canonical_name,
    classifier_name,
    encoder_name,
    squeeze,
)
from byoc_vision.models.normalisation import check_architecture, normalisation_of
from byoc_vision.models.pretrained import model_name
from byoc_vision.models.weights import Weights, fit, read_weights
from byoc_vision.types import ModelSpec

_SUFFIX = ".safetensors"
DEFAULT_NAMES = ("resnet18", "mobilenet_v2")  # the default classifier, and the usual encoder of a small U-Net
NOTHING = "none"


def bake(names: Sequence[str], folder: Path, source: Path | None = None) -> list[Path]:
    """Write the weights of each name into `folder`, under the file names that `load_pretrained` reads.

    A name such as `mobilenet_v2` can mean a timm classifier and an encoder of segmentation-models-pytorch: from
    the hub, both are written; from files, the ones that the files hold.

    Returns:
        The files written.

    Raises:
        InputError: No model has this name.
        DataError: A file does not fit its name.
        ResourceError: The hub has no weights of the model or cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name in names:
        given = Path(name) if name.endswith(_SUFFIX) else None
        meanings = _meanings(given.name.removesuffix(_SUFFIX) if given else name)
        if not meanings:
            raise InputError(f"PRETRAINED={name}: no classifier, encoder or FCN has this name")
        files = [given] if given else _local_files(name, meanings, source)
        if files:
            written += [path for file in files for path in _bake_file(file, meanings, folder)]
        else:
            written += _bake_from_hub(name, meanings, folder)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, or the error's."""
    parser = argparse.ArgumentParser("byoc_vision.models.bake", description="Put pretrained weights in a folder.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        for name in options.names or DEFAULT_NAMES:
            if name != NOTHING:
                for path in bake([name], options.to, options.source):
                    print(f"Baked {path} ({path.stat().st_size / 1e6:.1f} MB)")
    except ResourceError as error:
        if options.names:
            return _report(error)
        print(f"No default weights in this image: {error}")
    except UserError as error:
        return _report(error)
    return 0


def _report(error: UserError) -> int:
    print(f"{error.category}: {error}", file=sys.stderr)
    return error.exit_code


def _bake_file(path: Path, meanings: Sequence[ModelSpec], folder: Path) -> list[Path]:
    weights = read_weights(path)
    fits = [(spec, fit(build_model(spec), weights)) for spec in meanings]
    matching = [spec for spec, found in fits if found.is_complete]
    if not matching:
        raise DataError(f"{path} does not fit {model_name(meanings[0])}: {fits[0][1].describe()}")
    return [_write(weights, matching[0], path) for path in dict.fromkeys(_path(spec, folder) for spec in matching)]


def _bake_from_hub(name: str, meanings: Sequence[ModelSpec], folder: Path) -> list[Path]:
    written: list[Path] = []
    for spec in meanings:
        path = _path(spec, folder)
        if path in written:
            # timm and segmentation-models-pytorch both have a network of this name; most are identical.
            if fit(build_model(spec), read_weights(path)).is_complete:
                continue
            path = folder / f"{model_name(spec)}.encoder{_SUFFIX}"
        try:
            written.append(_write(hub_weights(spec), spec, path))
        except NotOnHubError as reason:
            raise ResourceError(
                f"PRETRAINED={name}: the hub gave no weights of {model_name(spec)} ({reason}). Build on a machine that "
                f"can reach the hub, or put {name}{_SUFFIX} into docker/weights"
            ) from reason
    return written


def _meanings(name: str) -> list[ModelSpec]:
    """The models that a name can mean; timm's classifier first, because its file also fits most encoders."""
    base = name.removesuffix(".encoder")
    fcn = canonical_name(base, TORCHVISION_FCNS)
    if fcn is not None:
        return [ModelSpec(task="segmentation", architecture=fcn, outputs=1)]
    classifier = classifier_name(base.removeprefix(TIMM_ENCODER)) or classifier_name(base.partition(".")[0])
    encoder = encoder_name(base) or encoder_name(base.partition(".")[0])
    specs = [ModelSpec(task="classification", architecture=classifier, outputs=1)] if classifier else []
    if encoder and not encoder.startswith(TIMM_ENCODER):
        specs.append(ModelSpec(task="segmentation", architecture="unet", encoder=encoder, outputs=1))
    return specs


def _path(spec: ModelSpec, folder: Path) -> Path:
    return folder / f"{model_name(spec)}{_SUFFIX}"


def _local_files(name: str, meanings: Sequence[ModelSpec], source: Path | None) -> list[Path]:
    """The files in `source` named after `name` or one of its models; a suffix after a dot is allowed."""
    wanted = {squeeze(name), *(squeeze(model_name(spec)) for spec in meanings)}
    found = []
    for path in sorted(source.glob(f"*{_SUFFIX}")) if source else []:
        stem = path.name.removesuffix(_SUFFIX)
        if wanted & {squeeze(stem), squeeze(stem.partition(".")[0])}:
            found.append(path)
    return found


def _write(weights: Weights, spec: ModelSpec, path: Path) -> Path:
    check_architecture(weights, spec)
    mean, std = normalisation_of(weights, spec, build_model(spec))
    metadata = {
        "mean": ",".join(map(str, mean)),
        "std": ",".join(map(str, std)),
        "source": weights.source,
        **({"architecture": weights.made_for} if weights.made_for else {}),
    }
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in weights.tensors.items()}, path, metadata)
    give_usual_mode(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
