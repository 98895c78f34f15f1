"""How many photos of a folder have which label, and which could not be labelled.

python examples/classify_folder.py photos/
"""

import sys
from collections import Counter

from client import Client


def main(folder: str) -> int:
    """Print the counts; the number of failures."""
    labels: Counter[str] = Counter()
    failures = 0
    with Client() as client:
        for outcome in client.classify_folder(folder):  # as answers come, whatever the size of the folder
            if outcome.error:
                failures += 1
                print(f"{outcome.path}: {outcome.error.detail} {outcome.error.hint}", file=sys.stderr)
            else:
                labels[str(outcome.label)] += 1
    for label, photos in labels.most_common():
        print(f"{photos:5}  {label}")
    return failures


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1])))
