"""`model_serving check`: says yes to a good archive and names what is wrong with a bad one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model_serving.doctor import Check, examine


def repacked(unpacked: Path, tmp_path: Path, change: Callable[[Path], object]) -> Path:
    """The default archive with something changed."""
    folder = tmp_path / "folder"
    shutil.copytree(unpacked, folder)
    change(folder)
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            tar.add(file, file.relative_to(folder).as_posix())
    return path


def failed(archive: Path) -> list[Check]:
    """The checks that did not hold."""
    return [check for check in examine(archive) if not check.ok]


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Replace text in one file of the archive."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


HOOKS = "code/inference.py"


def test_command_on_a_good_archive(archive: Path) -> None:
    """Every check is printed, exit 0, from a folder that is not the checkout."""
    command = [sys.executable, "-m", "model_serving", "check", str(archive)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=archive.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 20
    assert all(line.startswith("ok ") for line in lines[:-1])


def test_command_on_a_bad_archive(tmp_path: Path) -> None:
    """Exit 1 and no traceback."""
    path = tmp_path / "model.tar.gz"
    path.write_bytes(b"text")
    done = subprocess.run([sys.executable, "-m", "model_serving", "check", str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "FAIL unpacks safely" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        (lambda folder: (folder / "model.pt").unlink(), "has model.json", "model.pt"),
        (lambda folder: (folder / "code" / "torchserve.py").touch(), "container shadows", "torchserve.py"),
        (edit("model.json", '"temperature": 1.0', '"temperature": 2.0'), "version is that", "pack it again"),
        (edit(HOOKS, "import json\n", "import json\nimport model_serving\n"), "loads its model", "model_serving"),
        (edit(HOOKS, "context.set_response_status", "(lambda **_: None)"), "refuses: empty body", "200 instead"),
        (edit("model.json", '"efficientnet_lite0"', '"resnet18"'), "loads its model", "weights"),
    ],
)
def test_what_is_broken_is_named(
    change: Callable[[Path], object], name: str, detail: str, unpacked: Path, tmp_path: Path
) -> None:
    """Missing files, shadowed modules, a stale version, code that needs the checkout, hooks that swallow errors."""
    problems = failed(repacked(unpacked, tmp_path, change))
    assert any(name in p.name and detail in p.detail for p in problems), problems


def test_traceback_in_an_answer_is_a_failure(unpacked: Path, tmp_path: Path) -> None:
    """A hook that lets exceptions into the body is caught."""
    change = edit("code/inference.py", 'json.dumps({"error": answer.as_dict()})', 'json.dumps({"error": "Traceback"})')
    assert any("traceback" in p.detail for p in failed(repacked(unpacked, tmp_path, change)))


def test_checks_are_json_ready() -> None:
    """The probe sends its checks as JSON lines."""
    assert Check(**json.loads('{"name": "n", "ok": true, "detail": ""}')) == Check("n", True)
