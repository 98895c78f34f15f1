"""Copies of the photos of a folder, in one folder for each label; only those the model is certain of.

python examples/sort_by_label.py photos/ sorted/ 0.8
"""

import sys
from pathlib import Path

from client import Client
from client.sorting import How, sort_into
from client.views import Filter


def main(photos: str, folder: str, min_confidence: str = "0.5") -> None:
    """Print what was done; the undo file in the folder takes it back."""
    wanted = Filter(min_confidence=float(min_confidence))
    with Client() as client:
        outcomes = client.classify_folder(photos)
        done = sort_into(filter(wanted.keeps, outcomes), Path(folder), How.copy)
    print(done.summary())


if __name__ == "__main__":
    main(*sys.argv[1:])
