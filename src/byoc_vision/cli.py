"""The command line: `byoc-vision COMMAND`. Each command is read in its own few lines below."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from byoc_vision import __version__
from byoc_vision.describe.command import add_describe, add_hyperparameters
from byoc_vision.errors import InputError, UserError
from byoc_vision.export.formats import FORMATS
from byoc_vision.inference.options import LARGEST_TILE, SMALLEST_TILE, VIEWS, parse_threshold, parse_tile
from byoc_vision.logs import set_up_logging
from byoc_vision.paths import MlPaths
from byoc_vision.system.machine import sleep_between_regions

# Commands import what they need when they run: `--help` answers at once, and serving never imports training.

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit status (see errors.py)."""
    options = _parser().parse_args(arguments)
    set_up_logging()
    try:
        return int(options.run(options))
    except UserError as error:
        logger.error("%s: %s", error.category, error)
        return error.exit_code


def train(options: argparse.Namespace) -> int:
    sleep_between_regions()
    from byoc_vision.training.main import train_job

    return train_job(MlPaths.from_environment(options.root))


def serve(options: argparse.Namespace) -> int:
    from byoc_serve.run import serve as run_server

    return run_server(MlPaths.from_environment(options.root), options.port)


def predict(options: argparse.Namespace) -> int:
    from byoc_vision.inference.files import find_images, predict_files
    from byoc_vision.inference.passes import InferenceOptions
    from byoc_vision.inference.predictor import Predictor

    images = find_images(options.files)
    predictor = Predictor.load(options.model)
    looks = InferenceOptions(options.tile, options.tta, options.threshold)
    failed = 0
    for outcome in predict_files(predictor, images, options.output, options.overlay, looks):
        if outcome.error:
            failed += 1
            logger.error(outcome.error)
        else:
            logger.info("%s → %s", outcome.source, outcome.written)
    logger.info("%d of %d images answered in %s", len(images) - failed, len(images), options.output)
    return 3 if failed else 0


def evaluate(options: argparse.Namespace) -> int:
    from byoc_vision.training.evaluation import evaluate_folder

    model, data = _model_and_data(options)
    output: Path | None = options.output
    if output is None or output.suffix == ".json" or output.is_file():
        figures = evaluate_folder(model, data, options.batch_size)
    else:
        from byoc_vision.training.folder_report import report_on_folder

        figures, output = report_on_folder(model, data, output, options.batch_size), None
        logger.info("The report is %s", options.output / "report.html")
    text = json.dumps(figures, indent=2)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


def _model_and_data(options: argparse.Namespace) -> tuple[Path, Path]:
    """Named by their options, or by their places. Raises InputError where one is missing."""
    places: list[Path] = list(options.places)
    named: list[Path | None] = [options.model, options.data]
    found = [path or (places.pop(0) if places else None) for path in named]
    if found[0] is None or found[1] is None or places:
        raise InputError("name one model and one folder: byoc-vision evaluate MODEL DATA [--output DIR]")
    return found[0], found[1]


def explain(options: argparse.Namespace) -> int:
    from byoc_vision import artifact
    from byoc_vision.inference.explaining import Explainer, check_can_explain
    from byoc_vision.inference.files import explain_files, find_images
    from byoc_vision.inference.predictor import Predictor

    images = find_images(options.files)
    with artifact.opened(options.model) as folder:
        check_can_explain(artifact.read_config(folder))
        explainer = Explainer(Predictor.load(folder, engine="torch"))
    failed = 0
    for outcome in explain_files(explainer, images, options.output, options.class_name):
        if outcome.error:
            failed += 1
            logger.error(outcome.error)
        else:
            logger.info("%s: %s → %s", outcome.source, outcome.answer, outcome.written)
    return 3 if failed else 0


def report(options: argparse.Namespace) -> int:
    from byoc_vision.report.page import report_on

    logger.info("wrote %s", report_on(options.jobs, options.output))
    return 0


def export(options: argparse.Namespace) -> int:
    from byoc_vision.export.export import export_model

    folder, comparison = export_model(options.model, options.format, options.output)
    logger.info("wrote %s: %s", folder, ", ".join(sorted(path.name for path in folder.iterdir())))
    logger.info("its logits are off by %.1g of their standard deviation at the most", comparison.share)
    return 0


