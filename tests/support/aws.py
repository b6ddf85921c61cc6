"""An AWS on this machine: moto, and before it a front in which jobs leave results and endpoints answer.

moto keeps what is created and deleted, and S3's files and CloudWatch's logs. The front adds what moto lacks: a training
job leaves an archive and a log, a batch transform and the endpoints ask a real server, jobs can be stopped, Service
Quotas has SageMaker's quotas, and requests to SageMaker that break botocore's model are refused.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs

import boto3
import requests
from support.api_model import problems
from support.moto_server import start_moto
from support.runtime import Runtime, start_runtime

REGION = "eu-west-1"
BUCKET = "pictures-of-cars"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
REPOSITORY = "byoc-vision"
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}:1"
LOG = (
    "byoc-vision 0.1.0",
    "epoch=1 train:loss=0.5 validation:loss=0.4 validation:accuracy=0.8 learning_rate=0.001 seconds=3.0 "
    "images_per_second=60.0 data_wait=1%",
    "epoch=2 train:loss=0.25 validation:loss=0.3 validation:accuracy=0.9 learning_rate=0.001 seconds=3.0 "
    "images_per_second=61.0 data_wait=1%",
    "the model is written",
)
MEASURED = {"validation:accuracy": 0.9, "validation:f1": 0.85, "images_per_second": 61.0}
TRUST = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    },
}
QUOTAS = {
    "ml.g5.xlarge for spot training job usage": 2,
    "ml.g5.xlarge for training job usage": 4,
    "ml.g4dn.xlarge for endpoint usage": 1,
    "ml.c7i.xlarge for endpoint usage": 1,
    "ml.c7i.xlarge for transform job usage": 1,
}

NEWER_INSTANCES = (rb'"ml\.[cm][67][^"]*\.', b'"ml.c5.')  # than moto knows for endpoints
_HOP = ("connection", "content-length", "transfer-encoding", "expect", "host")  # headers of one hop
Json = dict[str, Any]


@dataclass
class Aws:
    """url: of all services. calls: of SageMaker, each with what it was asked. failing: operations that are refused.

    forbidden: operations of any service that the caller is not allowed to use. quotas: of SageMaker, by name. ending:
    what the description of a training job says in the end, where that is not its completion. hosts: of a job.
    archives: what a training job leaves, by name. endless: whether jobs go on until they are stopped. polls: how often
    something was asked for its status; unless all is done at_once, it is never done at the first.
    """

    url: str
    moto: str
    runtime: Runtime
    server: str
    archives: dict[str, bytes]
    calls: list[tuple[str, Json]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    quotas: dict[str, float] = field(default_factory=dict)
    ending: Json = field(default_factory=dict)
    hosts: tuple[str, ...] = ("algo-1",)
    endless: bool = False
    at_once: bool = False
    polls: dict[str, int] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """boto3's, of moto behind the front."""
        if service not in self.clients:
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
            self.clients[service] = boto3.client(service, region_name=REGION, endpoint_url=self.moto, **keys)
        return self.clients[service]

    def asked(self, operation: str) -> Json:
        """What the only call of an operation was asked."""
        (parameters,) = [parameters for name, parameters in self.calls if name == operation]
        return parameters

    def resources(self) -> list[str]:
        """All that costs money or is in the way: endpoints and their like, and files."""
        sagemaker, s3 = self.client("sagemaker"), self.client("s3")
        named = {
            "EndpointName": sagemaker.list_endpoints()["Endpoints"],
            "EndpointConfigName": sagemaker.list_endpoint_configs()["EndpointConfigs"],
            "ModelName": sagemaker.list_models()["Models"],
        }
        found = [f"{key} {entry[key]}" for key, entries in named.items() for entry in entries]
        for bucket in s3.list_buckets()["Buckets"]:
            files = s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", [])
            found += [f"s3://{bucket['Name']}/{file['Key']}" for file in files]
        return found

    def reset(self) -> None:
        """Empty, with a bucket, a role that SageMaker can assume, an image, and quotas."""
        requests.post(f"{self.moto}/moto-api/reset", timeout=30)
        for memory in (self.calls, self.failing, self.polls, self.runtime.seen, self.runtime.endpoints):
            memory.clear()
        for state in (self.forbidden, self.ending):
            state.clear()
        self.quotas = dict(QUOTAS)
        self.endless = self.at_once = False
        self.hosts = ("algo-1",)
        self.client("iam").create_role(RoleName=ROLE.rpartition("/")[2], AssumeRolePolicyDocument=json.dumps(TRUST))
        self.client("ecr").create_repository(repositoryName=REPOSITORY)
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": "sha256:0", "size": 1}, "layers": []}
        self.client("ecr").put_image(repositoryName=REPOSITORY, imageTag="1", imageManifest=json.dumps(manifest))
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})


