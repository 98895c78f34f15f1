"""Journals of processes that were killed, and of disks that are full."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client import journal
from client.errors import UsageError
from client.journal import Journal
from tests.journals import KEY, ok

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals and limits there")

WRITER = """
import sys
from pathlib import Path
from client.journal import Journal
from tests.journals import KEY, ok
with Journal.open(Path(sys.argv[1])) as found:
    found.begin(KEY)
    for number in range(int(sys.argv[2]), 10**9):
        found.write(ok(f"{number}.jpg", str(number)))
        print(number, flush=True)
"""

FILLER = """
import resource, signal, sys
from pathlib import Path
from client.journal import Journal
from tests.journals import KEY, ok
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with Journal.open(Path(sys.argv[1])) as found:
    found.begin(KEY)
    try:
        for number in range(1000):
            found.write(ok(f"{number}.jpg", str(number)))
    except OSError as error:
        print(number, error.errno)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Every line that was acknowledged is there, once, after twenty kills at random moments; the lock is free again."""
    path, chance, begin = tmp_path / "results.jsonl", random.Random(7), 0
    for _ in range(20):
        command = [sys.executable, "-c", WRITER, str(path), str(begin)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == str(begin)
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
            said = [int(line) for line in process.stdout.read().split() if line.isdecimal()]
        acknowledged = said[-2] if len(said) > 1 else begin  # the last number may be cut off itself
        found = [outcome.path for outcome in journal.read(path)]
        assert found[: acknowledged + 1] == [f"{number}.jpg" for number in range(acknowledged + 1)]
        assert len(set(found)) == len(found)
        begin = len(found)
    with Journal.open(path) as mended:
        mended.begin(KEY)
        assert mended.recall("0.jpg", "0") == (ok("0.jpg", "0"), True)
    assert path.read_bytes().endswith(b"\n")


def test_another_process_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    """However it ends: a killed one leaves a file beside the journal, but no lock."""
    path = tmp_path / "results.jsonl"
    with subprocess.Popen([sys.executable, "-c", WRITER, path, "0"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UsageError, match="Another run"):
            Journal.open(path)
        process.kill()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".lock")]
    with Journal.open(path) as found:
        found.begin(KEY)
        assert found.recall("0.jpg", "0")
    assert os.listdir(tmp_path) == ["results.jsonl"]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """The write that finds no room is an error, what it wrote of its line is cut off, and a later run goes on."""
    path = tmp_path / "results.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    number, _ = map(int, done.stdout.split())
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == number > 3
    assert all(json.loads(line) and line.endswith(b"\n") for line in lines)
    with Journal.open(path) as found:
        found.begin(KEY)
        found.write(ok("new.jpg", "new"))
    assert len(list(journal.read(path))) == number + 1


def test_a_kill_in_the_middle_of_compaction(tmp_path: Path) -> None:
    """There is the old file or the new one, never half of one."""
    path = tmp_path / "results.jsonl"
    code = (
        "import os, sys, signal\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from pathlib import Path\n"
        "from client.journal import Journal\n"
        "from tests.journals import KEY, ok\n"
        "found = Journal.open(Path(sys.argv[1])); found.begin(KEY)\n"
        "[found.write(ok('a.jpg', str(n))) for n in range(3)]\n"
        "found.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [outcome.sha256 for outcome in journal.read(path)] == ["2"]
    assert len(os.listdir(tmp_path)) == 3  # the journal, its lock, and the file that was to replace it
    with Journal.open(path) as found:
        found.begin(KEY)
    assert len(path.read_bytes().splitlines()) == 1
    assert os.listdir(tmp_path) == ["results.jsonl"]
