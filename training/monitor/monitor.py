"""What the stages of a run talk to while they train; it writes the recording and asks the rules.

with Monitor(folder, settings, about, say) as monitor:
    with monitor.phase("head"):
        stage = monitor.stage("head", device)
        stage.watch_module(head)
        ...
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch

from training.errors import DataError, TrainingError
from training.page.output import write_whole

from . import rules
from .finding import FOUND, Finding
from .recorder import Recorder
from .recording import EVAL, FORMAT, Phase, Recording, Scalars, as_line
from .settings import DEBUG_RULES, Monitoring
from .smdebug_hook import SmdebugHook
from .stage import Stage
from .system import Sampler
from .trace import Trace

LOOK_EVERY = 50
"""Records within an epoch from one look of the rules to the next."""

GROWTH = 20
"""They look after each epoch too, unless there are less than a twentieth more records: a look reads them all."""

INTERRUPTED = "interrupted"

FOLDER = "recording"
"""Of a run's output."""


class Monitor:
    """Records one run into a folder, or nothing without one. Used as a context, whose end closes the record."""

    def __init__(
        self,
        folder: Path | None,
        settings: Monitoring = Monitoring(),  # noqa: B008  # it is frozen
        about: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`about` is what Recording.about adds to format, times and status. TrainingError if it cannot be written."""
        self.stopped_by: str | None = None
        """The rule of `settings.stop_on` that has ended training."""
        self._folder = folder if settings.record_interval else None
        self.settings, self._say = settings, say
        self._about = {"format": FORMAT, "status": "running", "message": None, "ended": None, **(about or {})}
        self._about |= {"started": time.time(), "monitoring": settings.as_dict(), "traced": None}
        self._live = Recording(self._about)
        self._files: dict[str, IO[str]] = {}
        self._known: set[str] = set()
        self._next_look = 0
        self._smdebug: SmdebugHook | None = None
        self._sampler: Sampler | None = None
        self._trace: Trace | None = None
        if self._folder:
            self._open(self._folder)

    def _open(self, folder: Path) -> None:
        try:
            if earlier := self._interrupted(folder):
                self._live = Recording(self._about, scalars=earlier.scalars)
                self._about["started"] = earlier.about["started"]
            else:
                _clear(folder)
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("scalars", "steps", "system", "phases"):
                # By lines: what is written is on its way before the next step.
                self._files[name] = (folder / f"{name}.jsonl").open("a", buffering=1, encoding="utf-8")
                self._files[name].write("\n")  # a killed run may have left half a line
            self._describe()
        except OSError as error:
            raise TrainingError(f"{folder} cannot be written ({error.strerror}). Choose another folder.") from None
        self._smdebug = SmdebugHook.create(folder / "smdebug", self.settings.record_interval, self._say)
        self._trace = Trace(folder, self.settings.profile_after, self.settings.profile_steps, self._say)
        if self.settings.system_interval:
            try:
                self._sampler = Sampler(self.settings.system_interval, lambda sample: self.write("system", sample))
            except ImportError:
                self._say("note: psutil is not installed; the machine is not looked at")
        if begun := self._about.get("process_started"):
            self.write("phases", Phase("start-up", begun, time.time()))

    def _interrupted(self, folder: Path) -> Recording | None:
        """The record of an earlier start of this very run, which did not come to its end."""
        try:
            earlier = Recording.read(folder)
        except DataError:
            return None
        same = earlier.about.get("hyperparameters") == self._about.get("hyperparameters")
        same = same and earlier.about.get("photos") == self._about.get("photos")
        unfinished = earlier.about["status"] in ("running", "failed") or earlier.about["message"] == INTERRUPTED
        return earlier if same and unfinished else None

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        if self._folder is None:
            return
        status, message = "done", None
        if self.stopped_by:
            status, message = "stopped", f"by the rule {self.stopped_by}"
        elif kind is not None and not issubclass(kind, Exception):
            status, message = "stopped", INTERRUPTED
        elif kind is not None:
            status, message = "failed", str(error) or kind.__name__
        self._close(self._folder, status, message)

    def _let_go(self) -> None:
        """Of the thread and the files."""
        if self._sampler:
            self._sampler.close()
        if self._smdebug:
            self._smdebug.close()
        for file in self._files.values():
            with contextlib.suppress(OSError):  # a full disk, which has been said
                file.close()

    def _close(self, folder: Path, status: str, message: str | None) -> None:
        """Write how it ended and what the rules find, and say what is new."""
        self._about |= {"status": status, "message": message, "ended": time.time()}
        self._describe()
        found = rules.check(Recording.read(folder))
        with self._harmless():
            write_whole(folder / "findings.json", json.dumps([asdict(finding) for finding in found], indent=1) + "\n")
        for finding in found:
            self._tell(finding)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens within is a phase of this name."""
        begun = time.time()
        self.write("phases", Phase(name, begun, None))
        try:
            yield
        finally:
            self.write("phases", Phase(name, begun, time.time()))

    def note(self, **facts: Any) -> None:
        """Put facts into the description of the run."""
        self._about |= facts
        self._describe()

    def stage(
        self, name: str, device: torch.device, *, records: bool = True, every_step: bool = True, traced: bool = True,
        block: int = 1,
    ) -> Stage:  # fmt: skip
        """A stage of training that `records` numbers, not only times, is `traced` if it is the first that may be,
        and times `every_step`, in blocks of so many photos, or only the steps that are saved.
        """
        interval = self.settings.record_interval if self._folder and records else 0
        recorder = Recorder(name, interval, self._record, self._smdebug if records else None)
        trace = self._trace if traced else None
        return Stage(self, name, device, recorder, trace, every_step=every_step, block=block)

    def traces(self, stage: str, step: int) -> None:
        """The trace begins with this step."""
        self.note(traced=[stage, step, self.settings.profile_steps])

    def _record(self, scalars: Scalars) -> None:
        self.write("scalars", scalars)
        known = self._live.scalars
        if known and (known[-1].stage != scalars.stage or known[-1].step > scalars.step):
            # A stage begins, after a restart perhaps once more: what was said of its later steps is no longer so.
            known[:] = [line for line in known if line.stage != scalars.stage or line.step < scalars.step]
            self._next_look = 0
        known.append(scalars)
        if (scalars.mode == EVAL or len(known) % LOOK_EVERY == 0) and len(known) >= self._next_look:
            self._next_look = len(known) + len(known) // GROWTH
            self.look()

    def look(self) -> None:
        """Let the rules look at what has been recorded so far, and say what they find."""
        if self._folder:
            for finding in rules.check(self._live, DEBUG_RULES):
                self._tell(finding)
                if finding.status == FOUND and finding.rule in self.settings.stop_on and not self.stopped_by:
                    self.stopped_by = finding.rule
                    self._say(f"stopped by the rule {finding.rule}: the best epoch so far is kept")

    def _tell(self, finding: Finding) -> None:
        """Say what was found, once."""
        if finding.status == FOUND and finding.rule not in self._known:
            self._known.add(finding.rule)
            self._say(f"warning: {finding.rule}: {finding.evidence} {finding.mend}")

    def write(self, name: str, value: Any) -> None:
        """Add a line to the file of this name. A full disk ends the record, not the run."""
        if self._folder is None:
            return
        with self._harmless():
            self._files[name].write(as_line(value) + "\n")

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """What cannot be written ends the record, not the run."""
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: the file has been closed by another thread
            folder, self._folder = self._folder, None
            self._say(f"note: {folder} cannot be written any more ({error}); the run goes on without its record")

    def _describe(self) -> None:
        if self._folder:
            with self._harmless():
                write_whole(self._folder / "run.json", json.dumps(self._about, indent=1) + "\n")


def _clear(folder: Path) -> None:
    """Remove an earlier run's record; other files in the folder stay."""
    for path in folder.glob("*"):
        if path.name.startswith("smdebug") and path.is_dir():
            shutil.rmtree(path)
        elif path.suffix == ".jsonl" or path.name in ("run.json", "findings.json", "operators.json", "trace.json.gz"):
            path.unlink()


def silent() -> Stage:
    """A stage that records nothing, for training without a record."""
    return Monitor(None).stage("", torch.device("cpu"), every_step=False)
