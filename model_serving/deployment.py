"""Ray Serve's side of an archive: its `config.yaml`, and `serve --engine ray` on a laptop or a cluster of one's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .archive import unpacked
from .errors import EngineError

ONGOING = 64
"""Requests that a replica takes at a time; what is more waits at the proxy."""

QUEUED = 100
"""Requests that may wait there, as many as TorchServe lets; more get 503."""

STOPPING = 30
"""Seconds that Ray gets to end."""

BATCH = {False: 8, True: 64}
"""Requests that may share a batch, without and with a GPU."""


@dataclass(frozen=True)
class Replicas:
    """What a replica gets of its machine, and how many there are: as many as `least` to `most`, by what waits.

    `gpus` may be a share, as 0.25 for four replicas on one. `threads` are those of the network, 0 for all cores: right
    for one replica a machine.
    """

    cpus: float = 1
    gpus: float = 0
    least: int = 1
    most: int = 1
    threads: int = 0

    @classmethod
    def of(cls, count: str, *, cpus: float = 1, gpus: float = 0, threads: int = 0) -> Replicas:
        """Of `MIN:MAX` or one number of replicas; EngineError if it is neither.

        Without `threads`, several replicas share this machine's cores.
        """
        found = re.fullmatch(r"(\d+)(?::(\d+))?", count)
        least, most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if most < max(least, 1):
            raise EngineError(f"replicas: {count!r} is no MIN:MAX. Take one like 1:4")
        return cls(cpus, gpus, least, most, threads or (max(1, (os.cpu_count() or 1) // most) if most > 1 else 0))


def config(replicas: Replicas = Replicas(), host: str = "", port: int = 0) -> bytes:
    """`config.yaml` for `serve run`; where it listens is Ray's default unless it is given.

    https://docs.ray.io/en/latest/serve/production-guide/config.html
    """
    listens = f"http_options:\n  host: {json.dumps(host)}\n  port: {port}\n" if host else ""
    return f"""{listens}applications:
  - name: whippet
    route_prefix: /
    import_path: deployment:app
    args:
      threads: {replicas.threads}  # of the network; 0 is all cores
      max_batch_size: {BATCH[replicas.gpus > 0]}
    deployments:
      - name: Model
        max_ongoing_requests: {ONGOING}
        max_queued_requests: {QUEUED}
        autoscaling_config:
          min_replicas: {replicas.least}
          max_replicas: {replicas.most}
          target_ongoing_requests: {BATCH[replicas.gpus > 0]}
        ray_actor_options:
          num_cpus: {replicas.cpus:g}
          num_gpus: {replicas.gpus:g}  # a share is possible, as 0.25
""".encode()


def serve(archive: Path, host: str, port: int, replicas: Replicas, address: str) -> int:
    """Run Ray Serve on an archive until it ends; its exit code. EngineError where Ray is not installed.

    `address` is that of a running cluster, which gets the archive's files; without one Ray starts here.
    """
    program = shutil.which("serve", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        raise EngineError("Ray Serve is not installed. Run: pip install 'whippet[ray]'")
    with unpacked(archive) as folder:
        (folder / "config.yaml").write_bytes(config(replicas, host, port))
        # A cluster's machines get the files from Ray; here they are where AWS's container would have them.
        elsewhere = ["--address", address, "--working-dir", str(folder)] if address else []
        path = os.pathsep.join((str(folder), f"{folder}/code"))
        # Ray's usage statistics go to its makers unless somebody says no.
        environment = {"RAY_USAGE_STATS_ENABLED": "0", **os.environ, "PYTHONPATH": path}
        return _run([program, "run", *elsewhere, "config.yaml"], folder, environment)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Until it ends; what ends us ends it too, and with it the processes it has started."""
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()
