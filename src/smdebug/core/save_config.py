"""At which steps values are kept. Without a configuration of the script's own: at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from smdebug.core.modes import ModeKeys


@dataclass
class SaveConfigMode:
    """Every `save_interval` steps from `start_step` to before `end_step`; or `save_steps` alone."""

    save_interval: int | None = None
    start_step: int | None = None
    end_step: int | None = None
    save_steps: Iterable[int] | None = None

    def should_save_step(self, step: int) -> bool:
        if self.save_steps:
            return step in self.save_steps
        started = step >= (self.start_step or 0)
        return started and (self.end_step is None or step < self.end_step) and step % (self.save_interval or 1) == 0


class SaveConfig:
    """A configuration for all modes, or one for each: `SaveConfig({modes.TRAIN: SaveConfigMode(save_interval=1)})`."""

    def __init__(
        self,
        save_interval: int | Mapping[ModeKeys, SaveConfigMode] | None = None,
        start_step: int | None = None,
        end_step: int | None = None,
        save_steps: Iterable[int] | None = None,
        mode_save_configs: Mapping[ModeKeys, SaveConfigMode] | None = None,
    ) -> None:
        if isinstance(save_interval, Mapping):
            mode_save_configs, save_interval = save_interval, None
        self.mode_save_configs = dict(mode_save_configs or {})
        self._default = SaveConfigMode(save_interval, start_step, end_step, save_steps)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> SaveConfig:
        """As `HookParameters` of debughookconfig.json: texts, for all modes, or for one as `train.save_interval`."""
        names = ("save_interval", "start_step", "end_step", "save_steps")

        def read(prefix: str) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for name in names:
                text = str(given.get(prefix + name, "")).strip()
                if text:
                    values[name] = [int(part) for part in text.split(",")] if name == "save_steps" else int(text)
            return values

        common = read("")
        modes = {mode: read(f"{mode.name.lower()}.") for mode in ModeKeys}
        return cls(
            **common,
            mode_save_configs={mode: SaveConfigMode(**{**common, **own}) for mode, own in modes.items() if own},
        )

    def should_save_step(self, mode: ModeKeys, step: int) -> bool:
        return self.mode_save_configs.get(mode, self._default).should_save_step(step)
