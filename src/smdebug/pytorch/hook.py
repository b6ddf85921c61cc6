"""What a training script registers, and what writes its values."""

from __future__ import annotations

import atexit
import json
import logging
import os
from pathlib import Path
from typing import Any

from smdebug.core.collection import Collection, CollectionKeys
from smdebug.core.missing import refuse
from smdebug.core.modes import ModeKeys
from smdebug.core.records import Value, to_line
from smdebug.core.save_config import SaveConfig

CONFIG_VARIABLE = "SMDEBUG_CONFIG_FILE_PATH"
CONFIG_FILE = Path("/opt/ml", "input/config/debughookconfig.json")
SCALAR_PREFIX = "scalar/"
# Values stay on the device until so many have gathered: to fetch a loss at each step would make a GPU wait each time.
FLUSH_VALUES = 200

logger = logging.getLogger("smdebug")


class Hook:
    """Records the outputs of the losses that are registered, and scalars, each in the mode that is set.

    Args:
        out_dir: where the values go; by default `smdebug` in the job's output, which SageMaker uploads.
        save_config: at which steps; by default at all.
        include_workers: `one`: only the first process of the job records; `all`: every one.
        dry_run: nothing is written.
        ignored: what the library took besides, such as `reduction_config` and `save_all`.
    """

    def __init__(
        self,
        out_dir: str | os.PathLike[str] | None = None,
        *_: Any,
        save_config: SaveConfig | None = None,
        include_workers: str = "one",
        dry_run: bool = False,
        **ignored: Any,
    ) -> None:
        rank = int(os.environ.get("RANK", "0"))
        self.out_dir = str(out_dir or Path(os.environ.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"), "smdebug"))
        self.worker = f"{os.environ.get('SM_CURRENT_HOST', 'worker')}-{rank}"
        self.mode = ModeKeys.GLOBAL
        self.step = -1
        self.mode_steps = dict.fromkeys(ModeKeys, -1)
        self.save_config = save_config or SaveConfig()
        self._records = not dry_run and (rank == 0 or include_workers == "all")
        self._counts_at_loss = True
        self._collections: dict[str, Collection] = {}
        self._pending: list[Value] = []
        self._handles: list[Any] = []
        self._registered: list[Any] = []
        if rank == 0:
            logger.warning(
                "smdebug: SageMaker Debugger is retired; this image's stand-in records losses and scalars in %s",
                self.out_dir,
            )
        atexit.register(self.close)

    @classmethod
    def create_from_json_file(cls, json_file_path: str | None = None) -> Hook:
        """With the configuration that SageMaker writes; with defaults if it writes none."""
        file = Path(json_file_path or os.environ.get(CONFIG_VARIABLE) or CONFIG_FILE)
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        parameters = config.get("HookParameters") or {}
        hook = cls(
            config.get("LocalPath"),
            save_config=SaveConfig.from_dict(parameters),
            include_workers=parameters.get("include_workers", "one"),
        )
        set_hook(hook)
        return hook

    hook_from_config = create_from_json_file

    def register_module(self, module: Any) -> None:
        """Its forward passes count the steps."""
        if self._is_new(module):
            self._counts_at_loss = False
            self._handles.append(module.register_forward_pre_hook(lambda *_: self._begin_step()))

    register_hook = register_module

    def register_loss(self, loss_module: Any) -> None:
        """Its outputs are recorded as `NAME_output_0`, NAME being its class. Raises TypeError for a function."""
        if not hasattr(loss_module, "register_forward_hook"):
            raise TypeError(
                f"register_loss takes a module, such as nn.CrossEntropyLoss(), not {loss_module!r}; for a function, "
                'call record_tensor_value("loss", loss) at each step'
            )
        if not self._is_new(loss_module):
            return
        name = f"{type(loss_module).__name__}_output_0"

        def record(module: Any, inputs: Any, output: Any) -> None:
            if self._counts_at_loss:
                self._begin_step()
            self._record(name, CollectionKeys.LOSSES, output)

        self._handles.append(loss_module.register_forward_hook(record))

    def set_mode(self, mode: ModeKeys) -> None:
        if not isinstance(mode, ModeKeys):
            raise ValueError(f"{mode!r} is not a mode; take smdebug.pytorch.modes.TRAIN, EVAL or PREDICT")
        self.mode = mode

    def save_scalar(self, name: str, value: Any, sm_metric: bool = False, timestamp: float | None = None) -> None:
        """Recorded as `scalar/NAME`. sm_metric: also as a line of the log, for metric definitions."""
        self._record(SCALAR_PREFIX + name, CollectionKeys.SCALARS, value)
        if sm_metric:
            print(f"{name}={float(value):.6g}", flush=True)

    def record_tensor_value(self, tensor_name: str, tensor_value: Any) -> None:
        """A loss that is a function, not a module."""
        if self._counts_at_loss:
            self._begin_step()
        self._record(tensor_name, CollectionKeys.LOSSES, tensor_value)

    def save_tensor(
        self, tensor_name: str, tensor_value: Any, collections_to_write: Any = CollectionKeys.DEFAULT
    ) -> None:
        """A tensor of one number is recorded as a scalar; larger ones are not recorded."""
        if getattr(tensor_value, "size", 1) == 1 or getattr(tensor_value, "numel", lambda: 0)() == 1:
            self._record(tensor_name, CollectionKeys.SCALARS, tensor_value)

    def get_collection(self, name: str) -> Collection:
        return self._collections.setdefault(name, Collection(name))

    def get_collections(self) -> dict[str, Collection]:
        return dict(self._collections)

    def add_collection(self, collection: Collection) -> None:
        self._collections[collection.name] = collection

    def has_default_hook_configuration(self) -> bool:
        return not self._collections

    def remove_module_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._registered.clear()

    def close(self) -> None:
        """Write what is left. Called at the end of the process, too."""
        self._flush()

    cleanup = _cleanup = close

    def __getattr__(self, name: str) -> None:
        refuse("Hook", name)

    def _is_new(self, module: Any) -> bool:
        """Whether it is registered for the first time: a second one would count each step twice."""
        if any(module is other for other in self._registered):
            return False
        self._registered.append(module)
        return True

    def _begin_step(self) -> None:
        self.step += 1
        self.mode_steps[self.mode] += 1

    def _record(self, name: str, collection: str, value: Any) -> None:
        step = max(0, self.mode_steps[self.mode])
        if not self._records or not self.save_config.should_save_step(self.mode, step):
            return
        kept = value.detach() if hasattr(value, "detach") else value
        self._pending.append(Value(name, collection, self.mode.name, step, max(0, self.step), kept))
        if len(self._pending) >= FLUSH_VALUES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        lines = [to_line(entry._replace(value=_number(entry.value))) for entry in self._pending]
        self._pending.clear()
        folder = Path(self.out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"scalars-{self.worker}.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(lines)


def _number(value: Any) -> float:
    """Of a loss without reduction, the mean."""
    return float(value.float().mean()) if hasattr(value, "numel") and value.numel() != 1 else float(value)


_hook: Hook | None = None


def get_hook(json_config_path: str | None = None, create_if_not_exists: bool = False) -> Hook | None:
    """The hook of this process; None if there is none and it may not be created."""
    if _hook is None and create_if_not_exists:
        Hook.create_from_json_file(json_config_path)
    return _hook


def set_hook(hook: Hook) -> None:
    global _hook
    _hook = hook


def del_hook() -> None:
    global _hook
    _hook = None
