"""What each hop costs, and what the batch route saves: `python -m bench.overhead --model model.tar.gz`.

One run: bare hooks in this process, the endpoint, the whole chain, alternating; then 64 photos both ways.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path

import requests

from bench.loads import stack
from bench.measure import interleaved, photo, table
from local_stack.stack import Description
from model_serving.archive import unpacked

ROUNDS = 20
BATCH = 64


def main() -> None:
    """Start a stack, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    model = parser.parse_args().model
    with stack(model) as running, unpacked(model) as folder:
        measure(running, folder)


def measure(stack: Description, folder: Path) -> None:
    """Print the figures of a running stack."""
    from model_serving import inference

    body = photo(500, 375, kilobytes=50)
    print(f"one JPEG of {len(body) / 1000:.0f} kB, 500 x 375, concurrency 1")
    model = inference.model_fn(str(folder))
    api, endpoint = requests.Session(), requests.Session()
    api.headers.update({"x-api-key": stack.api_key, "Content-Type": "image/jpeg"})

    def hooks() -> None:
        inference.output_fn(inference.predict_fn(inference.input_fn(body, "image/jpeg"), model), "application/json")

    def invoke() -> None:
        endpoint.post(f"{stack.endpoint_url}/invocations", body).raise_for_status()

    def classify() -> None:
        api.post(f"{stack.url}/v1/classify", body).raise_for_status()

    chain = "gateway + function + endpoint + hooks"
    medians = table(interleaved({"bare hooks": hooks, "endpoint + hooks": invoke, chain: classify}, ROUNDS))
    print(f"added to the bare hooks: {medians[chain] - medians['bare hooks']:.1f} ms at p50\n")

    encoded = base64.b64encode(body).decode()
    batch = {"images": [{"id": str(i), "b64": encoded} for i in range(BATCH)]}
    headers = {"Content-Type": "application/json"}

    def together() -> None:
        api.post(f"{stack.url}/v1/classify/batch", json.dumps(batch), headers=headers).raise_for_status()

    def one_by_one() -> None:
        for _ in range(BATCH):
            classify()

    names = f"{BATCH} photos, batch route", f"{BATCH} photos, single calls"
    medians = table(interleaved(dict(zip(names, (together, one_by_one), strict=True)), 7, block=1, warm=0))
    print(f"a photo: {medians[names[0]] / BATCH:.1f} ms against {medians[names[1]] / BATCH:.1f} ms, ", end="")
    print(f"{medians[names[1]] / medians[names[0]]:.2f} times cheaper in a batch")


if __name__ == "__main__":
    main()
