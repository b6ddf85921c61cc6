"""Train, deploy and predict with the SageMaker Python SDK v2 in local mode: no AWS account is needed.

    make build sdk-clients
    .venv-sdk2/bin/python local_test/sdk_v2.py --train data/cars/train --picture car.jpg epochs=5 image_size=256

In the cloud the same code runs with `sagemaker.Session()`, on instances such as `ml.g5.xlarge`, with s3:// addresses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import boto3
from sagemaker.deserializers import BytesDeserializer
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.serializers import IdentitySerializer

ROLE = "arn:aws:iam::123456789012:role/local-mode-needs-none"

NO_TELEMETRY = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="byoc-vision:latest")
    parser.add_argument("--train", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--validation", type=Path, metavar="FOLDER")
    parser.add_argument("--picture", type=Path, help="a JPEG to predict; without one nothing is deployed")
    parser.add_argument("--accept", default="application/json", help="image/png is a mask")
    parser.add_argument("--instance-count", type=int, default=1)
    parser.add_argument("--port", type=int, default=8080, help="of the local endpoint")
    parser.add_argument("--output", type=Path, default=Path("build/sdk_v2"), metavar="FOLDER")
    parser.add_argument("hyperparameters", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_intermixed_args()

    options.output.mkdir(parents=True, exist_ok=True)
    estimator = Estimator(
        image_uri=options.image,
        role=ROLE,
        instance_count=options.instance_count,
        instance_type="local",
        output_path=options.output.absolute().as_uri(),
        hyperparameters=dict(item.split("=", 1) for item in options.hyperparameters),
        sagemaker_session=local_session(options.port),
    )
    channels = {"train": options.train, "validation": options.validation}
    estimator.fit({name: folder.absolute().as_uri() for name, folder in channels.items() if folder})
    print(f"model: {estimator.model_data}")

    if options.picture:
        answer = predict(estimator, options.picture, options.accept)
        if options.accept == "image/png":
            options.output.joinpath("mask.png").write_bytes(answer)
            print(f"mask: {options.output / 'mask.png'}")
        else:
            print(f"answer: {answer.decode()}")


def local_session(port: int) -> LocalSession:
    """A session that stays on this machine. Local mode asks for a region and credentials, and uses neither."""
    boto_session = boto3.Session("local", "local", region_name="us-east-1")
    session = LocalSession(boto_session, sagemaker_config=NO_TELEMETRY)
    session.config = {"local": {"local_code": True, "serving_port": port}}
    return session


def predict(estimator: Estimator, picture: Path, accept: str) -> bytes:
    predictor = estimator.deploy(
        1, "local", serializer=IdentitySerializer("image/jpeg"), deserializer=BytesDeserializer(accept)
    )
    try:
        return bytes(predictor.predict(picture.read_bytes()))
    finally:
        predictor.delete_endpoint()


if __name__ == "__main__":
    main()
