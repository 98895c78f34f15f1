"""What shrinking saves and what it changes, on twelve-megapixel photos: `python -m bench.shrinking`.

Each photo goes to the one-machine stack twice, as it is and as our client sends it. Printed are the bytes saved and the
top labels that differ, the latter also where the model was sure: a photo between two labels tips over for any reason.
There are few real photos of that size at hand, so real ones of some 500 pixels are enlarged and given a sensor's noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import loads, pictures
from client import Client
from client.photo import Target, prepare
from client.results import Outcome
from local_stack.stack import Description

SURE = 0.1
"""Lead of the first label over the second, above which a photo is no near tie."""


@dataclass(frozen=True)
class Pair:
    """One photo's result as it is and shrunken, and the bytes of both."""

    full: Outcome
    shrunken: Outcome
    before: int
    after: int

    @property
    def changed(self) -> bool:
        """Whether the top label differs."""
        return self.full.label != self.shrunken.label

    @property
    def sure(self) -> bool:
        """Whether the first label leads clearly."""
        first, second = self.full.predictions[:2]
        return first.score - second.score > SURE


def pairs(stack: Description, photos: Iterable[bytes]) -> list[Pair]:
    """Send each photo both ways; those too large to be sent directly as they are are left out."""
    with (
        Client(stack.url, stack.api_key, shrink=False) as whole,
        Client(stack.url, stack.api_key) as small,
        ThreadPoolExecutor(2) as pool,
    ):
        target = Target.of(small.model())

        def both(photo: bytes) -> Pair:
            after = len(prepare(photo, target).body)
            return Pair(whole.classify(photo), small.classify(photo), len(photo), after)

        return list(pool.map(both, filter(pictures.is_sendable, photos)))


def report(name: str, found: Sequence[Pair]) -> None:
    """Print the figures of one set."""
    if not found:
        print(f"{name}: none at hand")
        return
    before, after = sum(pair.before for pair in found), sum(pair.after for pair in found)
    changed, sure = [pair for pair in found if pair.changed], [pair for pair in found if pair.sure]
    print(f"{name}: {len(found)} photos, {before / len(found) / 1e6:.2f} MB each")
    print(f"  bytes saved          {1 - after / before:.1%}, least {min(1 - p.after / p.before for p in found):.1%}")
    print(f"  top labels changed   {len(changed)}, {len(changed) / len(found):.2%}")
    print(f"  of {len(sure)} sure ones       {sum(pair.changed for pair in sure)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an archive; the default model without it")
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="real photos of a camera, searched for JPEGs")
    arguments = parser.parse_args()
    originals = pictures.originals()
    chosen = originals[:: max(1, len(originals) // arguments.photos)][: arguments.photos]
    with loads.stack(arguments.model) as stack:
        report("enlarged", pairs(stack, pictures.all_enlarged(chosen)))
        report("real large ones", pairs(stack, pictures.real_large(arguments.folder)))


if __name__ == "__main__":
    main()
