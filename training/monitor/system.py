"""The machine while a run goes on: a thread that looks every half second."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from .recording import Gpu, SystemSample


class Sampler:
    """Looks at the machine every `interval` milliseconds and gives each sample to `write`, until it is closed."""

    def __init__(self, interval: int, write: Callable[[SystemSample], None]) -> None:
        """ImportError without psutil. GPUs are looked at where NVIDIA's library and its Python package are."""
        import psutil

        self._psutil: Any = psutil
        self._process = psutil.Process()
        self._seconds, self._write = interval / 1000, write
        self._gpus = _Gpus()
        self._disk, self._then = self._bytes(), time.monotonic()
        # The first of these is about the time since the machine was started.
        psutil.cpu_percent(percpu=True)
        psutil.cpu_times_percent()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="system-samples", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more samples."""
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(self._seconds):
            self._write(self.sample())

    def sample(self) -> SystemSample:
        """The machine now, over the time since the sample before."""
        cores = self._psutil.cpu_percent(percpu=True)
        memory = self._psutil.virtual_memory()
        disk, now = self._bytes(), time.monotonic()
        seconds = max(now - self._then, 1e-9)
        read, written = ((new - old) / seconds for new, old in zip(disk, self._disk, strict=True))
        self._disk, self._then = disk, now
        return SystemSample(
            t=time.time(),
            cpu=sum(cores) / len(cores) / 100,
            busiest=max(cores) / 100,
            iowait=getattr(self._psutil.cpu_times_percent(), "iowait", 0.0) / 100,
            memory=memory.total - memory.available,
            memory_total=memory.total,
            process_memory=self._own_memory(),
            read=read,
            written=written,
            gpus=self._gpus.now(),
        )

    def _bytes(self) -> tuple[int, int]:
        """Read and written since the machine was started; none where there is no disk of its own."""
        try:
            found = self._psutil.disk_io_counters()
        except NotImplementedError:  # where a sandbox hides the disks
            found = None
        return (found.read_bytes, found.write_bytes) if found else (0, 0)

    def _own_memory(self) -> int:
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(self._psutil.Error):  # it may just have ended
                total += process.memory_info().rss
        return total


class _Gpus:
    """NVIDIA's GPUs by NVML; none where it is missing."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            self._nvml = pynvml
        except ImportError:
            return
        except pynvml.NVMLError:  # the package without a driver
            return

    def now(self) -> tuple[Gpu, ...]:
        """Each GPU, none once one cannot be asked."""
        if not self._handles:
            return ()
        try:
            return tuple(self._one(handle) for handle in self._handles)
        except self._nvml.NVMLError:  # a part of a GPU (MIG) does not say how busy it is
            self._handles = []
            return ()

    def _one(self, handle: Any) -> Gpu:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        busy = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
        return Gpu(busy / 100, int(memory.used), int(memory.total))
