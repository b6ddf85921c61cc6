"""What a user of the SageMaker SDK v2 or v3 runs with scripts of their own, in the venv of that SDK:

    python sdk_scripts.py 2|3 IMAGE PROJECT TRAIN VALIDATION IMAGES OUTPUT PORT

PROJECT holds train.py and inference.py. It trains in local mode, deploys, sends every image below IMAGES, and prints a
line of JSON for each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/none"
HYPERPARAMETERS = {"epochs": 2, "batch-size": 16}


def main(version: str, image: str, project: str, train: str, validation: str, *rest: str) -> None:
    images, output, port = rest
    channels = {"train": train, "validation": validation}
    if version == "2":
        train_and_deploy_v2(image, project, channels, Path(images), Path(output), int(port))
    else:
        train_v3(image, project, channels, Path(output))


def train_and_deploy_v2(
    image: str, project: str, channels: dict[str, str], images: Path, output: Path, port: int
) -> None:
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.estimator import Estimator
    from sagemaker.local import LocalSession
    from sagemaker.model import Model
    from sagemaker.predictor import Predictor
    from sagemaker.pytorch import PyTorchModel
    from sagemaker.serializers import IdentitySerializer

    session = LocalSession()
    session.config = {"local": {"local_code": True, "serving_port": port}}
    estimator = Estimator(
        image_uri=image,
        entry_point="train.py",
        source_dir=project,
        role=ROLE,
        instance_count=1,
        instance_type="local",
        hyperparameters=HYPERPARAMETERS,
        output_path=output.as_uri(),
        sagemaker_session=session,
    )
    estimator.fit({name: Path(folder).as_uri() for name, folder in channels.items()})
    options = {"serializer": IdentitySerializer("image/jpeg"), "deserializer": JSONDeserializer()}
    given = {
        "model_data": estimator.model_data,
        "role": ROLE,
        "entry_point": "inference.py",
        "source_dir": project,
        "image_uri": image,
        "sagemaker_session": session,
        "code_location": "s3://local/code",  # or AWS is asked for the account; nothing is uploaded
    }
    model = Model(predictor_cls=Predictor, **given)
    pytorch_model = PyTorchModel(framework_version="2.1", py_version="py310", **given)
    deployments = (("estimator", estimator), ("model", model), ("pytorch model", pytorch_model))
    for step, deploy in ((step, deployed.deploy) for step, deployed in deployments):
        predictor = deploy(1, "local", **options)
        for path in sorted(images.rglob("*.jpg")):
            print(json.dumps({"step": step, "file": path.name, "prediction": predictor.predict(path.read_bytes())}))
        predictor.delete_endpoint()


def train_v3(image: str, project: str, channels: dict[str, str], output: Path) -> None:
    from sagemaker.core.local import LocalSession
    from sagemaker.core.training.configs import Compute, InputData, SourceCode
    from sagemaker.train.model_trainer import Mode, ModelTrainer

    (output / "job").mkdir(parents=True)
    trainer = ModelTrainer(
        training_image=image,
        training_mode=Mode.LOCAL_CONTAINER,
        source_code=SourceCode(source_dir=project, entry_script="train.py"),
        compute=Compute(instance_type="local_cpu", instance_count=1),
        hyperparameters=HYPERPARAMETERS,
        local_container_root=str(output / "job"),
        sagemaker_session=LocalSession(),
    )
    trainer.train([InputData(channel_name=name, data_source=folder) for name, folder in channels.items()])
    print(json.dumps({"step": "train", "archive": str(output / "job/compressed_artifacts/model.tar.gz")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
