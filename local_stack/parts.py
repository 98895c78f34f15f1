"""The parts as commands that `up` starts: gateway, storage, worker. Secrets come by the environment."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from . import resources
from .stack import KEY_VARIABLE, WEBHOOK_VARIABLE

Origins = Annotated[list[str] | None, typer.Option("--allow-origin", help="Web origin that may call; repeatable.")]
WebhookOrigins = Annotated[
    list[str] | None,
    typer.Option("--webhook-origin", help="Origin that jobs may tell of their end, as https://host:port; repeatable."),
]
Url = Annotated[str, typer.Option("--storage", help="Address of the storage part; none without jobs.")]


def register(app: typer.Typer) -> None:
    """Add them to a command line, hidden: nobody else needs to call them."""
    for part in (gateway, storage, worker):
        app.command(hidden=True)(part)


def gateway(
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 4,
    storage_url: Url = "",
    allow_origin: Origins = None,
    webhook_origin: WebhookOrigins = None,
) -> None:
    """API Gateway and the function behind it."""
    from starlette.applications import Starlette

    from model_serving import hosting

    from . import template
    from .gateway import Gateway, application

    listener, url = hosting.bind(host, port)
    _begin(url)
    origins = tuple(allow_origin or ())
    api = template.load(
        template.TEMPLATE, resources.names(storage_url), **_parameters(storage_url, origins, webhook_origin)
    )
    os.environ.update(api.environment)
    served = Gateway(api, os.environ.pop(KEY_VARIABLE), workers, origins)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await served.warm()
        yield
        served.close()

    routes: Any = application(served).routes
    hosting.run(Starlette(routes=routes, lifespan=lifespan), listener)


def storage(allow_origin: Origins = None) -> None:
    """S3, DynamoDB, SQS and Secrets Manager: on this machine only, whatever the gateway's host is."""
    from model_serving import hosting

    from . import template
    from .signatures import Credentials
    from .storage import application

    listener, url = hosting.bind("127.0.0.1", 0)
    _begin(url)
    _many_files()
    credentials = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    secret = os.environ.pop(WEBHOOK_VARIABLE, "")
    makings = resources.makings(template.storage(), secret)
    hosting.run(application(makings, credentials, tuple(allow_origin or ())), listener)


def worker(workers: int = 2, storage_url: Url = "", webhook_origin: WebhookOrigins = None) -> None:
    """The queue and the function behind it."""
    import boto3
    from botocore.config import Config

    from . import template
    from .worker import POLL_SECONDS, Poller, Source

    _begin("")
    names = resources.names(storage_url)
    spec = template.worker(template.TEMPLATE, names, **_parameters(storage_url, (), webhook_origin))
    os.environ.update(spec.environment)
    sqs: Any = boto3.client("sqs", config=Config(read_timeout=POLL_SECONDS + 20, max_pool_connections=2 * workers))
    source = Source(names["Queue"], resources.arn(resources.QUEUE), spec.batch_size, spec.window)
    poller = Poller(sqs, source, spec.handler, min(workers, spec.concurrency), spec.timeout)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    poller.start()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    poller.stop()


def _begin(url: str) -> None:
    """Tell the parent the address, end with it, log from now on."""
    from model_serving import hosting

    hosting.announce(json.dumps({"url": url}))
    hosting.end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")


def _parameters(storage_url: str, origins: tuple[str, ...], webhook_origins: list[str] | None) -> dict[str, str]:
    """The template's, as `sam deploy` would be given them."""
    given = {"AllowedOrigins": ",".join(origins), "WebhookOrigins": ",".join(webhook_origins or ())}
    return {**given, "PhotoBucket": resources.PHOTOS} if storage_url else given


def _many_files() -> None:
    """Each photo in the storage is an open file, and many systems begin with 1,024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
