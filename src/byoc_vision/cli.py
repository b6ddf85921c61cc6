"""The command line: `byoc-vision COMMAND`. A command is two functions: its arguments, and what it runs."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from byoc_vision import __version__
from byoc_vision.arguments import INTERRUPTED, Command, Parser, argument, positive
from byoc_vision.data.command import DATA_CHOICES, DATA_COMMANDS, choice_arguments
from byoc_vision.describe.command import add_describe, add_hyperparameters
from byoc_vision.errors import InputError, UserError
from byoc_vision.export.formats import FORMATS
from byoc_vision.inference.options import LARGEST_TILE, PRECISIONS, SMALLEST_TILE, VIEWS, parse_threshold, parse_tile
from byoc_vision.logs import set_up_logging
from byoc_vision.paths import MlPaths
from byoc_vision.system.machine import sleep_between_regions

if TYPE_CHECKING:
    from byoc_vision.inference.files import FileOutcome

# Commands import what they need when they run, so that `--help` is fast and serving never imports training.

TRAIN_OPTIONS = ("--root", "--output")

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (see errors.py)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    set_up_logging()
    try:
        settings: dict[str, str] = {}
        if given[:1] == ["train"] and given[1:]:
            from byoc_vision.hyperparameters.command_line import split_hyperparameters

            given[1:], settings = split_hyperparameters(given[1:], TRAIN_OPTIONS)
        options = _parser().parse_args(given)
        options.hyperparameters = settings
        return int(options.run(options))
    except UserError as error:
        logger.error("%s: %s", error.category, error)
        return error.exit_code
    except KeyboardInterrupt:
        logger.error("Interrupted")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="byoc-vision", description="Train and serve segmentation and classification models.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.help)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    add_describe(commands)
    add_hyperparameters(commands)
    return parser


# train, serve


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Within the context SIGTERM ends the process at once, until something else handles it.

    As process 1 the kernel would ignore it while Python imports.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # as shells report such a process
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _train_arguments(command: argparse.ArgumentParser) -> None:
    data = "a folder of images: class folders, images/ and masks/, … (default: the channels below ROOT)"
    command.add_argument("data", type=Path, nargs="?", metavar="DATA", help=data)
    output = "where model, metrics and checkpoints of a job on DATA go (default: DATA-job, beside it)"
    command.add_argument("--output", type=Path, metavar="JOB", help=output)
    _root_argument(command)
    command.epilog = "Hyperparameters: epochs=3 or --epochs 3; docs/hyperparameters.md lists them."


def _root_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("ML_ROOT"),
        help="used instead of /opt/ml (default: ML_ROOT, else /opt/ml)",
    )


def train(options: argparse.Namespace) -> int:
    sleep_between_regions()
    with _ended_by_sigterm():
        from byoc_vision.training.main import train_job

        if options.data is None:
            if options.output:
                raise InputError(
                    "--output is for `byoc-vision train DATA`; with --root everything is written below ROOT"
                )
            return train_job(MlPaths.from_environment(options.root), given=options.hyperparameters)
        from byoc_vision.launch.local_job import local_paths

        return train_job(local_paths(options.data, options.output), options.data, options.hyperparameters)


def _serve_arguments(command: argparse.ArgumentParser) -> None:
    _root_argument(command)
    command.add_argument("--port", type=int, help="default: SAGEMAKER_BIND_TO_PORT, else 8080")


def serve(options: argparse.Namespace) -> int:
    with _ended_by_sigterm():
        from byoc_serve.run import serve as run_server

        return run_server(MlPaths.from_environment(options.root), options.port)


# predict, explain


def _predict_arguments(command: argparse.ArgumentParser) -> None:
    _model_and_output_arguments(command)
    command.add_argument("--palette", action="store_true", help="give masks the colours of their classes")
    command.add_argument("--overlay", action="store_true", help="also draw each mask over its image")
    command.add_argument(
        "--tile",
        type=argument(parse_tile),
        metavar="auto|PIXELS",
        help="predict large images in full detail, in overlapping tiles whose longer side has this many pixels "
        f"({SMALLEST_TILE}–{LARGEST_TILE}); auto: the model's input size (default: the whole image, resized)",
    )
    tta = "average over the image and its mirror image, or over all four"
    command.add_argument("--tta", choices=VIEWS, default="none", help=tta)
    command.add_argument(
        "--threshold",
        type=argument(parse_threshold),
        metavar="PROBABILITY",
        help="above which a class counts as present, for models with a threshold (default: the model's own)",
    )
    _precision_argument(command, "auto", "auto, the fastest here, as a server")
    _files_argument(command)


def predict(options: argparse.Namespace) -> int:
    from byoc_vision.inference.files import check_output, find_images, predict_files
    from byoc_vision.inference.passes import InferenceOptions
    from byoc_vision.inference.predictor import Predictor

    check_output(options.output)
    images = find_images(options.files)
    predictor = Predictor.load(options.model, precision=options.precision)
    inference = InferenceOptions(options.tile, options.tta, options.threshold)
    failed = _log_outcomes(
        predict_files(predictor, images, options.output, options.overlay, inference, palette=options.palette)
    )
    logger.info("Predicted %d of %d images; results: %s", len(images) - failed, len(images), options.output)
    return 3 if failed else 0


def _explain_arguments(command: argparse.ArgumentParser) -> None:
    _model_and_output_arguments(command)
    command.add_argument("--class", dest="class_name", metavar="NAME", help="default: each image's likeliest class")
    _files_argument(command)


def explain(options: argparse.Namespace) -> int:
    from byoc_vision import artifact
    from byoc_vision.inference.explaining import Explainer, check_can_explain
    from byoc_vision.inference.files import explain_files, find_images
    from byoc_vision.inference.predictor import Predictor

    images = find_images(options.files)
    with artifact.opened(options.model) as folder:
        check_can_explain(artifact.read_config(folder))
        explainer = Explainer(Predictor.load(folder, engine="torch"))
    return 3 if _log_outcomes(explain_files(explainer, images, options.output, options.class_name)) else 0


def _model_and_output_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", type=Path, required=True, metavar="DIR_OR_TARBALL")
    command.add_argument("--output", type=Path, required=True, metavar="DIR")


def _precision_argument(command: argparse.ArgumentParser, default: str, why: str) -> None:
    command.add_argument("--precision", choices=PRECISIONS, default=default, help=f"of inference (default: {why})")


def _files_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="images, or folders of images")


def _log_outcomes(outcomes: Iterable[FileOutcome]) -> int:
    """Log each image's result; returns the number of failed images."""
    failed = 0
    for outcome in outcomes:
        if outcome.error:
            failed += 1
            logger.error(outcome.error)
        else:
            note = f": {outcome.note}" if outcome.note else ""
            logger.info("%s%s → %s", outcome.source, note, outcome.written)
    return failed


