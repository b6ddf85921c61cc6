"""Where a script may be, and what it needs to be installed."""

from __future__ import annotations

import logging
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from support.archives import pack
from support.scripts import write_script

from byoc_serve.scripts.source import Script, find_script, install_requirements, prepared_script
from byoc_vision.errors import InputError, ResourceError

PROGRAM = {"SAGEMAKER_PROGRAM": "mine.py"}


def found(model: Path, environment: dict[str, str]) -> Script:
    script = find_script(model, environment, model.parent / "scratch")
    assert script is not None
    assert script.program.is_file()
    return script


def packed(root: Path) -> Path:
    """A sourcedir.tar.gz, as the SDK makes it."""
    write_script(root, "", "source/mine.py")
    archive = root / "model/sourcedir.tar.gz"
    archive.parent.mkdir(exist_ok=True)
    return pack(root / "source/mine.py", archive, inside="mine.py")


def test_code_in_the_models_folder(tmp_path: Path) -> None:
    model = write_script(tmp_path, "")
    script = found(model, {})
    assert (script.program, script.model) == (model / "code/inference.py", model)


def test_a_model_nested_one_deep(tmp_path: Path) -> None:
    write_script(tmp_path, "", "model/nested/code/inference.py")
    assert found(tmp_path / "model", {}).model == tmp_path / "model/nested"


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_a_folder_elsewhere(tmp_path: Path, url: str) -> None:
    write_script(tmp_path, "", "elsewhere/mine.py")
    (tmp_path / "model").mkdir()
    environment = PROGRAM | {"SAGEMAKER_SUBMIT_DIRECTORY": url.format(tmp_path / "elsewhere")}
    assert found(tmp_path / "model", environment).code == tmp_path / "elsewhere"


@pytest.mark.parametrize("url", ["sourcedir.tar.gz", "{}/model/sourcedir.tar.gz", "file://{}/model/sourcedir.tar.gz"])
def test_an_archive_in_the_models_folder(tmp_path: Path, url: str) -> None:
    packed(tmp_path)
    environment = PROGRAM | {"SAGEMAKER_SUBMIT_DIRECTORY": url.format(tmp_path)}
    with prepared_script(tmp_path / "model", environment) as script:
        assert script is not None
        assert script.program.is_file()
    assert not script.code.exists(), "it is removed at the end"


def test_an_archive_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="bucket")
        s3.upload_file(str(archive), "bucket", "a/sourcedir.tar.gz")
        url = "s3://bucket/{}/sourcedir.tar.gz"
        assert found(tmp_path / "model", PROGRAM | {"SAGEMAKER_SUBMIT_DIRECTORY": url.format("a")})
        with pytest.raises(ResourceError, match=r"s3://bucket/b/sourcedir\.tar\.gz could not be"):
            find_script(
                tmp_path / "model", PROGRAM | {"SAGEMAKER_SUBMIT_DIRECTORY": url.format("b")}, tmp_path / "other"
            )


def test_the_models_folder_is_used_if_the_submit_directory_is_missing(tmp_path: Path) -> None:
    """SDK v3 sets the variables and mounts the model alone."""
    model = write_script(tmp_path, "", "model/code/mine.py")
    environment = PROGRAM | {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/nothing/here"}
    assert found(model, environment).program == model / "code/mine.py"


@pytest.mark.parametrize(("code", "program"), [("", "inference.py"), ("def model_fn(model_dir): pass", "mine.py")])
def test_a_training_script_that_the_sdk_names(tmp_path: Path, code: str, program: str) -> None:
    """`estimator.deploy()` passes the training script on; AWS's containers expect the handlers in it."""
    write_script(tmp_path, code, "model/code/mine.py")
    assert found(write_script(tmp_path, ""), PROGRAM).program.name == program


def test_a_missing_script_beside_our_own_model_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "model.json").touch()
    assert find_script(tmp_path, {}, tmp_path / "scratch") is None
    assert find_script(tmp_path, PROGRAM, tmp_path / "scratch") is None


def test_a_missing_script_without_a_model_is_an_error(tmp_path: Path) -> None:
    assert find_script(tmp_path, {}, tmp_path / "scratch") is None
    with pytest.raises(InputError, match=r"PROGRAM=mine\.py is not in .*code.*set SAGEMAKER_SUBMIT_DIRECTORY"):
        find_script(tmp_path, PROGRAM, tmp_path / "scratch")


def test_requirements_are_installed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    package = tmp_path / "code/theirs"
    write_script(tmp_path, "NUMBER = 7", "code/theirs/theirs.py")
    (package / "setup.py").write_text("import setuptools\nsetuptools.setup(name='theirs', py_modules=['theirs'])")
    (tmp_path / "code/requirements.txt").write_text("./theirs\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # which switches it off
    install_requirements(tmp_path / "code/requirements.txt", tmp_path / "target")
    assert (tmp_path / "target/theirs.py").read_text() == "NUMBER = 7"
    assert "pip: Successfully installed theirs" in caplog.text


def test_requirements_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    write_script(tmp_path, "no-such-package-of-ours==1.0\n", "model/code/requirements.txt")
    write_script(tmp_path, "")
    error = pytest.raises(ResourceError, match=r"requirements\.txt could not be installed: .*no-such-package-of-ours")
    with error, prepared_script(tmp_path / "model", {}):
        pass
