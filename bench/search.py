"""A search from cold against one pass of its backbone over the photos: `python -m bench.search [--data DIR]`.

The search is a process of its own as a user would start it: twenty trials with nothing cached, start-up, reading of
photos and the report included. The pass is the folded network over photos that are decoded already.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

from training.backbone import load
from training.config import TrainingConfig
from training.data import layout

from .training import backbone_pass, sample_folders, seconds, weights_for


def main() -> None:
    """Print the pass, the search, and what the best trial brought."""
    parser = argparse.ArgumentParser(description="A search from cold against one pass of its backbone.")
    parser.add_argument("--data", type=Path, help="Labelled folders; parts of sample photos without it.")
    parser.add_argument("--backbone", default="resnet152")
    parser.add_argument("--trials", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = options.data or sample_folders(folder / "photos")
        weights = weights_for(options.backbone, folder)
        backbone = load(TrainingConfig(backbone=options.backbone, weights="".join(weights[1:])))
        dataset = layout.load(data)
        once, photos = backbone_pass(backbone, [*dataset.split("train"), *dataset.split("valid")])
        print(f"{options.backbone}, {photos} photos for training and validation: one pass {once:.1f} s", flush=True)
        search = ["-m", "training", "tune", "--data", str(data), "--backbone", options.backbone, *weights]
        search += ["--cache", str(folder / "cache"), "--trials", str(options.trials)]
        for what in ("from cold", "cached"):
            spent = seconds(*search, "--output", str(folder / what))
            print(f"  {options.trials} trials {what:10}  {spent:6.1f} s   {spent / once:5.2f} passes", flush=True)
        best = json.loads((folder / "from cold" / "best.json").read_text(encoding="utf-8"))
        with (folder / "from cold" / "trials.csv").open(newline="", encoding="utf-8") as file:
            states = [row["state"] for row in csv.DictReader(file)]
    print(f"  {states.count('stopped early')} of {len(states)} trials were stopped early")
    print(f"  accuracy on validation: best {best['valid_top1']:.4f}, defaults {best['defaults']['valid_top1']:.4f}")


if __name__ == "__main__":
    main()
