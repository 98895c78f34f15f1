"""Starts the parts as processes, joins them by URLs, watches them, stops them.

endpoint   python -m model_serving serve      the archive's hooks behind SageMaker's wire shape
storage    python -m local_stack storage      S3, DynamoDB, SQS and Secrets Manager, for uploads and jobs
gateway    python -m local_stack gateway      the Lambda handler behind API Gateway's
worker     python -m local_stack worker       the function behind the queue
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client.stack import state_file

from . import resources
from .errors import StackError

READY_SECONDS = 120
"""A large model on a slow disk takes its time to load."""

STOP_SECONDS = 10
KEY_VARIABLE = "WHIPPET_STACK_KEY"
WEBHOOK_VARIABLE = "WHIPPET_STACK_WEBHOOK_SECRET"

JOB_WORKERS = 2
"""Batches of jobs worked on at once: one is fetched while another is classified."""


@dataclass(frozen=True)
class Options:
    """What `up` was asked for. `workers` are requests on which each part works at once.

    `origins` are those of pages that may call, `webhook_origins` those that jobs may tell of their end.
    """

    model: Path
    api_key: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 4
    origins: tuple[str, ...] = ()
    webhook_origins: tuple[str, ...] = ()
    jobs: bool = True


@dataclass(frozen=True)
class Description:
    """A running stack, as told to scripts and to the client.

    Without uploads and jobs the rest is empty. The AWS credentials are those of the storage, and of nothing else.
    """

    url: str
    api_key: str
    endpoint_url: str
    model: str
    pid: int
    storage_url: str = ""
    webhook_secret: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: str = ""


class Part:
    """One child process; its first line of output is its address, its log goes to a file."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as stream:
            # A session of its own: Ctrl-C reaches us alone, and we stop the parts in order.
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=env,
                start_new_session=True,
            )

    def address(self) -> str:
        """The URL it listens on; StackError if it ended instead."""
        stdout: Any = self.process.stdout
        line = stdout.readline()
        if not line:
            self.process.wait(STOP_SECONDS)
            raise self.death()
        url: str = json.loads(line)["url"]
        return url

    def death(self) -> StackError:
        """What to tell of its end: how, and the error it printed."""
        code = self.process.returncode
        if code is not None and code < 0:
            why = " (out of memory?)" if code == -9 else ""
            return StackError(f"the {self.name} was killed by signal {-code}{why}.")
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return StackError(f"the {self.name} ended with code {code}. {said[-1] if said else ''}".rstrip())

    def stop(self) -> None:
        """Ask it to end, insist after ten seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


class Stack:
    """The running parts. Use `start`, then `wait`, and `stop` in any case."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._folder = Path(tempfile.mkdtemp(prefix="whippet-"))
        self.logs = self._folder / "logs"
        self.logs.mkdir()
        self._parts: list[Part] = []
        self._stopping = threading.Event()
        self._key_id = "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16))
        self._secret = secrets.token_urlsafe(30)
        self._webhook_secret = resources.new_webhook_secret() if options.webhook_origins and options.jobs else ""

    def start(self) -> Description:
        """Start the parts and wait until a request went all the way through.

        StackError if one fails, KeyboardInterrupt where a stop was requested meanwhile.
        """
        options = self.options
        serve = ["model_serving", "serve", str(options.model), "--port", "0", "--json", "--with-parent"]
        endpoint = self._run("endpoint", serve, dict(os.environ))
        storage = self._storage() if options.jobs else None
        endpoint_url = endpoint.address()
        storage_url = storage.address() if storage else ""
        functions = self._environment(endpoint_url, storage_url)
        url = self._gateway(storage_url, functions).address()
        if storage_url:
            self._worker(storage_url, functions)
        self._await_health(url)
        if self._stopping.is_set():
            raise KeyboardInterrupt
        kept = (storage_url, self._webhook_secret, self._key_id, self._secret) if storage_url else ()
        description = Description(url, options.api_key, endpoint_url, str(options.model), os.getpid(), *kept)
        _write_state(description)
        return description

    def _gateway(self, storage_url: str, env: dict[str, str]) -> Part:
        options = self.options
        command = ["local_stack", "gateway", "--host", options.host, "--port", str(options.port)]
        command += ["--workers", str(options.workers), "--storage", storage_url]
        command += [*_each("--allow-origin", options.origins), *_each("--webhook-origin", options.webhook_origins)]
        return self._run("gateway", command, {**env, KEY_VARIABLE: options.api_key})

    def _storage(self) -> Part:
        command = ["local_stack", "storage", *_each("--allow-origin", self.options.origins)]
        return self._run("storage", command, {**self._aws(), WEBHOOK_VARIABLE: self._webhook_secret})

    def _worker(self, storage_url: str, env: dict[str, str]) -> Part:
        command = ["local_stack", "worker", "--workers", str(min(JOB_WORKERS, self.options.workers))]
        command += ["--storage", storage_url, *_each("--webhook-origin", self.options.webhook_origins)]
        return self._run("worker", command, env)

    def wait(self) -> None:
        """Return when `request_stop` was called; StackError as soon as a part has ended by itself."""
        while not self._stopping.wait(0.2):
            self._check_alive()

    def request_stop(self) -> None:
        """Make `wait` and `start` return; safe in a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop them, the last started first; forget the state file if it is ours."""
        for part in reversed(self._parts):
            part.stop()
        _remove_state()

    def discard(self, keep_logs: bool) -> None:
        """Remove the temporary files; after a clean end nobody needs the logs either."""
        for path in self._folder.iterdir():
            if not (keep_logs and path == self.logs):
                shutil.rmtree(path, ignore_errors=True)
        if not keep_logs:
            self._folder.rmdir()

    def _run(self, name: str, command: list[str], env: dict[str, str]) -> Part:
        # Temporary files lie in our folder, so that they go with us even if the part is killed.
        part = Part(name, command, {**env, "TMPDIR": str(self._folder)}, self.logs / f"{name}.log")
        self._parts.append(part)
        return part

    def _aws(self) -> dict[str, str]:
        """Made-up credentials and no AWS configuration, so that nothing can leave the machine."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        return env | {
            "AWS_ACCESS_KEY_ID": self._key_id,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def _environment(self, endpoint_url: str, storage_url: str) -> dict[str, str]:
        """That of both functions."""
        services = ("S3", "DYNAMODB", "SQS", "SECRETS_MANAGER") if storage_url else ()
        addresses = {f"AWS_ENDPOINT_URL_{service}": storage_url for service in services}
        addresses["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = endpoint_url
        # Metrics are for CloudWatch, and lines for each request would fill the log of a long run.
        return {"POWERTOOLS_METRICS_DISABLED": "true", "POWERTOOLS_LOG_LEVEL": "WARNING", **self._aws(), **addresses}

    def _await_health(self, url: str) -> None:
        """The endpoint answers as soon as the model is loaded; until then its socket lets callers wait.

        So the question is asked in a thread, while this one sees to stops and deaths.
        """
        healthy = threading.Event()
        threading.Thread(target=_ask_health, args=(f"{url}/v1/health", healthy), daemon=True).start()
        deadline = time.monotonic() + READY_SECONDS
        while not healthy.wait(0.05):
            self._check_alive()
            if self._stopping.is_set():
                return
            if time.monotonic() > deadline:
                raise StackError(f"the stack is not ready after {READY_SECONDS} s. Is the model very large?")

    def _check_alive(self) -> None:
        for part in self._parts:
            if part.process.poll() is not None:
                raise part.death()


def _each(option: str, values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _ask_health(url: str, healthy: threading.Event) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        try:
            opener.open(url, timeout=READY_SECONDS).close()
        except OSError as error:  # HTTPError is one too
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            time.sleep(0.1)
        else:
            healthy.set()
            return


def _write_state(description: Description) -> None:
    """Readable for the owner alone: it holds the key."""
    path = state_file()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(asdict(description), out)
        os.replace(partial, path)
    except OSError as error:
        raise StackError(f"{path} cannot be written ({error.strerror}). Set WHIPPET_STATE_FILE.") from None


def _remove_state() -> None:
    """Only our own: a stack that started later has written its own there."""
    path = state_file()
    try:
        ours = json.loads(path.read_text(encoding="utf-8")).get("pid") == os.getpid()
    except (OSError, ValueError):
        return
    if ours:
        path.unlink(missing_ok=True)