# evaluate, report


def _evaluate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("places", type=Path, nargs="*", metavar="MODEL DATA", help="a folder or tarball; a folder")
    command.add_argument("--model", type=Path, metavar="DIR_OR_TARBALL", help="instead of MODEL")
    data = "instead of DATA: class folders, images/ and masks/, …"
    command.add_argument("--data", type=Path, metavar="DIR", help=data)
    output = "also write metrics, tables, images and report.html there; to a FILE.json the metrics alone"
    command.add_argument("--output", type=Path, metavar="DIR", help=output)
    command.add_argument("--batch-size", type=positive, default=16)
    ignored = "a value in masks that does not count"
    command.add_argument("--ignore-index", type=int, choices=range(256), metavar="VALUE", help=ignored)
    choice_arguments(command)
    _precision_argument(command, "float32", "float32: metrics must not depend on which precision is fastest here")


def evaluate(options: argparse.Namespace) -> int:
    from byoc_vision.data.samples import DataOptions

    model, data = _model_and_data(options)
    output: Path | None = options.output
    choices = DataOptions(**{name: getattr(options, name) for name in DATA_CHOICES}, ignore_index=options.ignore_index)
    if output is None or output.suffix == ".json" or output.is_file():
        from byoc_vision.evaluation.evaluator import evaluate_folder

        metrics = evaluate_folder(model, data, options.batch_size, options.precision, choices)
    else:
        from byoc_vision.evaluation.evaluator import report_on_folder

        metrics = report_on_folder(model, data, output, options.batch_size, options.precision, choices)
        output = None
        logger.info("Report: %s", options.output / "report.html")
    text = json.dumps(metrics, indent=2)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


