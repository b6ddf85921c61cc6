"""A job's values by name, mode and step: what the notebooks of SageMaker Debugger plot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from smdebug.core.collection import Collection
from smdebug.core.missing import refuse
from smdebug.core.modes import ModeKeys
from smdebug.core.records import Value, read_values
from smdebug.exceptions import StepUnavailable, TensorUnavailable, TensorUnavailableForStep
from smdebug.pytorch.hook import SCALAR_PREFIX


def create_trial(path: str | Path, name: str | None = None, **ignored: Any) -> LocalTrial:
    """The values below a folder, such as a job's output/data, or in its output.tar.gz."""
    return LocalTrial(path, name)


class Tensor:
    """The values of one name, by step. Without a mode steps are those of all modes together."""

    def __init__(self, name: str, values: Iterable[Value]) -> None:
        self.name = name
        self._values = list(values)

    def steps(self, mode: ModeKeys = ModeKeys.GLOBAL, show_incomplete_steps: bool = False) -> list[int]:
        return sorted(self._by_step(mode))

    def value(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> Any:
        """Raises StepUnavailable if nothing was recorded at the step, TensorUnavailableForStep for another mode's."""
        found = self._by_step(mode)
        if step_num in found:
            return np.float64(found[step_num])
        if mode is not ModeKeys.GLOBAL and not found:
            raise TensorUnavailableForStep(f"{self.name} was not recorded in the mode {mode.name}")
        raise StepUnavailable(f"{self.name} was not recorded at step {step_num}; its steps are {sorted(found)[:10]} …")

    def values(self, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> dict[int, Any]:
        return {step: np.float64(value) for step, value in self._by_step(mode).items()}

    def prev_steps(self, step: int, n: int | None, mode: ModeKeys = ModeKeys.GLOBAL) -> list[int]:
        """The last n steps up to a step, the latest first; all of them if n is None."""
        return [earlier for earlier in reversed(self.steps(mode)) if earlier <= step][:n]

    def __getattr__(self, name: str) -> None:
        refuse("Tensor", name)

    def _by_step(self, mode: ModeKeys) -> dict[int, float]:
        if mode is ModeKeys.GLOBAL:
            return {value.global_step: value.value for value in self._values}
        return {value.step: value.value for value in self._values if value.mode == mode.name}


class LocalTrial:
    """Read once; `wait_for_steps` and the like have nothing to wait for."""

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        self.path = str(path)
        self.name = name or Path(path).name
        self._values = read_values(path)
        self.loaded_all_steps = True

    def tensor_names(
        self,
        *,
        step: int | None = None,
        mode: ModeKeys = ModeKeys.GLOBAL,
        regex: str | Iterable[str] | None = None,
        collection: Any = None,
        show_prefixes: bool = True,
    ) -> list[str]:
        """Sorted. regex: one of these matches the name's beginning. collection: its name, or an object that has one."""
        patterns = [regex] if isinstance(regex, str) else list(regex or [""])
        wanted = getattr(collection, "name", collection)
        return sorted(
            {
                value.name
                for value in self._values
                if (mode is ModeKeys.GLOBAL or value.mode == mode.name)
                and (step is None or (value.global_step if mode is ModeKeys.GLOBAL else value.step) == step)
                and (wanted is None or value.collection == wanted)
                and any(re.match(pattern, value.name) for pattern in patterns)
            }
        )

    def tensor(self, tname: str) -> Tensor:
        """A scalar may be named without `scalar/`. Raises TensorUnavailable, which lists the names."""
        for name in (tname, SCALAR_PREFIX + tname):
            if found := [value for value in self._values if value.name == name]:
                return Tensor(name, found)
        raise TensorUnavailable(f"{tname} was not recorded; recorded are {', '.join(self.tensor_names())}")

    def has_tensor(self, tname: str) -> bool:
        return tname in self.tensor_names() or SCALAR_PREFIX + tname in self.tensor_names()

    def steps(self, mode: ModeKeys = ModeKeys.GLOBAL, show_incomplete_steps: bool = False) -> list[int]:
        if mode is ModeKeys.GLOBAL:
            return sorted({value.global_step for value in self._values})
        return sorted({value.step for value in self._values if value.mode == mode.name})

    def modes(self) -> list[ModeKeys]:
        return [mode for mode in ModeKeys if any(value.mode == mode.name for value in self._values)]

    def mode(self, global_step: int) -> ModeKeys:
        """Raises StepUnavailable, as the next two do."""
        return ModeKeys[self._at(global_step).mode]

    def mode_step(self, global_step: int) -> int:
        return self._at(global_step).step

    def global_step(self, mode: ModeKeys, mode_step: int) -> int:
        for value in self._values:
            if (value.mode, value.step) == (mode.name, mode_step):
                return value.global_step
        raise StepUnavailable(f"nothing was recorded at step {mode_step} of the mode {mode.name}")

    def collections(self) -> dict[str, Collection]:
        return {name: self.collection(name) for name in sorted({value.collection for value in self._values})}

    def collection(self, coll_name: str) -> Collection:
        return Collection(coll_name, tensor_names=set(self.tensor_names(collection=coll_name)))

    def _at(self, global_step: int) -> Value:
        for value in self._values:
            if value.global_step == global_step:
                return value
        raise StepUnavailable(f"nothing was recorded at step {global_step}")

    def __getattr__(self, name: str) -> None:
        refuse("Trial", name)

    def wait_for_steps(self, required_steps: Iterable[int], mode: ModeKeys = ModeKeys.GLOBAL) -> None:
        """The values are those that were there when the trial was created."""