@contextmanager
def start_aws(server: str, archives: dict[str, bytes]) -> Iterator[Aws]:
    """server: the URL of a real server, which answers for every model."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it writes a line for each request
    with (
        start_moto() as moto,
        start_runtime({}, many_models=False) as runtime,
        ThreadingHTTPServer(("127.0.0.1", 0), _Front) as front,
    ):
        aws = Aws(f"http://127.0.0.1:{front.server_port}", moto, runtime, server, archives)
        front.aws = aws  # type: ignore[attr-defined]
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield aws
        front.shutdown()


@contextmanager
def ctrl_c_after(session: boto3.Session, operation: str) -> Iterator[None]:
    """Ctrl-C, once, when SageMaker has answered an operation: within a request it would leave a socket open."""
    calls = count()

    def interrupt(**_: Any) -> None:
        if next(calls) == 0:
            signal.raise_signal(signal.SIGINT)

    event = f"after-call.sagemaker.{operation}"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    session.events.register(event, interrupt)
    try:
        yield
    finally:
        session.events.unregister(event, interrupt)
        signal.signal(signal.SIGINT, before)


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def aws(self) -> Aws:
        return self.server.aws  # type: ignore[attr-defined,no-any-return]

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        if self.command == "HEAD" and "HeadBucket" in self.aws.forbidden:
            self.send_response(403)
            self.end_headers()
        elif (asked_for := operation or _in_query(body)) in self.aws.forbidden:
            self.forbid(asked_for, in_xml=not operation)
        elif service.startswith("ServiceQuotas"):
            self.list_quotas(json.loads(body))
        elif self.path.endswith("/invocations"):
            self.pass_on(self.aws.runtime.url, body)
        elif self.path.endswith("/async-invocations"):
            self.answer_later()
        elif service == "SageMaker":
            self.of_sagemaker(operation, json.loads(body), body)
        else:
            self.pass_on(self.aws.moto, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815

    def of_sagemaker(self, operation: str, asked: Json, body: bytes) -> None:
        self.aws.calls.append((operation, asked))
        if operation in self.aws.failing:
            self.say({"__type": "ResourceLimitExceeded", "message": f"{operation}: the account's limit is 0"}, 400)
        elif wrong := problems("sagemaker", operation, asked):
            self.say({"__type": "ValidationException", "message": "; ".join(wrong)}, 400)
        elif operation == "ListTrainingJobsForHyperParameterTuningJob":
            self.say({"TrainingJobSummaries": [self.summary_of_best(asked["HyperParameterTuningJobName"])]})
        elif operation.startswith("Stop"):
            self.aws.endless = False
            self.say({})
        else:
            answer = self.ask(self.aws.moto, re.sub(*NEWER_INSTANCES, body))
            if answer.ok and (act := getattr(self, f"after_{operation}", None)):
                self.say(act(asked, _told(answer)))
            elif answer.ok and operation.startswith("Describe"):
                self.say(_told(answer))
            else:
                self.send(answer)

    def after_CreateTrainingJob(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        job = asked["TrainingJobName"]
        bucket, _, folder = asked["OutputDataConfig"]["S3OutputPath"].removeprefix("s3://").partition("/")
        for name, content in self.aws.archives.items():
            self.aws.client("s3").put_object(Bucket=bucket, Key=f"{folder}/{job}/output/{name}", Body=content)
        logs, where = self.aws.client("logs"), {"logGroupName": "/aws/sagemaker/TrainingJobs"}
        if not logs.describe_log_groups(logGroupNamePrefix=where["logGroupName"])["logGroups"]:
            logs.create_log_group(**where)
        for host in self.aws.hosts:
            where["logStreamName"] = f"{job}/{host}-1700000000"
            logs.create_log_stream(**where)
            now = int(1000 * time.time())
            logs.put_log_events(**where, logEvents=[{"timestamp": now, "message": line} for line in LOG])
        return answer

    def after_CreateHyperParameterTuningJob(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        """One of its jobs; none but the best is ever looked at."""
        definition = dict(asked["TrainingJobDefinition"])
        # SDK v2 has it in place of the other.
        if resources := definition.pop("HyperParameterTuningResourceConfig", None):
            definition["ResourceConfig"] = resources
        fixed = definition.pop("StaticHyperParameters", {})
        job = {"TrainingJobName": _best_of(asked["HyperParameterTuningJobName"]), "HyperParameters": fixed}
        self.aws.client("sagemaker").create_training_job(**definition, **job)
        self.after_CreateTrainingJob({**definition, **job}, {})
        self.aws.polls[job["TrainingJobName"]] = 1  # it has ended when the search has
        return answer

    def after_DescribeHyperParameterTuningJob(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        answer["BestTrainingJob"]["TrainingJobName"] = _best_of(asked["HyperParameterTuningJobName"])
        return self.in_its_time(asked, answer, "HyperParameterTuningJobStatus")

    def after_DescribeTrainingJob(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        described = self.in_its_time(asked, answer, "TrainingJobStatus")
        if described["TrainingJobStatus"] == "InProgress":
            return described | {"SecondaryStatus": "Downloading"}
        measured = [{"MetricName": name, "Value": value, "Timestamp": 1.7e9} for name, value in MEASURED.items()]
        return described | {"FinalMetricDataList": measured} | self.aws.ending

    def summary_of_best(self, search: str) -> Json:
        return {
            "TrainingJobName": _best_of(search),
            "TrainingJobArn": f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{_best_of(search)}",
            "CreationTime": 1.7e9,
            "TrainingJobStatus": "Completed",
            "TunedHyperParameters": {"learning_rate": "0.002"},
        }

    def after_CreateTransformJob(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        s3 = self.aws.client("s3")
        source = asked["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        output, _, folder = asked["TransformOutput"]["S3OutputPath"].removeprefix("s3://").partition("/")
        for file in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            answered = self.ask_model(f"s3://{bucket}/{file['Key']}", asked["TransformOutput"].get("Accept"))
            name = file["Key"].removeprefix(prefix).lstrip("/")
            s3.put_object(Bucket=output, Key=f"{folder}/{name}.out", Body=answered)
        return answer

    def after_DescribeTransformJob(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        return self.in_its_time(asked, answer, "TransformJobStatus")

    def after_CreateEndpoint(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        self.aws.runtime.endpoints[asked["EndpointName"]] = self.aws.server
        return answer

    def after_DescribeEndpoint(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        return self.in_its_time(asked, answer, "EndpointStatus", "Creating")

    def after_DeleteEndpoint(self, asked: Json, answer: Json) -> Json:  # noqa: N802
        self.aws.runtime.endpoints.pop(asked["EndpointName"])
        return answer

    def in_its_time(self, asked: Json, answer: Json, key: str, passing: str = "InProgress") -> Json:
        """Not done at the first look, or never."""
        name = next(iter(asked.values()))
        self.aws.polls[name] = self.aws.polls.get(name, 0) + 1
        if self.aws.endless or (self.aws.polls[name] == 1 and not self.aws.at_once):
            answer[key] = passing
        return answer

    def forbid(self, operation: str, in_xml: bool) -> None:
        """In the words of AWS, for services that speak JSON, and for IAM."""
        message = f"User: arn:aws:iam::123456789012:user/me is not authorized to perform: {operation}"
        if not in_xml:
            self.say({"__type": "AccessDeniedException", "message": message}, 400)
            return
        error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>"
        body = f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def list_quotas(self, asked: Json) -> None:
        """A page for each."""
        names = sorted(self.aws.quotas)
        index = int(asked.get("NextToken", 0))
        quota = {"QuotaName": names[index], "QuotaCode": f"L-{index:08}", "Value": self.aws.quotas[names[index]]}
        following = {"NextToken": str(index + 1)} if index + 1 < len(names) else {}
        self.say({"Quotas": [{"ServiceCode": "sagemaker", **quota}], **following})

    def answer_later(self) -> None:
        """Source: InvokeEndpointAsync in botocore's model. Here the answer is there at once."""
        source = self.headers["X-Amzn-SageMaker-InputLocation"]
        name = self.path.split("/")[2]
        config = self.aws.client("sagemaker").describe_endpoint_config(EndpointConfigName=name)
        where = config["AsyncInferenceConfig"]["OutputConfig"]
        bucket, _, folder = where["S3OutputPath"].removeprefix("s3://").partition("/")
        answered = self.ask_model(source, self.headers.get("X-Amzn-SageMaker-Accept"))
        self.aws.client("s3").put_object(Bucket=bucket, Key=f"{folder}/1.out", Body=answered)
        self.say(
            {"InferenceId": "1"},
            202,
            {
                "X-Amzn-SageMaker-OutputLocation": f"s3://{bucket}/{folder}/1.out",
                "X-Amzn-SageMaker-FailureLocation": f"{where['S3FailurePath']}/1.out",
            },
        )

    def ask_model(self, source: str, accept: str | None) -> bytes:
        bucket, _, key = source.removeprefix("s3://").partition("/")
        image = self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        headers = {"Accept": accept} if accept else {}
        answer = requests.post(f"{self.aws.server}/invocations", image, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.content

    def pass_on(self, where: str, body: bytes) -> None:
        self.send(self.ask(where, body))

    def ask(self, where: str, body: bytes) -> requests.Response:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP}
        return requests.request(
            self.command, where + self.path, headers=headers, data=body, timeout=60, allow_redirects=False
        )

    def send(self, answer: requests.Response) -> None:
        self.send_response(answer.status_code)
        for key, value in answer.headers.items():
            if key.lower() not in (*_HOP, "content-encoding"):  # `requests` has decoded it
                self.send_header(key, value)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer.content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer.content)

    def say(self, document: Json, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _in_query(body: bytes) -> str:
    """The operation of a request in the form of IAM's and STS's."""
    return parse_qs(body.decode("latin-1")).get("Action", [""])[0] if body.startswith(b"Action=") else ""


def _told(answer: requests.Response) -> Json:
    """moto says of what is not there, a VPC or a capture of data, that it is empty. SageMaker says nothing."""
    return {key: value for key, value in answer.json().items() if value != {}} if answer.content else {}


def _best_of(search: str) -> str:
    return f"{search}-001"
