"""The functions of a user's script, as SageMaker's inference toolkit for PyTorch calls them, with its defaults.

They are called in one thread, one request after the other, as the toolkit's own servers do.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured

from byoc_serve.batch import in_halves
from byoc_serve.request import media_type_of
from byoc_serve.scripts import codecs
from byoc_serve.scripts.context import Context
from byoc_serve.scripts.refusals import as_refusals
from byoc_serve.scripts.source import Script
from byoc_serve.service import EncodedResponse
from byoc_serve.settings import Settings
from byoc_vision.errors import InputError, UserError
from byoc_vision.system.machine import available_cores, share_of_cores
from byoc_vision.system.memory import is_out_of_memory

BATCHING = "BATCHING"  # a script that sets it to True has a predict_fn for lists
TORCHSCRIPT = "model.pt"
_DEFAULT_ACCEPTS = ("", "*/*")

_ARGUMENTS = {
    "model_fn": ("model_dir",),
    "input_fn": ("request_body", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "request_body", "content_type", "accept"),
}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_this_thread = local()

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScriptRequest:
    """What a script can see of a request."""

    body: bytes
    content_type: str | None = None
    accept: str | None = None
    id: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Handlers:
    """A script that is loaded, and its model.

    Args:
        script: which one.
        default_accept: for requests that state no preference.
        max_pixels: of an image that is decoded for the script.
        gpu: for `context.system_properties`; None without one.

    Raises:
        InputError: the script lacks a function that is needed, or one takes the wrong number of arguments.
        Exception: whatever the script raises.
    """

    def __init__(self, script: Script, default_accept: str, max_pixels: int, gpu: int | None = None) -> None:
        self.script = script
        self._default_accept = default_accept
        self._max_pixels = max_pixels
        self._gpu = gpu
        module = import_script(script)
        functions = {name: getattr(module, name, None) for name in _ARGUMENTS}
        if functions["transform_fn"] and any(functions[name] for name in ("input_fn", "predict_fn", "output_fn")):
            raise InputError(
                f"{script.program}: transform_fn replaces input_fn, predict_fn and output_fn; remove it or the others"
            )
        self._functions = {
            name: _Function(script, name, function) for name, function in functions.items() if function is not None
        }
        self.takes_lists = bool(getattr(module, BATCHING, False))
        if self.takes_lists and "predict_fn" not in self._functions:
            raise InputError(f"{script.program}: {BATCHING} is for a script with predict_fn; remove it")
        self._model = self._load()
        self._torch = sys.modules.get("torch")
        if self._torch is not None:
            self._torch.get_num_threads()  # from now on this thread keeps its number, whatever others choose

    def __str__(self) -> str:
        names = [name for name in _ARGUMENTS if name in self._functions]
        return f"{self.script.program} ({', '.join(names) or 'defaults'}{', batching' if self.takes_lists else ''})"

    def respond(self, request: ScriptRequest) -> EncodedResponse:
        """All of a request. Raises RequestError for what the script refuses, and what it raises otherwise."""
        context = self._context(request)
        if "transform_fn" in self._functions:
            with as_refusals("transform_fn"):
                body = _as_text(request)
                arguments = (self._model, body, request.content_type, self._accept(request))
                result = self._functions["transform_fn"](arguments, context)
            return self._response("transform_fn", result, request, context)
        data = self._read(request, context)
        (prediction,) = self._predict([data], context)
        return self.write(prediction, request, context)

    def read(self, request: ScriptRequest) -> tuple[Any, Context]:
        """A request's body as `input_fn` returns it, and the request's context."""
        context = self._context(request)
        return self._read(request, context), context

    def predict(self, batch: Sequence[Any]) -> Sequence[Any]:
        """The predictions for a batch of what `read` returned, in order; for scripts that take lists."""
        return self._predict(list(batch), self._context(ScriptRequest(b"")))

    def write(self, prediction: Any, request: ScriptRequest, context: Context) -> EncodedResponse:
        """A prediction as a response."""
        with as_refusals("output_fn"):
            accept = self._accept(request)
            if "output_fn" in self._functions:
                result = self._functions["output_fn"]((prediction, accept), context)
            else:
                result = codecs.encode(_to_array(prediction), accept)
        return self._response("output_fn", result, request, context)

    def respond_all(self, requests: Sequence[ScriptRequest]) -> list[EncodedResponse | Exception]:
        """The responses to requests that came together; for one that fails its exception."""
        if not self.takes_lists:
            return [_attempt(self.respond, request) for request in requests]
        with ThreadPoolExecutor(available_cores(), initializer=self.use_one_torch_thread) as pool:
            read = list(pool.map(lambda request: _attempt(self.read, request), requests))
            predictions = self._predict_in_halves([one[0] for one in read if not isinstance(one, Exception)])
            predicted = [one if isinstance(one, Exception) else next(predictions) for one in read]

            def write(request: ScriptRequest, one: Any, prediction: Any) -> EncodedResponse | Exception:
                if isinstance(prediction, Exception):
                    return prediction
                return _attempt(self.write, prediction, request, one[1])

            return list(pool.map(write, requests, read, predicted))

    def _predict_in_halves(self, batch: list[Any]) -> Iterator[Any]:
        """As `predict`, with the exception in the place of the prediction for each one at fault."""
        for _, predictions in in_halves(batch, self.predict) if batch else ():
            yield from [predictions] if isinstance(predictions, Exception) else predictions

    def use_one_torch_thread(self) -> None:
        """For this thread, one of several that compute at once: each would otherwise have as many as there are cores,
        and the model would wait for its own among them.
        """
        if self._torch is not None and not hasattr(_this_thread, "has_one"):
            self._torch.set_num_threads(1)
            _this_thread.has_one = True

    def use_openvino(self, threads: int) -> None:
        """Have the script's model compute with OpenVINO where it can; see `openvino_forward`."""
        from byoc_serve.scripts.openvino_forward import use_openvino

        use_openvino(self._model, threads, batches=self.takes_lists)

    def abort(self) -> None:
        """End a call that hangs: Python cannot stop a thread, so that the process has to end."""
        os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None:
        """To be called last, in the thread that called the functions."""
        if hasattr(_this_thread, "loop"):
            _this_thread.loop.close()
            del _this_thread.loop

    def _load(self) -> Any:
        function = self._functions.get("model_fn")
        if function:
            return function((str(self.script.model),), self._context(ScriptRequest(b"")))
        return _load_torchscript(self.script)

    def _read(self, request: ScriptRequest, context: Context) -> Any:
        with as_refusals("input_fn"):
            body = _as_text(request)
            if "input_fn" in self._functions:
                return self._functions["input_fn"]((body, request.content_type), context)
            data = codecs.decode(body, request.content_type, self._max_pixels)
            media_type = media_type_of(request.content_type)
            return data if codecs.is_image(media_type) else _to_tensor(data, media_type)

    def _predict(self, batch: list[Any], context: Context) -> list[Any]:
        with as_refusals("predict_fn"):
            function = self._functions.get("predict_fn")
            if not self.takes_lists:
                call = function or _forward
                return [call((data, self._model), context) for data in batch]
            assert function is not None
            predictions = list(function((batch, self._model), context))
        if len(predictions) != len(batch):
            raise RuntimeError(f"predict_fn got a list of {len(batch)} and returned {len(predictions)} predictions")
        return predictions

    def _accept(self, request: ScriptRequest) -> str:
        accept = (request.accept or "").strip()
        return self._default_accept if accept in _DEFAULT_ACCEPTS else accept

    def _context(self, request: ScriptRequest) -> Context:
        return Context(self.script.model, self._gpu, request.id, request.headers)

    def _response(self, name: str, result: Any, request: ScriptRequest, context: Context) -> EncodedResponse:
        """What a function returned: a body, or a tuple of a body and its media type."""
        media_type = context.content_type or self._accept(request)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
            result, media_type = result
        return EncodedResponse(_to_bytes(name, result), media_type, context.status, context.response_headers or None)


