"""Every parser that meets bytes from outside, with good inputs to start from and the errors that it may raise."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from support.images import draw_noise, encode, npy

from byoc_serve.decode import Limits, Payload, choose_decoder
from byoc_serve.request_options import read_options
from byoc_serve.response_format import choose_format
from byoc_vision import artifact, checksums
from byoc_vision.archives import DATA_SETS, MODELS, unpacked
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.albumentations_files import read_transforms
from byoc_vision.data.decoding import Content, read_image, read_mask
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight.scan import measure_sample
from byoc_vision.data.recordio import index_records, pack, write_record
from byoc_vision.data.recordio import unpack as unpack_record
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import RequestError, UserError
from byoc_vision.hyperparameters.reading import read as read_hyperparameters
from byoc_vision.job import Job
from byoc_vision.paths import MlPaths
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.checkpoint_file import TornError, read_file, write_file
from byoc_vision.types import ClassInfo, ModelSpec

PIXELS = 1_000_000
IMAGE = draw_noise(24, 40)
PNG, JPEG = encode(IMAGE), encode(IMAGE, "JPEG")
IMAGES = [
    PNG,
    JPEG,
    encode(IMAGE, "JPEG", progressive=True),
    encode(IMAGE, "JPEG", restart_marker_rows=1),
    encode(IMAGE, "WEBP"),
    encode(IMAGE, "WEBP", lossless=True),
    encode(IMAGE, "BMP"),
    encode(IMAGE, "GIF"),
    encode(IMAGE, "AVIF"),
    encode(np.dstack([IMAGE, IMAGE[..., 0]])),
    encode(IMAGE[..., 0].astype(np.float32) / 255, "TIFF"),
    *(encode(IMAGE, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
]
MASKS = [encode(IMAGE[..., 0] % 3, kind) for kind in ("PNG", "TIFF", "GIF", "BMP")]
GROUND_TRUTH = '{{"class-name": "c{1}", "type": "groundtruth/image-classification", "confidence": 0.9}}'
BASE64 = base64.b64encode(PNG).decode()


@dataclass(frozen=True)
class Parser:
    """call: gets an input, and an empty folder. refusals: what it may raise."""

    call: Callable[[bytes, Path], object]
    seeds: list[bytes]
    refusals: tuple[type[Exception], ...] = (UserError,)


def body(content_type: str) -> Callable[[bytes, Path], object]:
    """Of a request of this type."""
    return lambda content, _: list(outcomes(choose_decoder(content_type, Limits(8, 100))(content), PIXELS))


def outcomes(payload: Payload, max_pixels: int) -> Iterator[np.ndarray | RequestError]:
    """Each image of a payload, decoded, or an error in its place, as a tolerant request gets them."""
    for image in payload.undecoded(max_pixels):
        try:
            yield image if isinstance(image, RequestError) else image.decode()
        except RequestError as error:
            yield error


def header(read: Callable[[str], object]) -> Callable[[bytes, Path], object]:
    return lambda content, _: read(content.decode("latin-1"))


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """Of a file with this name; what reads it gets its path."""

    def call(content: bytes, folder: Path) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read(path)

    return call


def unpack(content: bytes, folder: Path) -> None:
    """As each kind of archive. Raises the last error if it is none of them."""
    refused: list[UserError] = []
    for rules, name in ((MODELS, "model.tar.gz"), (DATA_SETS, "data.zip"), (DATA_SETS, "data.tar")):
        (folder / name).write_bytes(content)
        try:
            with unpacked(folder / name, rules):
                pass
        except UserError as error:
            refused.append(error)
    if len(refused) == 3:
        raise refused[-1]


def read_records(path: Path) -> None:
    for record in index_records(path):
        unpack_record(record, path).image.read_bytes()


def channel(name: str) -> Callable[[bytes, Path], object]:
    """Of a list in the training channel, beside images 1 to 8."""
    return dataset(name, [f"{number}.png" for number in range(1, 9)])


def dataset(name: str, images: list[str]) -> Callable[[bytes, Path], object]:
    """Of a file of the training channel, beside images."""

    def call(content: bytes, folder: Path) -> None:
        for path in images:
            (folder / "train" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "train" / path).write_bytes(PNG)
        (folder / "train" / name).write_bytes(content)
        found = find_dataset({"train": folder / "train"}, DataOptions())
        for sample in found.train[:4]:
            measure_sample(sample)

    return call


def config() -> bytes:
    spec = ModelSpec(task="segmentation", architecture="unet_small", outputs=1)
    classes = (ClassInfo("background", 0), ClassInfo("car", 255))
    return (
        ModelConfig(model=spec, classes=classes, activation="sigmoid", preprocess=Preprocess(height=64, width=64))
        .model_dump_json()
        .encode()
    )


def tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name in ("model.json", "folder/weights", "x" * 150):
            member = tarfile.TarInfo(name)
            member.size = 600
            archive.addfile(member, io.BytesIO(os.urandom(600)))
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", PNG)
        archive.writestr("b.txt", b"x" * 1000)
    return file.getvalue()


def records() -> bytes:
    file = io.BytesIO()
    for labels in ((1.0,), (0.0, 1.0, 1.0)):
        write_record(file, pack(labels, PNG))
    return file.getvalue()


def checkpoint(folder: Path) -> bytes:
    path = folder / "checkpoint-00000001.safetensors"
    write_file(path, {"step": 3, "model": {"w": torch.ones(4)}, "classes": ["a", "b"], "random": {"python": (1, 2)}})
    return path.read_bytes()


def form() -> bytes:
    part = b'--e\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + PNG + b"\r\n"
    return part * 2 + b"--e--\r\n"


def lines(head: str, line: str) -> bytes:
    """A list of eight images, and their labels 0 and 1."""
    return (head + "".join(line.format(number, number % 2) for number in range(1, 9))).encode()


def parsers(scratch: Path) -> dict[str, Parser]:
    """All of them by name. scratch: a folder for what makes the seeds."""
    request = (RequestError,)
    job = "input/config/"
    return {
        "image": Parser(lambda content, _: read_image(Content("image", content), max_pixels=PIXELS), IMAGES),
        "mask": Parser(lambda content, _: read_mask(Content("mask", content), max_pixels=PIXELS), MASKS),
        "npy": Parser(body("application/x-npy"), [npy(IMAGE), npy(np.stack([IMAGE] * 2))], request),
        "form": Parser(body("multipart/form-data; boundary=e"), [form()], request),
        "json": Parser(
            body("application/json"),
            [
                json.dumps({"image": BASE64}).encode(),
                json.dumps(
                    {"instances": [{"b64": BASE64}, {"image": {"b64": "data:image/png;base64," + BASE64}}]}
                ).encode(),
            ],
            request,
        ),
        "json lines": Parser(body("application/jsonlines"), [json.dumps({"image": BASE64}).encode() + b"\n"], request),
        "untyped body": Parser(body(""), [PNG, npy(IMAGE)], request),
        "options": Parser(
            header(lambda text: read_options(*text.partition("|")[::2])),
            [b"threshold=0.3&tile=auto&tta=flips|palette=true;view=overlay", b"tile=64|errors=line,tta=none"],
            request,
        ),
        "Accept": Parser(
            header(lambda text: choose_format(text, "segmentation")),
            [b"image/png;q=0.3, application/json", b"application/x-npy", b"application/x-protobuf;q=1"],
            request,
        ),
        "Content-Type": Parser(
            header(lambda text: choose_decoder(text, Limits(8, 100))),
            [b"multipart/form-data; boundary=e", b"image/png; charset=x"],
            request,
        ),
        "archive": Parser(unpack, [tar("w:gz"), tar("w"), tar("w:bz2"), tar("w:xz"), zipped()]),
        "RecordIO": Parser(in_file("train.rec", read_records), [records()]),
        "checkpoint": Parser(
            in_file("checkpoint-00000001.safetensors", read_file), [checkpoint(scratch)], (TornError, UserError)
        ),
        "model.json": Parser(in_file("model.json", lambda path: artifact.read_config(path.parent)), [config()]),
        "checksums.json": Parser(
            in_file("checksums.json", lambda path: checksums.read(path.parent)),
            [checksums.to_json({"model.json": "ab" * 32}).encode()],
        ),
        "weights": Parser(
            in_file("model.safetensors", lambda path: artifact.read_weights(path.parent)), [checkpoint(scratch)]
        ),
        "hyperparameters.json": Parser(
            in_file("hyperparameters.json", read_hyperparameters),
            [b'{"epochs": "3", "image_size": "64,96", "seed": "7", "lr": "0.1", "health_action": "stop"}'],
        ),
        "inputdataconfig.json": Parser(
            in_file(f"{job}inputdataconfig.json", lambda path: Job.load(MlPaths(path.parents[2]))),
            [b'{"train": {"TrainingInputMode": "Pipe", "S3DistributionType": "FullyReplicated", "ContentType": "a"}}'],
        ),
        "resourceconfig.json": Parser(
            in_file(f"{job}resourceconfig.json", lambda path: Job.load(MlPaths(path.parents[2]))),
            [b'{"current_host": "a", "hosts": ["a", "b"], "network_interface_name": "eth0"}'],
        ),
        "checkpointconfig.json": Parser(
            in_file(f"{job}checkpointconfig.json", lambda path: Job.load(MlPaths(path.parents[2]))),
            [b'{"LocalPath": "/opt/ml/checkpoints"}'],
        ),
        "CSV": Parser(
            channel("labels.csv"), [lines("image,label\n", "{}.png,{}\n"), lines("file;classes\n", "{}.png;{}|x\n")]
        ),
        "LST": Parser(channel("train.lst"), [lines("", "0\t{1}\t{0}.png\n")]),
        "manifest": Parser(
            channel("train.manifest"),
            [
                lines("", '{{"source-ref": "{0}.png", "class": {1}, "class-metadata": ' + GROUND_TRUTH + "}}\n"),
                lines("", '{{"source-ref": "s3://bucket/train/{}.png", "label": {}}}\n'),
            ],
        ),
        "classes.json": Parser(
            dataset("classes.json", [f"{name}/{number}.png" for name in "ab" for number in range(4)]),
            [b'{"classes": [{"name": "A", "folder": "a"}, {"name": "B", "folder": "b"}]}'],
        ),
        "albumentations": Parser(
            in_file("train.json", lambda path: read_transforms(path, "classification", (32, 32))),
            [
                b'{"__version__": "2.0.8", "transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": '
                b'[{"__class_fullname__": "HorizontalFlip", "p": 0.5}]}}'
            ],
        ),
    }
