"""The labels of the photos in a folder, and of those that arrive in it, until Ctrl-C.

python examples/watch_folder.py incoming/      (needs the watchdog library: pip install 'whippet[watch]')
"""

import sys
from contextlib import closing, suppress
from pathlib import Path

from client import Client
from client.watching import watch


def main(folder: str) -> None:
    """Print a line a photo."""
    with Client() as client, closing(client.classify_many(watch(Path(folder)))) as outcomes:
        for outcome in outcomes:
            print(f"{outcome.path}: {outcome.label or outcome.error}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1])