class _Function:
    """A function of the script: called with the context if it takes one more argument, awaited if it is `async`."""

    def __init__(self, script: Script, name: str, function: Callable[..., Any]) -> None:
        self._function = function
        expected = _ARGUMENTS[name]
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
        positional = sum(kind in _POSITIONAL for kind in kinds)
        takes_any = inspect.Parameter.VAR_POSITIONAL in kinds
        self._takes_context = takes_any or positional > len(expected)
        if not takes_any and positional not in (len(expected), len(expected) + 1):
            wanted = ", ".join(expected)
            raise InputError(
                f"{script.program}: {name} takes {positional} arguments; define it as {name}({wanted}) or "
                f"{name}({wanted}, context)"
            )

    def __call__(self, arguments: tuple[Any, ...], context: Context) -> Any:
        with _no_exit():
            result = self._function(*arguments, *([context] if self._takes_context else []))
            return _finish(result) if inspect.isawaitable(result) else result


def load_handlers(script: Script, settings: Settings, gpu: int | None) -> Handlers:
    """The script, loaded. Raises InputError, with its line, for whatever it raises; the log has the traceback."""
    try:
        handlers = Handlers(script, settings.default_accept, settings.max_pixels, gpu)
        if settings.engine == "openvino":
            handlers.use_openvino(share_of_cores(available_cores(), settings.workers))
        return handlers
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        logger.error("the script failed while it was loaded", exc_info=error)
        raise InputError(f"the script cannot be loaded: {describe_failure(script, error)}") from error


