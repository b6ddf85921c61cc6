"""OpenVINO, on a CPU: one and a half to several times as fast as PyTorch there, and ready in a fraction of a second.

It computes in bfloat16 where the processor does (AMX), in float32 elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byoc_vision.machine import available_cores
from byoc_vision.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino

# Pinned threads would wait for their own core while pictures are decoded on it.
_OPTIONS: dict[str, Any] = {"ENABLE_CPU_PINNING": False}
_TOGETHER = _OPTIONS | {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
_APART = _OPTIONS | {"PERFORMANCE_HINT": "THROUGHPUT"}
_PRECISIONS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


class OpenVinoEngine:
    """A network as `to_openvino` made it: uint8 [N, h, w, 3] in, float32 logits out.

    All cores work on one picture together, or, with several `lanes`, on so many pictures apart. Together a lone picture
    is answered soonest. Apart they do not wait for each other after each layer, which costs most where one of them is
    taken away to decode the next picture: a third more pictures a second on two cores. It takes the memory of the
    network once more.
    """

    device = "cpu"

    def __init__(self, model: openvino.Model | Path, threads: int | None = None, lanes: int = 1) -> None:
        """
        model: or the path of its .xml, with the .bin beside it; its weights are mapped, not read.
        threads: by default one for each core.
        lanes: how many pictures are computed apart; see `choose_lanes`.
        """
        openvino = import_openvino()
        core = openvino.Core()
        cores = {"INFERENCE_NUM_THREADS": threads or available_cores()}
        compiled = core.compile_model(model, "CPU", _TOGETHER | cores)
        self._precision: str = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self._request = compiled.create_infer_request()
        self._lanes = None
        if lanes > 1:
            apart = core.compile_model(model, "CPU", _APART | cores | {"NUM_STREAMS": lanes})
            self._lanes = openvino.AsyncInferQueue(apart, lanes)

    @property
    def name(self) -> str:
        return f"OpenVINO {_PRECISIONS.get(self._precision, self._precision)}"

    @property
    def exact(self) -> bool:
        """Whether it computes in float32."""
        return self._precision == "f32"

    @property
    def lanes(self) -> int:
        return 1 if self._lanes is None else len(self._lanes)

    def run(self, pictures: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        if 1 < self.lanes <= len(pictures):
            return self._run_apart(pictures)
        # share_inputs: no copy on the way in; what comes out is a copy, since the next batch overwrites it.
        results = self._request.infer([pictures], share_inputs=True, share_outputs=False)
        logits: np.ndarray = results[0]
        return logits

    def _run_apart(self, pictures: np.ndarray) -> np.ndarray:
        assert self._lanes is not None
        found: list[np.ndarray] = [pictures] * len(pictures)

        def keep(request: openvino.InferRequest, index: int) -> None:
            found[index] = request.get_output_tensor(0).data.copy()  # the lane's next picture overwrites it

        self._lanes.set_callback(keep)
        for index in range(len(pictures)):
            self._lanes.start_async([pictures[index : index + 1]], index, share_inputs=True)
        self._lanes.wait_all()
        return np.concatenate(found)

    def warm_up(self, pictures: np.ndarray) -> None:
        """Kernels are made for each number of pictures when it comes first."""
        most = self.lanes if self.lanes > 1 else len(pictures)
        for count in range(1, min(len(pictures), most) + 1):
            self.run(pictures[:count])


def choose_lanes(threads: int) -> int:
    """How many pictures to compute apart on so many cores: a core each up to four, then some cores each.

    Batches of fewer pictures are computed together, so that they keep all cores busy too.
    """
    return min(threads, max(4, threads // 4))
