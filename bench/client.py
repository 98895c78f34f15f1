"""Our client against a plain load generator and against the loop that others use: `python -m bench.client`.

One one-machine stack, so that client and server share the cores. Two sets: real photos of some 500 pixels, over and
over with changed bytes, and the same at twelve megapixels. In turns, by rounds:

    ours        `python -m client classify FOLDER -o FILE` as a process, from its start to its end, memory watched
    generator   the same shrunken bytes, made before, sent by threads: one a request, and in packs; each at the
                concurrency that did best of 1, 2, 4, 8 and 16
    loop        32 threads, each file as it is, one a request, three tries

Ratios are of photos a second, the median of the rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from bench import loads, pictures
from client import answers
from client.photo import Target, Upload, prepare
from local_stack.stack import Description

TRIAL = 256
"""Photos for each look at a concurrency of the generator."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an archive; the default model without it")
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--large", type=int, default=200, help="photos of twelve megapixels")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found = pictures.originals()
    with loads.stack(arguments.model) as stack:
        if arguments.photos:
            compare(stack, "500 pixels", pictures.jpegs(found), arguments.photos, arguments.rounds)
        if arguments.large:
            large = list(pictures.all_enlarged(found[:: max(1, len(found) // 40)]))
            compare(stack, "twelve megapixels", large, arguments.large, arguments.rounds)


def compare(stack: Description, name: str, photos: Sequence[bytes], number: int, rounds: int) -> None:
    """Measure and print one set of photos."""
    uploads = prepared(stack, photos)
    before, after = sum(map(len, photos)), sum(len(each.body) for each in uploads)
    print(f"\n{number:,} photos of {name}: {before / len(photos) / 1e3:,.0f} kB each, ", end="")
    print(f"{after / len(uploads) / 1e3:,.0f} kB shrunken, {1 - after / before:.1%} less")
    one = loads.best(stack, [loads.singles(stack, uploads)], TRIAL)
    many = loads.best(stack, [loads.packs(stack, uploads, size) for size in loads.PACKS], TRIAL)
    with TemporaryDirectory(prefix="whippet-bench-") as folder:
        pictures.write(Path(folder), photos, number)
        ways = {
            "ours": partial(loads.ours, stack.url, stack.api_key, Path(folder)),
            "generator, one a request": partial(one, number),
            "generator, packs": partial(many, number),
            "loop": partial(loads.loop, stack.url, stack.api_key, sorted(Path(folder).iterdir())),
        }
        results = loads.rounds(ways, rounds)
    for other in list(ways)[1:]:
        print(f"ours against {other:28} {loads.ratio(results, 'ours', other):5.2f}")
    print(f"memory of our client at its peak   {max(load.memory for load in results['ours']) / 1e6:.0f} MB")


def prepared(stack: Description, photos: Sequence[bytes]) -> list[Upload]:
    """What our client sends of each photo."""
    said = requests.get(f"{stack.url}/v1/model", headers={"x-api-key": stack.api_key}, timeout=30)
    target = Target.of(answers.description(said.json()))
    return [prepare(photo, target) for photo in photos]


if __name__ == "__main__":
    main()
