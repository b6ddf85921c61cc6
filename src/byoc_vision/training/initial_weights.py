"""The weights that a job starts from: an earlier model of ours in a channel, else pretrained ones, else random ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.bands import describe_bands
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.io import read_object
from byoc_vision.job import Job
from byoc_vision.launch.distributed import World, on_rank0
from byoc_vision.models.build import build_model
from byoc_vision.models.hub import is_published
from byoc_vision.models.names import canonical_spec
from byoc_vision.models.pretrained import ARCHIVES, PretrainedInfo, load_pretrained
from byoc_vision.preprocess import Band
from byoc_vision.recipe import resolve_config
from byoc_vision.report.record import Finding
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.types import ClassInfo, ModelSpec, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstWeights:
    """Where a job without a checkpoint starts from.

    info: None for random weights. text: the source in words; empty if the job asked for random weights.
    warning: why a job that could have pretrained weights has none, and what to do.
    """

    info: PretrainedInfo | None = None
    text: str = ""
    warning: str = ""

    def state_dict(self) -> dict[str, Any]:
        return {"pretrained": self.info is not None, "text": self.text, "warning": self.warning}

    @classmethod
    def saved(cls, content: Mapping[str, Any], hyperparameters: Hyperparameters) -> Self | None:
        """Those of the checkpoint's job; None if it does not say, or if this job asks for others."""
        saved = content.get("first_weights")
        if not saved or content["hyperparameters"]["pretrained"] != hyperparameters.pretrained:
            return None
        rule = content["card"]["preprocess"]
        bands = tuple(Band.model_validate(band) for band in rule.get("bands", ()))
        source = PretrainedInfo(saved["text"], tuple(rule["mean"]), tuple(rule["std"]), bands=bands)
        return cls(source if saved["pretrained"] else None, saved["text"], saved["warning"])

    @property
    def findings(self) -> list[Finding]:
        if not self.warning:
            return []
        evidence, _, remedy = self.warning.partition(". ")
        return [Finding(rule="RandomWeights", epoch=1, evidence=evidence, remedy=remedy)]

    def log(self) -> None:
        if self.warning:
            logger.warning("Training starts from random weights: %s", self.warning)
        elif self.text:
            logger.info("Training starts from %s", self.text)


def find_first_weights(
    net: nn.Module,
    spec: ModelSpec,
    classes: tuple[ClassInfo, ...],
    job: Job,
    hyperparameters: Hyperparameters,
    world: World,
    checkpointer: Checkpointer,
) -> FirstWeights:
    """Fill the network of the main process, from which DistributedDataParallel copies the weights.

    A job that goes on from a checkpoint does not ask the hub: the weights, and how to normalise images for them, are
    in the checkpoint.
    """
    local = {"model", "pretrained"} & job.channels.keys()
    content = checkpointer.peek() if hyperparameters.resume != "never" and not local else None
    saved = FirstWeights.saved(content, hyperparameters) if content else None
    return saved or on_rank0(world, lambda: load_weights(net, spec, classes, job, hyperparameters))


def load_weights(
    net: nn.Module, spec: ModelSpec, classes: tuple[ClassInfo, ...], job: Job, hyperparameters: Hyperparameters
) -> FirstWeights:
    """Fill a network as the job asks for it.

    Args:
        net: the network of `spec`, with random weights.
        classes: of the data.

    Raises:
        UserError: the channel's model cannot continue this job, or the weights that it asks for are not there.
    """
    if (channel := job.channels.get("model")) is not None:
        if "pretrained" in job.folders:
            logger.warning("The channel pretrained is not read: training continues from the channel %s", channel.name)
        info = continue_from(channel.path, channel.name, net, spec, classes)
        return FirstWeights(info, info.source)
    folder = job.folders.get("pretrained")
    if hyperparameters.pretrained is False:
        if folder is not None:
            logger.warning("The channel pretrained is not read, because of pretrained=false")
        return FirstWeights()
    isolated = is_isolated(job)
    try:
        info = load_pretrained(
            net,
            spec,
            channel=folder,
            baked=resolve_config.baked_weights(),
            normalisation=resolve_config.normalisation(hyperparameters),
            allow_hub=not isolated,
            pickles=hyperparameters.pretrained is True,
        )
    except ResourceError as error:
        if hyperparameters.pretrained is True or folder is not None:
            raise
        if not is_published(canonical_spec(spec)):
            return FirstWeights(text="random weights: no library publishes others for this model")
        return FirstWeights(text="random weights", warning=f"{error}{_ISOLATED if isolated else ''}")
    return FirstWeights(info, info.source)


_ISOLATED = ". This job runs in network isolation"


def is_isolated(job: Job) -> bool:
    """Whether SageMaker's copy of the request, which it does not document, says so."""
    try:
        return read_object(job.paths.training_job_config).get("EnableNetworkIsolation") is True
    except InputError:
        return False


