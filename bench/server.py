"""Requests a second of the endpoint server without a model, against bare Starlette: `python -m bench.server`.

Hooks that do nothing, a 50 kB body, one run, each server in a process of its own, the load from this one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from model_serving import hosting
from model_serving.server import Context, application

BODY = bytes(50_000)
REQUEST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
SECONDS = 4.0


def nothing(body: bytes, content_type: str | None, context: Context) -> tuple[str, str]:
    """Hooks without a model."""
    return "{}", "application/json"


async def bare(request: Request) -> Response:
    """The least that a server can do with a body."""
    await request.body()
    return Response("{}", media_type="application/json")


def serve(which: str, pipe: Any) -> None:
    """Run one server in a child process; its port goes through the pipe."""
    listener, url = hosting.bind("127.0.0.1", 0)
    pipe.send(int(url.rpartition(":")[2]))
    routes = [Route("/invocations", bare, methods=["POST"])]
    hosting.run(application(nothing, workers=2) if which == "ours" else Starlette(routes=routes), listener)


async def caller(port: int, until: float) -> int:
    """One connection, one request after the other; how many were answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        await reader.readexactly(2)
        answered += 1
    writer.close()
    return answered


async def load(port: int, concurrency: int) -> float:
    """Requests a second at that many connections."""
    until = time.perf_counter() + SECONDS
    counts = await asyncio.gather(*(caller(port, until) for _ in range(concurrency)))
    return sum(counts) / SECONDS


def main() -> None:
    """Measure both servers in turns and print."""
    context = multiprocessing.get_context("spawn")
    ports: dict[str, int] = {}
    processes = []
    for which in ("bare Starlette", "ours"):
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(which, there), daemon=True)
        process.start()
        processes.append(process)
        ports[which] = here.recv()
    for concurrency in (1, 8, 32):
        rates = {which: asyncio.run(load(port, concurrency)) for which, port in ports.items()}
        shown = ", ".join(f"{which} {rate:,.0f}/s" for which, rate in rates.items())
        print(f"concurrency {concurrency:2}: {shown}, ratio {rates['ours'] / rates['bare Starlette']:.2f}")
    for process in processes:
        process.terminate()


if __name__ == "__main__":
    main()
