"""`python -m training` for tests: as processes, and within the test's own, which has imported torch already."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from tests.conftest import ROOT
from training import cli
from training.progress import METRICS


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    def metrics(self, name: str) -> list[float]:
        """What SageMaker would read out of the log."""
        return [float(found) for found in re.findall(METRICS[name], self.out)]


def run(*command: str) -> Done:
    """Run a command at the root, one thread each so that several processes do not stand in each other's way."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(*command: str) -> Done:
    """The same in this process, which has imported torch already."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", list(command))
        handler = signal.getsignal(signal.SIGTERM)
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Done(code, out.getvalue(), err.getvalue())
