"""Train with the SageMaker Python SDK v3 in local mode: no AWS account is needed.

    make build sdk-clients
    .venv-sdk3/bin/python local_test/sdk_v3.py --train data/cars/train epochs=5 image_size=256

In the cloud the same code runs without `training_mode`, on instances such as `ml.g5.xlarge`, with s3:// addresses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sagemaker.core.training.configs import Compute, InputData
from sagemaker.train.model_trainer import Mode, ModelTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="byoc-vision:latest")
    parser.add_argument("--train", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--validation", type=Path, metavar="FOLDER")
    parser.add_argument("--output", type=Path, default=Path("build/sdk_v3"), metavar="FOLDER")
    parser.add_argument("hyperparameters", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_intermixed_args()

    options.output.mkdir(parents=True, exist_ok=True)
    trainer = ModelTrainer(
        training_image=options.image,
        training_mode=Mode.LOCAL_CONTAINER,
        compute=Compute(instance_type="local_cpu", instance_count=1),
        hyperparameters=dict(item.split("=", 1) for item in options.hyperparameters),
        local_container_root=str(options.output.absolute()),
    )
    channels = {"train": options.train, "validation": options.validation}
    trainer.train(
        [InputData(channel_name=name, data_source=str(path.absolute())) for name, path in channels.items() if path]
    )
    print(f"model: {(options.output / 'compressed_artifacts/model.tar.gz').absolute().as_uri()}")


if __name__ == "__main__":
    main()