def with_model_of_channel(hyperparameters: Hyperparameters, job: Job, task: Task) -> Hyperparameters:
    """With the architecture of the model to continue from, if the job leaves the choice to this image.

    Raises:
        InputError, DataError: as `continue_from`.
    """
    channel = job.channels.get("model")
    chosen = hyperparameters.model != "auto" or hyperparameters.encoder or hyperparameters.hidden_units
    if channel is None or chosen:
        return hyperparameters
    source = _only_model(channel.path, channel.name)
    try:
        with artifact.opened(source) as folder:
            spec = artifact.read_config(folder).model
    except DataError as error:
        raise DataError(f"channel {channel.name}: {source.name}: {error}") from error
    if spec.task != task:
        return hyperparameters
    logger.info("model=auto: the architecture is that of the channel %s: %s", channel.name, _describe(spec))
    model = {"model": spec.architecture, "encoder": spec.encoder, "hidden_units": spec.hidden_units}
    return hyperparameters.model_copy(update=model)


def continue_from(
    folder: Path, name: str, net: nn.Module, spec: ModelSpec, classes: tuple[ClassInfo, ...]
) -> PretrainedInfo:
    """Load an earlier model: whole if its classes are those of the data, else all but its head.

    Args:
        folder: of the channel `name`: a model.tar.gz, or its files.

    Raises:
        InputError: there is not exactly one model, or it has another architecture than the job.
        DataError: the archive or the model is damaged, or not one that this image trained.
    """
    source = _only_model(folder, name)
    try:
        config, tensors = artifact.load(source)
    except DataError as error:
        raise DataError(f"channel {name}: {source.name}: {error}") from error
    _check_architecture(config, spec, name)
    same = config.class_names == tuple(entry.name for entry in classes)
    head: set[str] = set() if same else head_of(net, spec)
    _load(net, tensors, head, f"channel {name}: {source.name}")
    what = f"{source.name} in the channel {name}, {_describe(config.model)}"
    if same:
        logger.info("Training continues from %s: the whole network, as the classes are the same", what)
    else:
        logger.info(
            "Training continues from %s: all but the head, which starts from random weights, as the classes differ "
            "(the model's: %s; the data's: %s)",
            what,
            _few(config.class_names),
            _few(entry.name for entry in classes),
        )
    rule = config.preprocess
    if rule.bands:
        logger.info("The ranges of the bands are those of the model: %s", describe_bands(rule.bands))
    return PretrainedInfo(what, rule.mean, rule.std, whole=same, bands=rule.bands)


def head_of(net: nn.Module, spec: ModelSpec) -> set[str]:
    """The names of the tensors whose shape depends on the number of outputs."""
    with torch.device("meta"):
        larger = build_model(spec.model_copy(update={"outputs": spec.outputs + 1})).state_dict()
    return {name for name, tensor in net.state_dict().items() if larger[name].shape != tensor.shape}


def _only_model(folder: Path, name: str) -> Path:
    """The archive or the folder of the one model in a channel."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path.parent for path in files if path.name == artifact.CONFIG_FILE]
    found += [path for path in files if path.name.endswith(ARCHIVES)]
    if len(found) == 1:
        return found[0]
    if found:
        models = ", ".join(str(path.relative_to(folder)) for path in found)
        raise InputError(f"The channel {name} holds {len(found)} models ({models}); leave one")
    held = _few(str(path.relative_to(folder)) for path in files) or "nothing"
    raise InputError(
        f"The channel {name} holds no model of this image (it holds: {held}). Give it the model.tar.gz of an earlier "
        "job, or use the channel `pretrained` for a .safetensors file of another origin"
    )


def _check_architecture(config: ModelConfig, spec: ModelSpec, name: str) -> None:
    theirs, ours = canonical_spec(config.model), canonical_spec(spec)
    alike = ("task", "architecture", "encoder", "hidden_units")
    if any(getattr(theirs, field) != getattr(ours, field) for field in alike):
        raise InputError(
            f"The channel {name} holds a model with {_describe(theirs)}, but the job trains {_describe(ours)}; "
            "give the job the model's hyperparameters, or leave the channel out"
        )
    if theirs.in_channels != ours.in_channels:
        raise InputError(
            f"The channel {name} holds a model of images with {theirs.in_channels} bands, but the job's images have "
            f"{ours.in_channels}; train on images with the model's bands, or leave the channel out"
        )


def _load(net: nn.Module, tensors: dict[str, Tensor], head: set[str], source: str) -> None:
    state = net.state_dict()
    wanted = [name for name in state if name not in head]
    wrong = [name for name in wanted if name not in tensors or tensors[name].shape != state[name].shape]
    if wrong:
        raise DataError(
            f"{source}: {len(wrong)} of its {len(wanted)} tensors are missing or have another shape ({_few(wrong)}); "
            "train with the image and the image_size of the earlier job"
        )
    net.load_state_dict({**state, **{name: tensors[name] for name in wanted}})


def _describe(spec: ModelSpec) -> str:
    """`task=classification, model=resnet18`, in the words of the hyperparameters."""
    text = f"task={spec.task}, model={spec.architecture}"
    text += f", encoder={spec.encoder}" if spec.encoder else ""
    return text + (f", hidden_units={','.join(map(str, spec.hidden_units))}" if spec.hidden_units else "")


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:6]) + (", …" if len(listed) > 6 else "")