def prepare(options: argparse.Namespace) -> int:
    from byoc_vision.data.prepare import prepare as write_channels
    from byoc_vision.data.samples import DataOptions

    data_options = DataOptions(
        task=options.task,
        layout=options.layout,
        validation_split=options.validation_split,
        seed=options.seed,
        num_classes=options.num_classes,
        ignore_index=options.ignore_index,
        trimap_border=options.trimap_border,
        min_class_count=options.min_class_count,
        on_bad_sample=options.on_bad_sample,
    )
    try:
        write_channels(options.source, options.output, data_options, test_split=options.test_split)
    except KeyboardInterrupt:
        logger.error("interrupted; %s was not written", options.output)
        return 130
    return 0


def tune(options: argparse.Namespace) -> int:
    from byoc_vision.tuning.search import Plan
    from byoc_vision.tuning.search import tune as search

    plan = Plan(options.trials, options.processes, options.timeout, options.seed)
    try:
        return search(options.recipe, options.data, options.output, plan, options.metric, options.keep)
    except KeyboardInterrupt:  # before the first trial, or after the last
        logger.error("interrupted; the same command goes on")
        return 130


def check(options: argparse.Namespace) -> int:
    from byoc_vision.data.formats.channels import channels_in
    from byoc_vision.data.preflight import find_and_check, log_or_raise
    from byoc_vision.data.samples import DataOptions

    data_options = DataOptions(
        task=options.task,
        layout=options.layout,
        num_classes=options.num_classes,
        ignore_index=options.ignore_index,
        trimap_border=options.trimap_border,
        on_bad_sample=options.on_bad_sample,
        checked_pictures=options.pictures,
    )
    checked = find_and_check(channels_in(options.data.absolute()), data_options, report_file=options.json)
    log_or_raise(checked.report)
    return 0


def sample_data(options: argparse.Namespace) -> int:
    from byoc_vision.data.sample_data import make_sample_data

    make_sample_data(options.output, seed=options.seed)
    logger.info("drew %s", options.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="byoc-vision", description="Train and serve segmentation and classification models."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("train", help="train on the channels below ROOT/input and write ROOT/model")
    _add_root(command)
    command.set_defaults(run=train)

    command = commands.add_parser("serve", help="serve ROOT/model over HTTP")
    _add_root(command)
    command.add_argument("--port", type=int, help="default: SAGEMAKER_BIND_TO_PORT, else 8080")
    command.set_defaults(run=serve)

    _add_predict(commands)

    command = commands.add_parser("evaluate", help="measure a model on labelled images")
    command.add_argument("places", type=Path, nargs="*", metavar="MODEL DATA", help="a folder or tarball; a folder")
    command.add_argument("--model", type=Path, metavar="DIR_OR_TARBALL", help="instead of MODEL")
    command.add_argument(
        "--data", type=Path, metavar="DIR", help="instead of DATA: class folders, images/ and masks/, …"
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="also write figures, tables, images and report.html there; a FILE.json takes the figures alone",
    )
    command.add_argument("--batch-size", type=_positive, default=16)
    command.set_defaults(run=evaluate)

    command = commands.add_parser("explain", help="draw over images what speaks for the class a classifier answers")
    command.add_argument("--model", type=Path, required=True, metavar="DIR_OR_TARBALL")
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--class", dest="class_name", metavar="NAME", help="default: the likeliest of each image")
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="images, or folders of images")
    command.set_defaults(run=explain)

    _add_report(commands)

    _add_tune(commands)

    _add_export(commands)

    _add_prepare(commands)

    command = commands.add_parser(
        "sample-data", help="draw a small image set with exact masks, and one of class folders"
    )
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=sample_data)

    _add_check(commands)

    add_describe(commands)
    add_hyperparameters(commands)
    return parser


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("report", help="say in one HTML file what a job did, or compare several")
    command.add_argument("jobs", type=Path, nargs="+", metavar="DIR", help="a job's output/data, or its output.tar.gz")
    where = "default: report.html in DIR or beside the archive; comparison.html here for several"
    command.add_argument("--output", type=Path, metavar="FILE", help=where)
    command.set_defaults(run=report)


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("tune", help="search for better hyperparameters, one training job after the other")
    command.add_argument(
        "--recipe", required=True, help="a hyperparameters.json, its folder, or segmentation or classification"
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="as `check` takes it")
    command.add_argument("--trials", type=_positive, default=20, metavar="COUNT", help="in all (default: 20)")
    command.add_argument("--metric", help="such as validation:f1 (default: what the job keeps its best epoch by)")
    command.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="a hyperparameter that stays; may be repeated"
    )
    command.add_argument(
        "--output", type=Path, default=Path("tuning"), metavar="DIR", help="new, empty, or a search to go on with"
    )
    command.add_argument("--processes", type=_positive, metavar="COUNT", help="trials at a time (default: one a GPU)")
    command.add_argument("--timeout", type=_positive, metavar="MINUTES", help="after which no further trial begins")
    command.add_argument("--seed", type=int, default=0, help="of what is proposed")
    command.set_defaults(run=tune)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("predict", help="answer images with masks or class probabilities")
    command.add_argument("--model", type=Path, required=True, metavar="DIR_OR_TARBALL")
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--overlay", action="store_true", help="also draw each mask over its image")
    command.add_argument(
        "--tile",
        type=_said_as(parse_tile),
        metavar="auto|PIXELS",
        help="masks of large images in full detail, in overlapping tiles whose longer side has so many pixels of "
        f"the image ({SMALLEST_TILE}–{LARGEST_TILE}); auto: the model's input size (default: the whole, resized)",
    )
    command.add_argument(
        "--tta", choices=VIEWS, default="none", help="the mean of the image and its mirror image, or of all four"
    )
    command.add_argument(
        "--threshold",
        type=_said_as(parse_threshold),
        metavar="PROBABILITY",
        help="above which the model says yes, where it says yes or no (default: the model's own)",
    )
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="images, or folders of images")
    command.set_defaults(run=predict)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("export", help="write a model in another runtime's format, its answers compared")
    command.add_argument("model", type=Path, metavar="DIR_OR_TARBALL")
    command.add_argument("--format", choices=FORMATS, required=True)
    command.add_argument("--output", type=Path, metavar="DIR", help="new or empty (default: MODEL-FORMAT)")
    command.set_defaults(run=export)


