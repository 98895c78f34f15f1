"""Files at new names, never over another."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from client import placing

WAYS: dict[str, Callable[[Path, Path], object]] = {
    "link": placing.link,
    "copy": placing.copy,
    "move": placing.move,
    "write": lambda source, target: placing.write(source.read_bytes(), target),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("links", ["all", "symbolic", "none"])
def test_a_name_that_is_taken(tmp_path: Path, way: str, links: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may have taken it a moment ago: it keeps it, and the source is where it was."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not here")

    for name in {"all": (), "symbolic": ("link",), "none": ("link", "symlink")}[links]:
        monkeypatch.setattr(os, name, refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("source")
    target.write_text("target")
    with pytest.raises(FileExistsError):
        WAYS[way](source, target)
    assert (source.read_text(), target.read_text()) == ("source", "target")
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_a_source_that_cannot_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo that cannot be moved is not doubled."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("source")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == source:
            raise PermissionError(errno.EACCES, "read-only folder")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        placing.move(source, target)
    assert os.listdir(tmp_path) == ["source"]


def test_an_interruption_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come after the source is gone: the target is then all there is."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("source")
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        placing.move(source, target)
    assert target.read_text() == "source"


def test_same_bytes(tmp_path: Path) -> None:
    """Size and time prove nothing where a photo would be deleted; where a copy would be made anew, they are enough."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("abc")
    other.write_text("abd")
    for path in (one, other):
        os.utime(path, (1e9, 1e9))
    assert not placing.same_bytes(one, other)
    assert placing.looks_same(one, other)
    assert not placing.same_bytes(one, tmp_path / "missing")