def import_script(script: Script) -> ModuleType:
    """The script as a module; the files beside it can be imported, here and in processes that it starts."""
    code = str(script.code)
    if code not in sys.path:
        sys.path.insert(0, code)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
    spec = importlib.util.spec_from_file_location(script.program.stem, script.program)
    if spec is None or spec.loader is None:
        raise InputError(f"{script.program} is not a Python file; name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.program.stem] = module
    with _no_exit():
        spec.loader.exec_module(module)
    return module


def describe_failure(script: Script, error: Exception) -> str:
    """An exception of a script in one line, with the innermost line of the user's own files."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).is_relative_to(script.code):
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


@contextmanager
def _no_exit() -> Iterator[None]:
    """An exit ends the request that asked for it, not the thread that all requests need."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"the script called sys.exit({error.code!r})") from error


def _finish(result: Any) -> Any:
    """The result of a coroutine. Each thread keeps its loop, for what a script opened in it."""
    if not hasattr(_this_thread, "loop"):
        _this_thread.loop = asyncio.new_event_loop()

    async def finished() -> Any:
        return await result

    return _this_thread.loop.run_until_complete(finished())


def _attempt(function: Callable[..., Result], *arguments: Any) -> Result | Exception:
    """What it returns, or the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def _as_text(request: ScriptRequest) -> bytes | str:
    """JSON and CSV are text for the script, all else bytes."""
    return request.body.decode() if media_type_of(request.content_type) in codecs.TEXTS else request.body


def _to_bytes(name: str, result: Any) -> bytes:
    if isinstance(result, bytes | bytearray | memoryview):
        return bytes(result)
    if isinstance(result, str):
        return result.encode()
    if isinstance(result, dict | list | tuple | int | float):  # as multi-model-server does
        return json.dumps(result).encode()
    raise TypeError(
        f"{name} returned {type(result).__name__}; return bytes, text, what JSON has, or a tuple (body, content_type)"
    )


def _load_torchscript(script: Script) -> Any:
    """As the toolkit for PyTorch does without `model_fn`."""
    file = script.model / TORCHSCRIPT
    if not file.is_file():
        raise InputError(f"{script.program} has no model_fn and {file} does not exist; write model_fn(model_dir)")
    import torch

    try:
        return torch.jit.load(str(file), map_location=_device()).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise InputError(
            f"{script.program} has no model_fn and {file} is not TorchScript; write model_fn(model_dir), "
            "which loads it as it was saved"
        ) from error


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _to_tensor(array: Any, media_type: str) -> Any:
    """As the toolkit for PyTorch does: numbers in text are float32. Raises ValueError for anything but numbers."""
    import torch

    if array.dtype.names:  # columns of CSV of different kinds, as the toolkit reads them
        array = structured_to_unstructured(array) if _are_numbers(array.dtype) else array
    if array.dtype.kind not in "biuf":
        raise ValueError("the body's values are not all numbers, in lists of equal length; write input_fn for others")
    tensor = torch.from_numpy(array)
    return (tensor.float() if media_type in codecs.TEXTS else tensor).to(_device())


def _are_numbers(dtype: np.dtype) -> bool:
    return all(dtype[name].kind in "biuf" for name in dtype.names or ())


def _forward(arguments: tuple[Any, Any], context: Context) -> Any:
    """What the toolkit for PyTorch does without `predict_fn`."""
    import torch

    data, model = arguments
    with torch.no_grad():
        tensor = data if isinstance(data, torch.Tensor) else torch.from_numpy(data)
        return model(tensor.to(_device()))


def _to_array(prediction: Any) -> Any:
    torch = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(prediction, torch.Tensor)
    return prediction.detach().cpu().numpy() if is_tensor else prediction