def _add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("prepare", help="write a data set as channels to train on, from its archives")
    command.add_argument("layout", metavar="LAYOUT", help="carvana, oxford_pets, …, a name of data_layout; or auto")
    command.add_argument(
        "--source",
        type=Path,
        required=True,
        action="append",
        metavar="PATH",
        help="a folder or an archive (zip, tar, tar.gz, …); may be repeated",
    )
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or an empty folder")
    command.add_argument("--task", choices=("auto", "segmentation", "classification"), default="auto")
    command.add_argument(
        "--validation-split",
        type=float,
        metavar="SHARE",
        help="of the training images, where nothing else validates (default: what is usual for the layout)",
    )
    command.add_argument(
        "--test-split", type=float, metavar="SHARE", help="of the training images (default: none but the data's own)"
    )
    command.add_argument("--seed", type=int, default=42, help="of the splits (default: 42, as train's)")
    command.add_argument("--num-classes", type=int, metavar="COUNT", help="default: seen from the data")
    command.add_argument("--ignore-index", type=int, metavar="VALUE", help="the pixel value that is not counted")
    command.add_argument("--trimap-border", choices=("ignore", "class"), default="ignore")
    command.add_argument("--min-class-count", type=int, metavar="COUNT", help="leave out classes with fewer images")
    command.add_argument("--on-bad-sample", choices=("fail", "skip"), default="fail")
    command.set_defaults(run=prepare)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "check", help="read all images and masks, more than a job does before it trains, and say what is wrong"
    )
    command.add_argument("data", type=Path, metavar="DIR", help="the training channel, or a folder of channels")
    command.add_argument("--task", choices=("auto", "segmentation", "classification"), default="auto")
    command.add_argument("--layout", default="auto", help="a name of data_layout (default: seen from the data)")
    command.add_argument("--num-classes", type=int, metavar="COUNT", help="default: seen from the data")
    command.add_argument("--ignore-index", type=int, metavar="VALUE", help="the pixel value that is not counted")
    command.add_argument("--trimap-border", choices=("ignore", "class"), default="ignore")
    command.add_argument("--on-bad-sample", choices=("fail", "skip"), default="fail")
    command.add_argument("--pictures", type=_positive, metavar="COUNT", help="read so many (default: all up to 20,000)")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    command.set_defaults(run=check)


def _said_as(parse: Callable[[str], object]) -> Callable[[str], object]:
    """As an argument's type: what `parse` says of a wrong value is shown, which argparse otherwise keeps to itself."""

    def convert(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("ML_ROOT"),
        help="stands for /opt/ml (default: ML_ROOT, else /opt/ml)",
    )
