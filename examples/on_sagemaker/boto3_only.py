"""Train, tune, serve and delete on SageMaker with boto3 alone.

    boto3_only.py train deploy --image IMAGE --role ROLE --channel train=cars/train --picture car.jpg epochs=20
    boto3_only.py tune multi-model --image IMAGE --role ROLE --recipe examples/clothing --channel train=clothes \\
        --picture hat.jpg

Steps: train, or tune; then deploy, serverless, async, multi-model and transform, as many as wanted. Each of these asks
the model for the picture. In the end all that was made is deleted; the model and its report are downloaded before.
"""

from __future__ import annotations

from typing import Any

import boto3
from botocore.exceptions import ClientError
from created import Created
from launch import launch
from options import Options
from place import Place
from search import finish, request_of
from watching import follow, wait_for, wait_for_transform

from byoc_vision.client import ImageSerializer, predict_classes, predict_mask, read_classes, read_mask
from byoc_vision.describe.tuning import as_metrics, as_request

DISK_GB = 50  # of a training instance
Answer = Any


def main() -> None:
    launch(__doc__, open_session, Boto3)


def open_session(options: Options) -> Session:
    if options.local:
        raise SystemExit("--local: boto3 has no local mode; use sdk_v2.py or sdk_v3.py, or local_test/train_local.sh")
    return Session(options.bucket)


