"""Train, tune, serve and delete with the SageMaker Python SDK v3: on SageMaker, or with --local on this machine.

    sdk_v3.py train deploy --image IMAGE --role ROLE --channel train=cars/train --picture car.jpg epochs=20
    sdk_v3.py tune async --image IMAGE --role ROLE --recipe examples/clothing --channel train=clothes --picture hat.jpg
    sdk_v3.py train deploy transform --local --channel train=cars/train --picture car.jpg epochs=5 image_size=256

Steps: train, or tune; then deploy, serverless, async, multi-model and transform, as many as wanted. Each of these asks
the model for the picture. In the end all that was made is deleted; the model and its report are downloaded before.
"""

from __future__ import annotations

import io
import logging
from typing import Any

from created import Created
from launch import launch
from options import Options
from place import Place
from sagemaker.core import parameter
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.inference_config import AsyncInferenceConfig, ServerlessInferenceConfig
from sagemaker.core.local.local_session import LocalSession
from sagemaker.core.resources import Endpoint, EndpointConfig
from sagemaker.core.resources import Model as ModelResource
from sagemaker.core.shapes import (
    BestObjectiveNotImproving,
    Channel,
    CheckpointConfig,
    ContainerDefinition,
    DataSource,
    HyperParameterTuningJobWarmStartConfig,
    OutputDataConfig,
    ParentHyperParameterTuningJob,
    ProductionVariant,
    S3DataSource,
    StoppingCondition,
    TuningJobCompletionCriteria,
)
from sagemaker.core.training.configs import Compute, InputData, MetricDefinition
from sagemaker.core.transformer import Transformer
from sagemaker.train.model_trainer import Mode, ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner
from sdk_session import session_of
from search import early_stopping_type, finish
from watching import follow, wait_for_transform

from byoc_vision.client import ImageSerializer, predict_classes, predict_mask

Answer = Any


def main() -> None:
    launch(__doc__, lambda options: session_of(options, Session, LocalSession), SdkV3)


