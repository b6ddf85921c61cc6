"""`ENGINE=openvino`: which modules of a script compute with OpenVINO, and that predictions stay the module's."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from support.images import load_npy, npy
from support.scripts import serving_script, write_script
from torch import Tensor, nn

from byoc_serve.scripts.openvino_forward import MOST_SHAPES, use_openvino

COMPUTES, CANNOT = "OpenVINO computes the script's model", "PyTorch computes the script's model"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "byoc_serve.scripts.openvino_forward")
    return caplog


class Doubled(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * images.mean(dim=(2, 3))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_network_predicts_what_it_does_in_pytorch(
    log: pytest.LogCaptureFixture, mode: type[torch.no_grad], batch_size: int, batches: bool
) -> None:
    torch.manual_seed(0)
    net, images = timm.create_model("resnet10t", num_classes=5).eval(), torch.randn(3, 3, 64, 64)
    with mode():
        expected = net(images)
        use_openvino(net, threads=2, batches=batches)
        for first in (0, 0, 1):
            batch = slice(first, first + batch_size)
            torch.testing.assert_close(net(images[batch]), expected[batch], rtol=1e-3, atol=1e-4)
    assert COMPUTES in log.text
    assert "3 × 64 × 64" in log.text


def test_the_module_stays_what_it_was() -> None:
    net = timm.create_model("resnet10t", num_classes=5).eval()
    before = list(net.state_dict())
    use_openvino(net, threads=1)
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    assert type(net).__name__ == "ResNet"
    assert list(net.state_dict()) == before


def test_a_call_with_gradients_or_other_arguments_is_the_modules_own(log: pytest.LogCaptureFixture) -> None:
    class Scaled(nn.Module):
        def forward(self, images: Tensor, factor: float = 1.0) -> Tensor:
            return images * factor

    net, images = Scaled().eval(), torch.ones(1, 3, 8, 8, requires_grad=True)
    use_openvino(net, threads=1)
    net(images).sum().backward()
    assert images.grad is not None
    with torch.no_grad():
        assert net(images, factor=2.0).max() == 2
        assert net(images.double()).dtype == torch.float64
    assert not log.records


def test_a_module_whose_result_depends_on_its_input_in_python_computes_in_pytorch(
    log: pytest.LogCaptureFixture,
) -> None:
    class Branching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + 1 if images.sum() > 0 else images - 1

    net = Branching().eval()
    use_openvino(net, threads=1)
    with torch.no_grad():
        assert net(torch.ones(1, 3, 8, 8)).max() == 2
        assert net(-torch.ones(1, 3, 8, 8)).min() == -2
    assert log.text.count(CANNOT) == 1


def test_a_module_with_several_outputs_computes_in_pytorch(log: pytest.LogCaptureFixture) -> None:
    class Named(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"out": 2 * images, "aux": images}

    net = Named().eval()
    use_openvino(net, threads=1)
    with torch.no_grad():
        assert sorted(net(torch.ones(1, 3, 8, 8))) == ["aux", "out"]
    assert f"{CANNOT}, since OpenVINO cannot: the model returns dict, not one tensor" in log.text


def test_a_network_that_predicts_something_else_is_not_used(log: pytest.LogCaptureFixture) -> None:
    """What a module draws is drawn once in a graph."""

    class Drawing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + torch.rand_like(images)

    net = Drawing().eval()
    use_openvino(net, threads=1)
    with torch.no_grad():
        net(torch.ones(1, 3, 8, 8))
    assert CANNOT in log.text


def test_only_so_many_shapes_get_a_network(log: pytest.LogCaptureFixture) -> None:
    net = Doubled().eval()
    use_openvino(net, threads=1)
    with torch.no_grad():
        for side in range(4, 4 + 2 * (MOST_SHAPES + 2), 2):
            assert torch.equal(net(torch.ones(2, 3, side, side)), torch.full((2, 3), 2.0))
    assert log.text.count(COMPUTES) == MOST_SHAPES
    assert log.text.count("Inputs have more than") == 1


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_model_that_is_not_a_module_is_left_as_it_is(log: pytest.LogCaptureFixture) -> None:
    for model in ({"net": Doubled()}, torch.jit.script(nn.ReLU())):
        use_openvino(model, threads=1)
    assert log.text.count("ENGINE=openvino has no effect") == 2


@pytest.mark.parametrize("engine", ["auto", "openvino"])
def test_a_served_script(tmp_path: Path, engine: str) -> None:
    script = write_script(
        tmp_path,
        """
        import torch
        class Doubled(torch.nn.Module):
            def forward(self, images):
                return 2 * images.float().mean(dim=(2, 3))
        def model_fn(model_dir):
            return Doubled().eval()
        def predict_fn(data, model):
            with torch.no_grad():
                result = model(data)
            return torch.cat([result, torch.full_like(result, type(model.forward).__name__ == "OpenVinoForward")], 1)
        """,
    )
    with serving_script(script, engine=engine) as client:
        images = np.full((1, 3, 8, 8), 3, np.float32)
        response = client.post(
            "/invocations",
            data=npy(images),
            content_type="application/x-npy",
            headers={"Accept": "application/x-npy"},
        )
        assert load_npy(response.data).tolist() == [[6.0] * 3 + [float(engine == "openvino")] * 3]