class Session:
    """What `run` asks of an SDK's session."""

    def __init__(self, bucket: str | None) -> None:
        self.boto_session = boto3.Session()
        self._bucket = bucket

    def default_bucket(self) -> str:
        """The one that was named, else SageMaker's usual one, which is created if it is missing, and then stays."""
        if self._bucket:
            return self._bucket
        region = self.boto_session.region_name
        account = self.boto_session.client("sts").get_caller_identity()["Account"]
        name, s3 = f"sagemaker-{region}-{account}", self.boto_session.client("s3")
        try:
            s3.head_bucket(Bucket=name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            # S3 takes its oldest region for granted, and refuses its name.
            where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            s3.create_bucket(Bucket=name, **where)
        return name


class Boto3:
    """The steps; see `steps.Sdk`."""

    def __init__(self, options: Options, session: Session, created: Created, place: Place) -> None:
        self.options, self.created, self.place = options, created, place
        self.session = session.boto_session
        self.sagemaker = self.session.client("sagemaker")

    def train(self) -> str:
        """On spot instances a job that loses them goes on from its checkpoints on others."""
        job = self.created.training_job(self.options.called("train"))
        definition = self._training(checkpoints=True)
        definition["AlgorithmSpecification"]["MetricDefinitions"] = as_metrics(self.options.metrics)
        self.sagemaker.create_training_job(
            TrainingJobName=job, HyperParameters=self.options.hyperparameters, **definition
        )
        return str(follow(self.session, job, self.options)["ModelArtifacts"]["S3ModelArtifacts"])

    def tune(self) -> str:
        """Jobs of a search share no checkpoints: one that is interrupted begins again."""
        job = self.created.tuning_job(self.options.called("tune"))
        options = self.options
        asked = as_request(options.search_space, options.metrics, options.jobs, options.parallel_jobs)
        config, beside = request_of(options)
        definition, training = asked["TrainingJobDefinition"], self._training(checkpoints=False)
        algorithm = training.pop("AlgorithmSpecification") | definition.pop("AlgorithmSpecification")
        self.sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=job,
            HyperParameterTuningJobConfig=asked["HyperParameterTuningJobConfig"] | config,
            TrainingJobDefinition={**definition, **training, "AlgorithmSpecification": algorithm},
            **beside,
        )
        return finish(self.session, job, options)

    def deploy(self, archive: str) -> Answer:
        instance = self.options.serving_instance
        # An endpoint with a GPU has an old driver unless it is told.
        ami = {"InferenceAmiVersion": version} if (version := self.options.inference_ami_version) else {}
        name = self._endpoint("deploy", self._single(archive), {**_instances(instance), **ami})
        return self._ask(name)

    def serverless(self, archive: str) -> Answer:
        """It has no GPU, and takes requests of up to 4 MB."""
        capacity = {"MemorySizeInMB": self.options.serverless_mb, "MaxConcurrency": 1}
        name = self._endpoint("serverless", self._single(archive), {"ServerlessConfig": capacity})
        return self._ask(name, limit_mb=4)

    def asynchronous(self, archive: str) -> Answer:
        """Picture and answer lie in S3: for pictures of up to 1 GB, and models that take minutes."""
        output = {"S3OutputPath": self.place.of("answers"), "S3FailurePath": self.place.of("failures")}
        name = self._endpoint(
            "async",
            self._single(archive),
            _instances(self.options.cpu_instance),
            AsyncInferenceConfig={"OutputConfig": output},
        )
        asked = self.session.client("sagemaker-runtime").invoke_endpoint_async(
            EndpointName=name,
            InputLocation=f"{self._picture('asked')}{self.options.picture.name}",
            ContentType=ImageSerializer.CONTENT_TYPE,
            Accept=self.options.accept,
        )
        return self._read(self.place.wait_for(asked["OutputLocation"], asked["FailureLocation"]))

    def multi_model(self, archive: str) -> Answer:
        """Any number of archives behind one endpoint, each loaded when it is first asked for."""
        self.place.copy(archive, "models/first.tar.gz")
        models = {"Mode": "MultiModel", "ModelDataUrl": self.place.folder("models")}
        name = self._endpoint("multi-model", models, _instances(self.options.cpu_instance))
        return self._ask(name, target_model="first.tar.gz")

    def transform(self, archive: str) -> Answer:
        """Every picture of a folder, here of one. The answer to NAME is a file NAME.out."""
        job = self.created.transform_job(self._model("transform", self._single(archive)))
        self.sagemaker.create_transform_job(
            TransformJobName=job,
            ModelName=job,
            BatchStrategy="SingleRecord",
            TransformInput={
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self._picture("pictures")}},
                "ContentType": ImageSerializer.CONTENT_TYPE,
            },
            TransformOutput={"S3OutputPath": self.place.of("transformed"), "Accept": self.options.accept},
            TransformResources={"InstanceType": self.options.cpu_instance, "InstanceCount": 1},
        )
        wait_for_transform(self.session, job)
        return self._read(self.place.of(f"transformed/{self.options.picture.name}.out"))

    def _training(self, checkpoints: bool) -> dict[str, Any]:
        """What a job of its own and those of a search have in common."""
        options = self.options
        asked: dict[str, Any] = {
            "AlgorithmSpecification": {"TrainingImage": options.image, "TrainingInputMode": "FastFile"},
            "RoleArn": options.role,
            "InputDataConfig": [
                _channel(name, self.place.put(folder, f"channels/{name}")) for name, folder in options.channels.items()
            ],
            "OutputDataConfig": {"S3OutputPath": self.place.of("jobs")},
            "ResourceConfig": {
                "InstanceType": options.training_instance,
                "InstanceCount": options.instance_count,
                "VolumeSizeInGB": DISK_GB,
            },
            "EnableManagedSpotTraining": options.spot,
            "StoppingCondition": {"MaxRuntimeInSeconds": options.longest_job},
            "Environment": options.environment,
        }
        if options.spot:  # the wait for an instance and the job together
            asked["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * options.longest_job
        if checkpoints:
            asked["CheckpointConfig"] = {"S3Uri": self.place.folder("checkpoints")}
        return asked

    def _single(self, archive: str) -> dict[str, str]:
        return {"ModelDataUrl": archive}

    def _model(self, step: str, container: dict[str, str]) -> str:
        name = self.created.model(self.options.called(step))
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.options.role,
            PrimaryContainer={"Image": self.options.image, **container},
        )
        return name

    def _endpoint(self, step: str, container: dict[str, str], capacity: dict[str, Any], **config: Any) -> str:
        """An endpoint that is in service; its configuration and its model have the same name."""
        name = self._model(step, container)
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=self.created.endpoint_config(name),
            ProductionVariants=[{"VariantName": "AllTraffic", "ModelName": name, **capacity}],
            **config,
        )
        self.sagemaker.create_endpoint(EndpointName=self.created.endpoint(name), EndpointConfigName=name)
        wait_for(name, lambda: self.sagemaker.describe_endpoint(EndpointName=name), "EndpointStatus")
        return name

    def _picture(self, name: str) -> str:
        """The address of a folder with the picture alone."""
        return self.place.put(self.options.folder_of_picture(), name)

    def _ask(self, endpoint: str, **where: Any) -> Answer:
        predict = predict_mask if self.options.recipe.task == "segmentation" else predict_classes
        return predict(endpoint, self.options.picture, session=self.session, **where)

    def _read(self, address: str) -> Answer:
        """An answer that lies in a file."""
        read = read_mask if self.options.recipe.task == "segmentation" else read_classes
        return read(self.place.read(address))


def _instances(instance: str) -> dict[str, Any]:
    return {"InstanceType": instance, "InitialInstanceCount": 1}


def _channel(name: str, address: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": address, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


if __name__ == "__main__":
    main()