class SdkV3:
    """The steps; see `steps.Sdk`."""

    def __init__(self, options: Options, session: Session, created: Created, place: Place) -> None:
        self.options, self.session, self.created, self.place = options, session, created, place

    def train(self) -> str:
        if self.options.local:
            return self._train_here()
        trainer = self._trainer(checkpoints=True)
        trainer.train(self._channels(), wait=False)
        # v3 names the job itself, and has no public name for it.
        job = self.created.training_job(trainer._latest_training_job.training_job_name)
        return str(follow(self.session.boto_session, job, self.options)["ModelArtifacts"]["S3ModelArtifacts"])

    def tune(self) -> str:
        """Jobs of a search share no checkpoints: one that is interrupted begins again."""
        job = self.created.tuning_job(self.options.called("tune"))
        tuner = HyperparameterTuner(
            self._trainer(checkpoints=False),
            **self.options.tuner_arguments(parameter),
            max_jobs=self.options.jobs,
            max_parallel_jobs=self.options.parallel_jobs,
            early_stopping_type=early_stopping_type(self.options),
            **self._search_options(),
        )
        tuner.tune(self._channels(), job_name=job, wait=False)
        return finish(self.session.boto_session, job, self.options)

    def deploy(self, archive: str) -> Answer:
        name = self._new_endpoint("deploy")
        if self.options.local:
            return self._ask(self._serve_here(archive, name))
        endpoint = self._built(archive, name).deploy(
            endpoint_name=name,
            instance_type=self.options.serving_instance,
            inference_ami_version=self.options.inference_ami_version,
        )
        return self._ask(endpoint)

    def serverless(self, archive: str) -> Answer:
        """It has no GPU, and takes requests of up to 4 MB."""
        name = self._new_endpoint("serverless")
        config = ServerlessInferenceConfig(self.options.serverless_mb, max_concurrency=1)
        endpoint = self._built(archive, name).deploy(endpoint_name=name, inference_config=config)
        return self._ask(endpoint, limit_mb=4)

    def asynchronous(self, archive: str) -> Answer:
        """Picture and answer lie in S3: for pictures of up to 1 GB, and models that take minutes."""
        name = self._new_endpoint("async")
        endpoint = self._built(archive, name).deploy(
            endpoint_name=name,
            instance_type=self.options.cpu_instance,
            inference_config=AsyncInferenceConfig(self.place.of("answers"), failure_path=self.place.of("failures")),
        )
        pictures = self.place.put(self.options.folder_of_picture(), "asked")
        asked = endpoint.invoke_async(
            f"{pictures}{self.options.picture.name}",
            content_type=ImageSerializer.CONTENT_TYPE,
            accept=self.options.accept,
        )
        return self._read(self.place.wait_for(asked.output_location, asked.failure_location))

    def multi_model(self, archive: str) -> Answer:
        """Any number of archives, each loaded when it is first asked for. ModelBuilder makes no such endpoint."""
        name = self._new_endpoint("multi-model")
        self.place.copy(archive, "models/first.tar.gz")
        own = {"session": self.session.boto_session, "region": self.session.boto_region_name}
        container = ContainerDefinition(
            image=self.options.image, mode="MultiModel", model_data_url=self.place.folder("models")
        )
        ModelResource.create(model_name=name, primary_container=container, execution_role_arn=self.options.role, **own)
        variant = ProductionVariant(
            variant_name="AllTraffic",
            model_name=name,
            instance_type=self.options.cpu_instance,
            initial_instance_count=1,
        )
        EndpointConfig.create(endpoint_config_name=name, production_variants=[variant], **own)
        endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name, **own)
        endpoint.wait_for_status("InService")
        return self._ask(endpoint, target_model="first.tar.gz")

    def transform(self, archive: str) -> Answer:
        """Every picture of a folder, here of one. The answer to NAME is a file NAME.out."""
        name = self.created.model(self.options.called("transform"))
        if self.options.local:
            self._model_here(archive, name)
        else:
            self._built(archive, name)
        transformer = Transformer(
            name,
            1,
            self.options.cpu_instance,
            strategy="SingleRecord",
            accept=self.options.accept,
            output_path=self.place.of("transformed"),
            sagemaker_session=self.session,
        )
        transformer.transform(
            self.place.put(self.options.folder_of_picture(), "pictures"),
            content_type=ImageSerializer.CONTENT_TYPE,
            job_name=self.created.transform_job(name),
            wait=self.options.local,
            logs=False,
        )
        if not self.options.local:
            wait_for_transform(self.session.boto_session, name)
        return self._read(self.place.of(f"transformed/{self.options.picture.name}.out"))

    def _trainer(self, checkpoints: bool) -> ModelTrainer:
        options = self.options
        longest_wait = 2 * options.longest_job if options.spot else None
        trainer = ModelTrainer(
            training_image=options.image,
            role=options.role,
            base_job_name=options.run,
            compute=Compute(
                instance_type=options.training_instance,
                instance_count=options.instance_count,
                enable_managed_spot_training=options.spot,
            ),
            stopping_condition=StoppingCondition(
                max_runtime_in_seconds=options.longest_job, max_wait_time_in_seconds=longest_wait
            ),
            checkpoint_config=CheckpointConfig(s3_uri=self.place.folder("checkpoints")) if checkpoints else None,
            output_data_config=OutputDataConfig(s3_output_path=self.place.of("jobs")),
            training_input_mode="FastFile",
            hyperparameters=options.hyperparameters,
            environment=options.environment,
            sagemaker_session=self.session,
        )
        return trainer.with_metric_definitions(
            [MetricDefinition(name=metric.name, regex=metric.regex) for metric in options.metrics]
        )

    def _search_options(self) -> dict[str, Any]:
        options, found = self.options, dict[str, Any]()
        if options.warm_start:
            found["warm_start_config"] = HyperParameterTuningJobWarmStartConfig(
                parent_hyper_parameter_tuning_jobs=[
                    ParentHyperParameterTuningJob(hyper_parameter_tuning_job_name=name) for name in options.warm_start
                ],
                warm_start_type=options.warm_start_type,
            )
        if options.patience is not None:
            no_better = BestObjectiveNotImproving(max_number_of_training_jobs_not_improving=options.patience)
            found["completion_criteria_config"] = TuningJobCompletionCriteria(best_objective_not_improving=no_better)
        return found

    def _channels(self) -> list[Channel]:
        """In the trainer's own input mode. A plain address would be copied to the instance's disk before."""
        return [
            Channel(
                channel_name=name,
                data_source=DataSource(
                    s3_data_source=S3DataSource(
                        s3_data_type="S3Prefix",
                        s3_uri=self.place.put(folder, f"channels/{name}"),
                        s3_data_distribution_type="FullyReplicated",
                    )
                ),
            )
            for name, folder in self.options.channels.items()
        ]

    def _built(self, archive: str, name: str) -> Any:
        """A ModelBuilder whose model is made. It looks for nothing to pack: the image serves the archive as it is."""
        from sagemaker.serve.model_builder import ModelBuilder  # importing it takes a region

        builder = ModelBuilder(
            image_uri=self.options.image,
            s3_model_data_url=archive,
            role_arn=self.options.role,
            dependencies={"auto": False},
            log_level=logging.INFO,  # DEBUG otherwise
            sagemaker_session=self.session,
        )
        builder.build(model_name=name)
        return builder

    def _train_here(self) -> str:
        root = self.options.output / "job"
        trainer = ModelTrainer(
            training_image=self.options.image,
            training_mode=Mode.LOCAL_CONTAINER,
            compute=Compute(instance_type="local_cpu", instance_count=self.options.instance_count),
            hyperparameters=self.options.hyperparameters,
            local_container_root=str(root),
            sagemaker_session=self.session,
        )
        channels = self.options.channels.items()
        trainer.train([InputData(channel_name=name, data_source=str(folder)) for name, folder in channels])
        return (root / "compressed_artifacts/model.tar.gz").as_uri()

    def _serve_here(self, archive: str, name: str) -> str:
        """ModelBuilder's own local mode knows AWS's model servers alone; the local session serves any image."""
        self._model_here(archive, name)
        variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "local", "InitialInstanceCount": 1}
        self.session.sagemaker_client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.session.sagemaker_client.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return name

    def _model_here(self, archive: str, name: str) -> None:
        container = {"Image": self.options.image, "ModelDataUrl": archive, "Environment": {}}
        self.session.sagemaker_client.create_model(ModelName=name, PrimaryContainer=container)

    def _new_endpoint(self, step: str) -> str:
        """Its name, which is also its configuration's and its model's."""
        name = self.options.called(step)
        return self.created.endpoint(self.created.endpoint_config(self.created.model(name)))

    def _ask(self, endpoint: Endpoint | str, **where: Any) -> Answer:
        predict = predict_mask if self.options.recipe.task == "segmentation" else predict_classes
        own = {"session": self.session} if isinstance(endpoint, str) else {}
        return predict(endpoint, self.options.picture, **own, **where)

    def _read(self, address: str) -> Answer:
        """An answer that lies in a file."""
        return self.options.deserializer.deserialize(io.BytesIO(self.place.read(address)), self.options.accept)


if __name__ == "__main__":
    main()
