"""Twelve-megapixel photos over a slow line, our client against the loop that others use: `python -m bench.link`.

The line is a proxy in a process of its own: all connections share 20 Mbit/s up, and what is sent arrives 40 ms later,
both ways; a new connection waits a round trip, as TCP's handshake does. TCP's slow start and TLS, which cost a
connection more, are not in it, nor is loss. (tc's netem does this without a proxy, where the kernel has it and one is
root.) In turns, by rounds, over the same files; the loop, whose pace is the line's alone, gets the first of them only.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench import loads, pictures
from model_serving.hosting import announce, end_with_parent

UP_BYTES = 20e6 / 8
"""Bytes a second up."""
DELAY = 0.040
"""Seconds each way."""
CHUNK = 1 << 14
"""Bytes that go in one piece: 6.5 ms of the line."""
BUFFER = 1 << 16
"""Bytes that a connection may have waiting for the line; more stay with the sender, as they do with a real modem."""


class Line:
    """A line up that all connections share: one piece after the other."""

    def __init__(self, rate: float) -> None:
        """`rate` in bytes a second."""
        self._rate = rate
        self._free = 0.0

    async def pass_up(self, size: int) -> None:
        """Wait until so many bytes have gone."""
        self._free = max(self._free, _now()) + size / self._rate
        await asyncio.sleep(self._free - _now())


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line | None) -> None:
    """Bytes from one end to the other, each DELAY later, until the end or a reset."""
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        while True:
            due, data = await on_the_way.get()
            await asyncio.sleep(due - _now())
            if not data:
                return
            writer.write(data)
            await writer.drain()

    arriving = asyncio.create_task(arrive())
    data = b"-"
    while data:
        try:
            data = await reader.read(CHUNK)
        except ConnectionError:
            data = b""
        if line is not None:
            await line.pass_up(len(data))
        on_the_way.put_nowait((_now() + DELAY, data))
    with suppress(ConnectionError):
        await arriving
    writer.close()


async def proxy(url: str) -> None:
    """Serve as the line to a URL; print the URL of its near end."""
    far, line = urlsplit(url), Line(UP_BYTES)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * DELAY)
        there_reader, there_writer = await asyncio.open_connection(far.hostname, far.port)
        await asyncio.gather(_carry(reader, there_writer, line), _carry(there_reader, writer, None))

    async with await asyncio.start_server(connect, "127.0.0.1", 0, limit=BUFFER) as server:
        (listener,) = server.sockets
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        announce(f"http://127.0.0.1:{listener.getsockname()[1]}")
        end_with_parent()
        await server.serve_forever()


@contextmanager
def shaped(url: str) -> Iterator[str]:
    """The URL of the near end of a line to this one."""
    command = [sys.executable, "-m", "bench.link", "--far", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an archive; the default model without it")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--loop", type=int, default=40, help="how many of them the loop gets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--far", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.far:
        asyncio.run(proxy(arguments.far))
    else:
        compare(arguments.model, arguments.photos, arguments.loop, arguments.rounds)


def compare(model: Path | None, number: int, looped: int, rounds: int) -> None:
    """Measure and print."""
    found = pictures.originals()
    photos = list(pictures.all_enlarged(found[:: max(1, len(found) // 40)]))
    with loads.stack(model) as stack, shaped(stack.url) as url, TemporaryDirectory(prefix="whippet-bench-") as folder:
        pictures.write(Path(folder), photos, number)
        mean = sum(map(len, photos)) / len(photos)
        line = f"{UP_BYTES * 8 / 1e6:.0f} Mbit/s up, {1e3 * DELAY:.0f} ms each way"
        print(f"{number} photos of {mean / 1e6:.1f} MB, {line}: {UP_BYTES / mean:.2f} photos/s fit as they are")
        ways = {
            "ours": partial(loads.ours, url, stack.api_key, Path(folder)),
            "loop": partial(loads.loop, url, stack.api_key, sorted(Path(folder).iterdir())[:looped]),
        }
        results = loads.rounds(ways, rounds)
    print(f"ours against the loop {loads.ratio(results, 'ours', 'loop'):.1f}")


if __name__ == "__main__":
    main()
