"""People's own scripts in the image: SageMaker's toolkits, its SDKs, several hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import REPOSITORY, Container, Docker, Endpoint, Job
from support.scripts import write_script

PROJECT = REPOSITORY / "tests/support/script_project"
CODE = "/opt/ml/code"


def script_job(make_job: Callable[..., Job], channels: dict[str, Path], **hyperparameters: object) -> Job:
    """A job that runs train.py of the project, as a framework estimator starts it."""
    given = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": f'"{CODE}"'} | hyperparameters
    job = make_job(channels, **given)
    shutil.copytree(PROJECT, job.folder / "code")
    return job


def test_a_project_trains_on_real_images_and_is_served(
    docker: Docker,
    image: str,
    make_job: Callable[..., Job],
    clothes: dict[str, Path],
    images: Path,
    serve: Callable[..., Endpoint],
) -> None:
    job = script_job(make_job, clothes, epochs="2", **{"batch-size": "16"})
    done = docker.run("run", "--rm", *job.options, image, "train")
    assert done.stdout.count("SageMaker Debugger is retired") == 1
    assert (job.folder / "output/data/report.html").is_file()
    assert (job.model / "code/inference.py").is_file(), "the job leaves what its model takes to be deployed"
    endpoint = serve(job.model)
    photo = min((images / "clothing/validation/hat").iterdir()).read_bytes()
    answer = endpoint.ask(photo, "application/json")
    assert sum(answer.json().values()) == pytest.approx(1, abs=1e-4)
    assert endpoint.ask(b"{}", "*/*", "application/json").status_code == 400


def test_json_and_csv_go_through_the_toolkit(tmp_path: Path, serve: Callable[..., Endpoint]) -> None:
    write_script(
        tmp_path,
        """
        from sagemaker_inference import content_types, decoder, encoder, errors
        def model_fn(model_dir): return 2
        def predict_fn(data, model):
            if len(data) > 3: raise errors.UnsupportedFormatError("four")
            return data * model
        """,
    )
    endpoint = serve(tmp_path / "model")
    answer = endpoint.ask(b"[1, 2.5]", "application/json", "application/json")
    assert (answer.json(), answer.headers["Content-Type"]) == ([2.0, 5.0], "application/json")
    assert endpoint.ask(b"1,2.5", "text/csv", "text/csv").text.split() == ["2.0", "5.0"]
    assert endpoint.ask(b"[1, 2", "*/*", "application/json").status_code == 400
    assert endpoint.ask(b"[1, 2, 3, 4]", "*/*", "application/json").status_code == 415


def test_requirements_without_a_network_end_the_server(tmp_path: Path, docker: Docker, image: str) -> None:
    write_script(tmp_path, "def model_fn(model_dir): return 0")
    write_script(tmp_path, "no-such-package-of-ours\n", "model/code/requirements.txt")
    mount = ("--network", "none", "--volume", f"{tmp_path}/model:/opt/ml/model:ro", "--env", "PIP_RETRIES=0")
    done = docker.run("run", "--rm", *mount, image, "serve", check=False)
    assert done.returncode == 4
    assert "requirements.txt could not be installed" in done.stdout


def test_an_installed_smdebug_wins(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    job = script_job(make_job, clothes)
    write_script(job.folder, "NAME = 'the real one'", "code/real/smdebug/__init__.py")
    setup = "import setuptools\nsetuptools.setup(name='smdebug', version='1.0', packages=['smdebug'])"
    write_script(job.folder, setup, "code/real/setup.py")
    write_script(job.folder, "./real\n", "code/requirements.txt")
    write_script(job.folder, "import smdebug; print('this is', smdebug.NAME)", "code/train.py")
    offline = ("--network", "none", "--env", "PIP_NO_INDEX=1", "--env", "PIP_NO_BUILD_ISOLATION=0")
    assert "this is the real one" in docker.run("run", "--rm", *offline, *job.options, image, "train").stdout


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' ("),
        ("raise SystemExit('no images')", "train.py ended with status 1"),
        ("def f():\n    raise KeyError('x' * 5000)\nf()", "KeyError: 'xxx"),
    ],
)
def test_why_a_script_failed(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path], code: str, first: str
) -> None:
    job = script_job(make_job, clothes)
    (job.folder / "code/train.py").write_text(code)
    assert docker.run("run", "--rm", *job.options, image, "train", check=False).returncode == 1
    assert job.failure.startswith(first)
    assert len(job.failure.encode()) <= 1024


SHOW = """
import json, os, socket
from sagemaker_training.environment import Environment
socket.getaddrinfo(os.environ["SM_CURRENT_HOST"], None)
print("MISSING", sorted(set(Environment().to_env_vars()) - set(os.environ)))
print("VARIABLES", json.dumps({name: value for name, value in os.environ.items() if name.startswith("SM_")}))
"""


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_the_environment_and_a_host_whose_name_does_not_resolve(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path], mode: str
) -> None:
    job = script_job(make_job, clothes, epochs="3")
    (job.folder / "code/train.py").write_text(SHOW)
    declared = {name: {"TrainingInputMode": mode} for name in clothes}
    (job.folder / "input/config/inputdataconfig.json").write_text(json.dumps(declared))
    done = docker.run("run", "--rm", "--hostname", "another", "--volume", f"{job.folder}:/opt/ml", image, "train")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("VARIABLES ")]
    assert "MISSING []" in done.stdout
    variables = json.loads(line.partition(" ")[2])
    assert variables["SM_CHANNEL_TRAIN"] == "/opt/ml/input/data/train"
    assert variables["SM_HPS"] == '{"epochs":3}'
    assert variables["SM_HP_EPOCHS"] == "3"
    assert json.loads(variables["SM_INPUT_DATA_CONFIG"])["train"]["TrainingInputMode"] == mode
    names = ("HOSTS", "CURRENT_HOST", "NUM_GPUS", "NUM_CPUS", "MODEL_DIR", "OUTPUT_DATA_DIR", "OUTPUT_DIR", "USER_ARGS")
    assert [name for name in (*names, "CHANNELS", "TRAINING_ENV", "LOG_LEVEL") if f"SM_{name}" not in variables] == []


SUM = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(total)
print("sum", total.item(), "of", dist.get_world_size())
dist.destroy_process_group()
"""


