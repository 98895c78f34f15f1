"""A folder in asyncio, beside other tasks: here one that tells every second how far it is.

python examples/async_folder.py photos/
"""

import asyncio
import sys
from collections import Counter

from client import AsyncClient


async def tell(done: Counter[str]) -> None:
    """The event loop stays free: files are read and shrunk in threads."""
    while True:
        await asyncio.sleep(1)
        print(f"{done.total()} photos …", file=sys.stderr)


async def main(folder: str) -> None:
    """Print a line a photo as answers come, and the sum."""
    done: Counter[str] = Counter()
    async with AsyncClient() as client:
        teller = asyncio.create_task(tell(done))
        async for outcome in client.classify_folder(folder):
            done[outcome.status] += 1
            print(f"{outcome.path}: {outcome.label or outcome.error}")
        teller.cancel()
    print(f"{done['ok']} labelled, {done['error']} failed")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
