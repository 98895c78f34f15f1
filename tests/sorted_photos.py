"""Photos and results for tests that sort them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from client.results import Failure, Outcome
from lambda_api.schema import Decision, Prediction
from tests.fake_api import photo

SORTED = ["_failed/torn.jpg", "_unknown/4.jpg", "_unsure/pug/3.jpg", "beagle/1 (2).jpg", "beagle/1.jpg", "pug/2.jpg"]
"""Where `some_photos` go."""


def outcome(path: Path | str, label: str, decision: Decision = "confident") -> Outcome:
    """The result of a photo that lies there."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if os.path.isfile(path) else None
    return Outcome(str(path), digest, (Prediction(label, label, 0.9),), decision)


def some_photos(root: Path) -> list[Outcome]:
    """Two beagles with one name in different folders, a pug, an unsure, an unknown and a broken one."""
    for folder in ("a", "b"):
        (root / folder).mkdir(parents=True)
    broken = root / "torn.jpg"
    broken.write_bytes(b"\xff\xd8")
    return [
        outcome(photo(root / "a" / "1.jpg", "red"), "beagle"),
        outcome(photo(root / "b" / "1.jpg", "blue"), "beagle"),
        outcome(photo(root / "b" / "2.jpg", "lime"), "pug"),
        outcome(photo(root / "3.jpg", "gray"), "pug", "unsure"),
        outcome(photo(root / "4.jpg", "black"), "pug", "unknown"),
        Outcome(str(broken), error=Failure("bad_image", "It is torn.", "")),
    ]


def tree(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def contents(folder: Path) -> dict[str, bytes]:
    """The same with their bytes."""
    return {name: (folder / name).read_bytes() for name in tree(folder)}