def _model_and_data(options: argparse.Namespace) -> tuple[Path, Path]:
    """From their options, or by position. Raises InputError if one is missing."""
    places: list[Path] = list(options.places)
    named: list[Path | None] = [options.model, options.data]
    found = [path or (places.pop(0) if places else None) for path in named]
    if found[0] is None or found[1] is None or places:
        raise InputError("name one model and one folder: byoc-vision evaluate MODEL DATA [--output DIR]")
    return found[0], found[1]


def _report_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("jobs", type=Path, nargs="+", metavar="DIR", help="a job's output/data, or its output.tar.gz")
    default = "default: report.html in DIR or beside the archive; comparison.html here for several jobs"
    command.add_argument("--output", type=Path, metavar="FILE", help=default)


def report(options: argparse.Namespace) -> int:
    from byoc_vision.report.page import report_on

    logger.info("Wrote %s", report_on(options.jobs, options.output))
    return 0


# tune


def _tune_arguments(command: argparse.ArgumentParser) -> None:
    recipe = "a hyperparameters.json, its folder, or segmentation or classification"
    command.add_argument("--recipe", required=True, help=recipe)
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="as for `check`")
    command.add_argument("--trials", type=positive, default=20, metavar="COUNT", help="in total (default: 20)")
    command.add_argument("--metric", help="such as validation:f1 (default: the job's objective)")
    keep = "a hyperparameter that stays fixed; may be repeated"
    command.add_argument("--keep", action="append", default=[], metavar="NAME", help=keep)
    output = "a new or empty folder, or that of a search to resume"
    command.add_argument("--output", type=Path, default=Path("tuning"), metavar="DIR", help=output)
    processes = "trials in parallel (default: one for each GPU)"
    command.add_argument("--processes", type=positive, metavar="COUNT", help=processes)
    command.add_argument("--timeout", type=positive, metavar="MINUTES", help="after which no trial starts")
    command.add_argument("--seed", type=int, default=0, help="of the proposals")


def tune(options: argparse.Namespace) -> int:
    from byoc_vision.tuning.search import SearchBudget
    from byoc_vision.tuning.search import tune as search

    budget = SearchBudget(options.trials, options.processes, options.timeout, options.seed)
    try:
        return search(options.recipe, options.data, options.output, budget, options.metric, options.keep)
    except KeyboardInterrupt:  # before the first trial, or after the last
        logger.error("Interrupted; the same command resumes the search")
        return INTERRUPTED


# export


def _export_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="DIR_OR_TARBALL")
    command.add_argument("--format", choices=FORMATS, required=True)
    command.add_argument("--output", type=Path, metavar="DIR", help="new or empty (default: MODEL-FORMAT)")


def export(options: argparse.Namespace) -> int:
    from byoc_vision.export.export import export_model

    folder, comparison = export_model(options.model, options.format, options.output)
    logger.info("Wrote %s: %s", folder, ", ".join(sorted(path.name for path in folder.iterdir())))
    logger.info("Its logits differ by at most %.1g of their standard deviation", comparison.share)
    return 0


COMMANDS = {
    "train": Command("train on a folder of images, or on the channels below ROOT/input/data", _train_arguments, train),
    "serve": Command("serve ROOT/model over HTTP", _serve_arguments, serve),
    "predict": Command("predict masks or class probabilities of images", _predict_arguments, predict),
    "evaluate": Command("measure a model on labelled images", _evaluate_arguments, evaluate),
    "explain": Command("draw over images what supports a classifier's prediction", _explain_arguments, explain),
    "report": Command("report on a job in one HTML file, or compare several", _report_arguments, report),
    "tune": Command("search for better hyperparameters by training many jobs", _tune_arguments, tune),
    "export": Command("write a model in another runtime's format, and compare their predictions",
                      _export_arguments, export),
    **DATA_COMMANDS,
}  # fmt: skip
