"""Train, tune, serve and delete with the SageMaker Python SDK v2: on SageMaker, or with --local on this machine.

    sdk_v2.py train deploy --image IMAGE --role ROLE --channel train=cars/train --picture car.jpg epochs=20
    sdk_v2.py tune async --image IMAGE --role ROLE --recipe examples/clothing --channel train=clothes --picture hat.jpg
    sdk_v2.py train deploy transform --local --channel train=cars/train --picture car.jpg epochs=5 image_size=256

Steps: train, or tune; then deploy, serverless, async, multi-model and transform, as many as wanted. Each of these asks
the model for the picture. In the end all that was made is deleted; the model and its report are downloaded before.
"""

from __future__ import annotations

import io
from typing import Any

from created import Created
from launch import launch
from options import Options
from place import Place
from sagemaker import Session, tuner
from sagemaker.async_inference import AsyncInferenceConfig
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.model import Model
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.predictor import Predictor
from sagemaker.serverless import ServerlessInferenceConfig
from sdk_session import session_of
from search import early_stopping_type, finish
from watching import follow, wait_for_transform

from byoc_vision.client import ImageSerializer
from byoc_vision.describe.tuning import as_metrics


def main() -> None:
    launch(__doc__, lambda options: session_of(options, Session, LocalSession), SdkV2)


class SdkV2:
    """The steps; see `steps.Sdk`."""

    def __init__(self, options: Options, session: Session, created: Created, place: Place) -> None:
        self.options, self.session, self.created, self.place = options, session, created, place

    def train(self) -> str:
        job = self.created.training_job(self.options.called("train"))
        estimator = self._estimator(checkpoints=True)
        if self.options.local:
            estimator.fit(self._channels(), job_name=job)
        else:
            estimator.fit(self._channels(), job_name=job, wait=False)
            follow(self.session.boto_session, job, self.options)
        return str(estimator.model_data)

    def tune(self) -> str:
        """Jobs of a search share no checkpoints: one that is interrupted begins again."""
        job = self.created.tuning_job(self.options.called("tune"))
        search = tuner.HyperparameterTuner(
            self._estimator(checkpoints=False),
            **self.options.tuner_arguments(tuner),
            max_jobs=self.options.jobs,
            max_parallel_jobs=self.options.parallel_jobs,
            early_stopping_type=early_stopping_type(self.options),
            **self._search_options(),
        )
        search.fit(self._channels(), job_name=job, wait=False)
        return finish(self.session.boto_session, job, self.options)

    def deploy(self, archive: str) -> Any:
        name = self._new_endpoint("deploy")
        predictor = self._model(archive, name).deploy(
            1,
            self.options.serving_instance,
            endpoint_name=name,
            inference_ami_version=self.options.inference_ami_version,  # Estimator.deploy would lose it
            **self._translators(),
        )
        return predictor.predict(self.options.picture)

    def serverless(self, archive: str) -> Any:
        """It has no GPU, and takes requests of up to 4 MB."""
        name = self._new_endpoint("serverless")
        predictor = self._model(archive, name).deploy(
            endpoint_name=name,
            serverless_inference_config=ServerlessInferenceConfig(self.options.serverless_mb, max_concurrency=1),
            **self._translators(limit_mb=4),
        )
        return predictor.predict(self.options.picture)

    def asynchronous(self, archive: str) -> Any:
        """Picture and answer lie in S3: for pictures of up to 1 GB, and models that take minutes."""
        name = self._new_endpoint("async")
        answers = AsyncInferenceConfig(self.place.of("answers"), failure_path=self.place.of("failures"))
        predictor = self._model(archive, name).deploy(
            1,
            self.options.cpu_instance,
            endpoint_name=name,
            async_inference_config=answers,
            **self._translators(limit_mb=1000),
        )
        # predict() would leave a thread behind that looks for a failure until its patience ends.
        asked = predictor.predict_async(
            self.options.picture,
            input_path=self.place.of("asked/picture"),
            initial_args={"ContentType": ImageSerializer.CONTENT_TYPE},
        )
        return self._read(self.place.wait_for(asked.output_path, asked.failure_path))

    def multi_model(self, archive: str) -> Any:
        """Any number of archives behind one endpoint, each loaded when it is first asked for."""
        name = self._new_endpoint("multi-model")
        self.place.copy(archive, "models/first.tar.gz")
        models = MultiDataModel(
            name,
            self.place.folder("models"),
            image_uri=self.options.image,
            role=self.options.role,
            predictor_cls=Predictor,
            sagemaker_session=self.session,
        )
        predictor = models.deploy(1, self.options.cpu_instance, endpoint_name=name, **self._translators())
        return predictor.predict(self.options.picture, target_model="first.tar.gz")

    def transform(self, archive: str) -> Any:
        """Every picture of a folder, here of one. The answer to NAME is a file NAME.out."""
        name = self.created.model(self.options.called("transform"))
        transformer = self._model(archive, name).transformer(
            1,
            self.options.cpu_instance,
            strategy="SingleRecord",
            accept=self.options.accept,
            output_path=self.place.of("transformed"),
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

    def _estimator(self, checkpoints: bool) -> Estimator:
        options = self.options
        where: dict[str, Any] = {"output_path": self.place.address}
        if not options.local:
            where = {"output_path": self.place.of("jobs"), "input_mode": "FastFile", "max_run": options.longest_job}
            where |= {"use_spot_instances": options.spot, "max_wait": 2 * options.longest_job if options.spot else None}
            where |= {"checkpoint_s3_uri": self.place.folder("checkpoints") if checkpoints else None}
        return Estimator(
            image_uri=options.image,
            role=options.role,
            instance_count=options.instance_count,
            instance_type=options.training_instance,
            hyperparameters=options.hyperparameters,
            environment=options.environment,
            metric_definitions=as_metrics(options.metrics),
            sagemaker_session=self.session,
            **where,
        )

    def _search_options(self) -> dict[str, Any]:
        options, found = self.options, dict[str, Any]()
        if options.warm_start:
            kind = tuner.WarmStartTypes(options.warm_start_type)
            found["warm_start_config"] = tuner.WarmStartConfig(kind, parents=set(options.warm_start))
        if options.patience is not None:
            criteria = tuner.TuningJobCompletionCriteriaConfig(options.patience)
            found["completion_criteria_config"] = criteria
        return found

    def _channels(self) -> dict[str, str]:
        return {name: self.place.put(folder, f"channels/{name}") for name, folder in self.options.channels.items()}

    def _model(self, archive: str, name: str) -> Model:
        return Model(
            image_uri=self.options.image,
            model_data=archive,
            role=self.options.role,
            name=name,
            predictor_cls=Predictor,
            sagemaker_session=self.session,
        )

    def _new_endpoint(self, step: str) -> str:
        """Its name, which is also its configuration's and its model's."""
        name = self.options.called(step)
        return self.created.endpoint(self.created.endpoint_config(self.created.model(name)))

    def _read(self, address: str) -> Any:
        """An answer that lies in a file."""
        return self.options.deserializer.deserialize(io.BytesIO(self.place.read(address)), self.options.accept)

    def _translators(self, limit_mb: float = 25) -> dict[str, Any]:
        return {"serializer": ImageSerializer(limit_mb), "deserializer": self.options.deserializer}


if __name__ == "__main__":
    main()
