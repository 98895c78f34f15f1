"""Contract 1, `model.tar.gz`: pack it, unpack it safely, derive its version.

    model.pt      state_dict, plain tensors          model.json    ModelSpec
    code/         inference.py, classifier/: what SageMaker's PyTorch container imports; batch_handler.py for TorchServe
    config.yaml, deployment.py                       the same hooks for Ray Serve
    golden/       photos with what the model says of them, where it was trained with some

An archive may come from anywhere: unpacking refuses paths that leave the folder, links, devices and bombs.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .errors import ArchiveError

if TYPE_CHECKING:
    import torch

    from .classifier import ModelSpec

MAX_UNPACKED_BYTES = 4 * 1024**3
"""A tar that unpacks to more than this is refused; the largest torchvision model weighs 2.6 GB."""

MAX_MEMBERS = 10_000

STORED = 0
"""gzip's level. Weights hardly shrink (7 % by level 1), and whoever starts the model would wait for it again."""

PACKAGE = Path(__file__).parent

NOTHING: Mapping[str, bytes] = {}


ADAPTERS = {"code/batch_handler.py": "batch_handler.py", "deployment.py": "ray_deployment.py"}
"""Files of an archive that lead hosts to the hooks, by where they are in this package; they decide no answer."""


def code_files(root: Path = PACKAGE) -> list[Path]:
    """The files that decide answers, relative to `root` (this package, or an unpacked `code/`), sorted."""
    sources = [root / "inference.py", *(root / "classifier").rglob("*.py")]
    return sorted(path.relative_to(root) for path in sources)


def code_digest(root: Path = PACKAGE) -> str:
    """SHA-256 over names and contents of `code_files(root)`, in hexadecimal."""
    digest = hashlib.sha256()
    for relative in code_files(root):
        digest.update(relative.as_posix().encode() + b"\0" + (root / relative).read_bytes() + b"\0")
    return digest.hexdigest()


def content_version(spec: ModelSpec, state: Mapping[str, torch.Tensor], code: str) -> str:
    """Twelve hexadecimal digits over all that decides an answer: weights, spec and code.

    Where the model came from (metrics, data, date, libraries) does not count, nor does the file format of the
    weights: the tensors are hashed by name, type, shape and bytes.
    """
    import torch

    deciding = ("name", "backbone", "classes", "format", "head", "preprocessing", "calibration")
    data = {key: value for key, value in dataclasses.asdict(spec).items() if key in deciding}
    digest = hashlib.sha256(json.dumps([data, code], sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def pack(
    spec: ModelSpec, state: Mapping[str, torch.Tensor], output: Path, extra: Mapping[str, bytes] = NOTHING
) -> ModelSpec:
    """Write the archive of a model to `output`, whole or not at all; returns the spec with its version.

    The weights must fit the network (WeightsError). The same content gives the same bytes, but for `created`. `extra`
    are more files by name, as of `golden`.
    """
    spec, files = contents(spec, state)
    _write({**files, **extra}, output)
    return spec


def stage(
    spec: ModelSpec, state: Mapping[str, torch.Tensor], folder: Path, extra: Mapping[str, bytes] = NOTHING
) -> ModelSpec:
    """Write what `pack` would put into an archive to `folder`, for a host that makes the tar.gz itself."""
    spec, files = contents(spec, state)
    for name, content in {**files, **extra}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return spec


def restage(archive: Path, output: Path, extra: Mapping[str, bytes] = NOTHING) -> ModelSpec:
    """The same model with this package's code, so that a changed script needs no training; returns its spec.

    Its version is derived anew, golden photos and all else stay. `extra` replaces or adds files. Errors as `unpack`;
    SpecError or WeightsError where the model cannot be read.
    """
    from .classifier import ModelSpec, network, read_weights

    with unpacked(archive) as folder:
        state = read_weights(folder / "model.pt")
        spec = ModelSpec.load(folder / "model.json")
        network.check(spec, state)
        spec = dataclasses.replace(spec, version=content_version(spec, state, code_digest()))
        kept = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        files = {name: path.read_bytes() for name, path in kept.items() if not name.startswith("code/")}
    _write({**files, "model.json": spec.to_json().encode(), **_ours(), **extra}, output)
    return spec


def contents(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> tuple[ModelSpec, dict[str, bytes]]:
    """The spec with version, date and libraries, and the files of its archive by name; errors as `pack`."""
    import torch
    import torchvision

    from .classifier import network

    network.check(spec, state)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    spec = dataclasses.replace(
        spec,
        version=content_version(spec, plain, code_digest()),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        libraries={"torch": torch.__version__, "torchvision": torchvision.__version__},
    )
    weights = io.BytesIO()
    torch.save(plain, weights)
    files = {"model.json": spec.to_json().encode(), "model.pt": weights.getvalue()}
    return spec, {**files, **_ours()}


def _ours() -> dict[str, bytes]:
    """What of this package goes into every archive, by its name there."""
    from .deployment import config

    hooks = {f"code/{path.as_posix()}": (PACKAGE / path).read_bytes() for path in code_files()}
    adapters = {name: (PACKAGE / path).read_bytes() for name, path in ADAPTERS.items()}
    return {**hooks, **adapters, "config.yaml": config()}


def _write(files: Mapping[str, bytes], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as raw, gzip.GzipFile("", "wb", STORED, raw, mtime=0) as packed:
            with tarfile.open(fileobj=packed, mode="w") as tar:
                for name, content in files.items():
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(content), 0o644
                    tar.addfile(info, io.BytesIO(content))
        os.chmod(partial, 0o644)
        os.replace(partial, output)
    except BaseException:
        os.unlink(partial)
        raise


def unpack(archive: Path, dest: Path) -> Path:
    """Unpack `archive` into the existing folder `dest`; returns `dest`.

    ArchiveError if it is no tar.gz, or holds a path that leaves the folder, a link, a device or a bomb.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            total = 0
            for count, member in enumerate(tar, 1):
                total += member.size
                _check_member(member, count, total)
                _extract(tar, member, dest)
    except FileNotFoundError:
        raise ArchiveError(f"{archive} does not exist. Make one: python -m model_serving pack --output FILE") from None
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ArchiveError(f"{archive} cannot be unpacked ({error}). Is it a model.tar.gz?") from None
    return dest


def _check_member(member: tarfile.TarInfo, count: int, total: int) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise ArchiveError(f"the archive holds {member.name!r}, which leaves its folder. Do not trust it.")
    if not (member.isfile() or member.isdir()):
        raise ArchiveError(f"the archive holds {member.name!r}, a link or device. Do not trust it.")
    if total > MAX_UNPACKED_BYTES or count > MAX_MEMBERS:
        raise ArchiveError("the archive unpacks to more than 4 GB or 10,000 files. Do not trust it.")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, dest: Path) -> None:
    """Contents only: owners, modes and times of a stranger's archive are not wanted."""
    target = dest / PurePosixPath(member.name)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source: Any = tar.extractfile(member)
    with target.open("wb") as out:
        shutil.copyfileobj(source, out)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """A temporary folder with the archive's content, removed afterwards; ArchiveError as `unpack`."""
    with tempfile.TemporaryDirectory(prefix="whippet-model-") as folder:
        yield unpack(archive, Path(folder))
