"""Batch Transform played on this machine: moto keeps the job, our own server is the container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.aws_world import BUCKET, World
from tests.conftest import ROOT


class Player:
    """Batch Transform: each object of the prefix to a real server with the job's environment, answers to KEY.out."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.loses: set[str] = set()
        self.threads: list[threading.Thread] = []

    def begin(self, job: Any) -> None:
        """Beside the server of the world, as SageMaker does."""
        job.transform_job_status = "InProgress"
        thread = threading.Thread(target=self._play, args=(job,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _play(self, job: Any) -> None:
        try:
            refused = self._run(job)
            job.failure_reason = "ClientError: See job logs for more information" if refused else ""
            job.transform_job_status = "Failed" if refused else "Completed"
        except BaseException as error:
            job.failure_reason, job.transform_job_status = f"the test's player broke: {error!r}", "Failed"
            raise

    def _run(self, job: Any) -> list[str]:
        model = self._world.client("sagemaker").describe_model(ModelName=job.model_name)["PrimaryContainer"]
        packed = self._world.root / "hosted.tar.gz"
        self._world.client("s3").download_file(
            BUCKET, model["ModelDataUrl"].removeprefix(f"s3://{BUCKET}/"), str(packed)
        )
        prefix = job.transform_input["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
        target = job.transform_output["S3OutputPath"].removeprefix(f"s3://{BUCKET}/").rstrip("/")
        s3, refused = self._world.client("s3"), []
        with serving(packed, {**model["Environment"], **job.environment}) as url:
            for key in self._world.keys(prefix):
                name = key.removeprefix(prefix)
                if name.endswith("/") or name in self.loses:
                    continue
                body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                headers = {"Content-Type": job.transform_input["ContentType"]}
                answer = requests.post(f"{url}/invocations", data=body, headers=headers, timeout=60)
                if answer.status_code == 200:
                    s3.put_object(Bucket=BUCKET, Key=f"{target}/{name}.out", Body=answer.content)
                else:
                    refused.append(name)
        return refused


@contextmanager
def serving(archive: Path, environment: dict[str, str]) -> Iterator[str]:
    """An archive behind `model_serving serve`, as a container runs it."""
    command = [sys.executable, "-m", "model_serving", "serve", str(archive), "--port", "0", "--json", "--workers", "1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout and process.stdout.close()