@pytest.fixture
def network(docker: Docker) -> Iterator[str]:
    name = f"byoc-scripts-{os.getpid()}"
    docker.run("network", "create", name)
    yield name
    docker.run("network", "rm", name, check=False)


def test_torchrun_on_two_hosts(
    docker: Docker, image: str, network: str, start: Callable[..., Container], tmp_path: Path
) -> None:
    hosts = ("algo-1", "algo-2")
    settings = {
        "sagemaker_program": '"train.py"',
        "sagemaker_submit_directory": f'"{CODE}"',
        "sagemaker_torch_distributed_enabled": "true",
    }
    started = []
    for host in hosts:
        folder = tmp_path / host
        resources = {"current_host": host, "hosts": hosts, "network_interface_name": "eth0"}
        write_script(folder, json.dumps(resources), "input/config/resourceconfig.json")
        write_script(folder, json.dumps(settings), "input/config/hyperparameters.json")
        write_script(folder, SUM, "code/train.py")
        options = ("--network", network, "--network-alias", host, "--hostname", host)
        started.append(start(*options, "--volume", f"{folder}:/opt/ml", image, "train"))
    for container in started:
        assert container.exit_status() == 0, container.logs
        assert "sum 3.0 of 2" in container.logs


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_the_sdks_with_scripts(
    docker: Docker, image: str, clothes: dict[str, Path], images: Path, tmp_path: Path, version: int
) -> None:
    channels = {name: shutil.copytree(folder, tmp_path / name) for name, folder in clothes.items()}
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((images / "clothing/validation/hat").iterdir())[:2]:
        shutil.copy(photo, photos)
    python = REPOSITORY / f".venv-sdk{version}/bin/python"
    assert python.exists(), f"{python} is missing: `make sdk-clients` makes it"
    client = Path(docker.client)
    path = f"{client.parent}:{os.environ['PATH']}" if client.is_absolute() else os.environ["PATH"]
    arguments = (image, PROJECT, channels["train"], channels["validation"], photos, tmp_path / "output", "18080")
    try:
        done = subprocess.run(
            [python, "-P", REPOSITORY / "tests/support/sdk_scripts.py", str(version), *arguments],
            env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path), "AWS_DEFAULT_REGION": "eu-west-1",
                 "PYTHONPATH": "", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    finally:
        docker.remove_composed(tmp_path)
    print(done.stdout)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
    if version == 3:
        with tarfile.open(lines[0]["archive"]) as archive:
            assert any(name.endswith("model.pth") for name in archive.getnames())
        return
    assert [line["step"] for line in lines] == ["estimator"] * 2 + ["model"] * 2 + ["pytorch model"] * 2
    assert lines[0]["prediction"] == lines[2]["prediction"] == lines[4]["prediction"]
    assert all(sum(line["prediction"].values()) == pytest.approx(1, abs=1e-4) for line in lines)
