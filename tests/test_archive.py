"""model.tar.gz: what is packed comes out, versions mean something, hostile tars do no harm."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from model_serving import archive as archives
from model_serving import cli, defaults
from model_serving.classifier import ClassInfo, Head, ModelSpec, SpecError, WeightsError, network, pretrained
from model_serving.errors import ArchiveError

SPEC = ModelSpec("tiny", "mobilenet_v3_small", (ClassInfo("a", "A"), ClassInfo("b", "B")))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights of the tiny model."""
    torch.manual_seed(1)
    return dict(network.build(SPEC.backbone, SPEC.head, 2).state_dict())


def test_layout(unpacked: Path) -> None:
    """The files of contract 1, and no other."""
    names = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert {"model.pt", "model.json", "code/inference.py", "code/classifier/__init__.py"} <= names
    adapters = {"config.yaml", "deployment.py", "code/batch_handler.py"}
    assert {n for n in names if not n.startswith("code/")} == {"model.pt", "model.json", "config.yaml", "deployment.py"}
    assert adapters <= names
    spec = ModelSpec.load(unpacked / "model.json")
    assert spec.version
    assert spec.created
    assert spec.libraries["torch"] == torch.__version__


def test_weights_are_plain(unpacked: Path) -> None:
    """Loadable without running anything, also by older torch: tensors in a dict."""
    state = torch.load(unpacked / "model.pt", weights_only=True)
    assert all(type(value) is torch.Tensor for value in state.values())


def test_version_follows_the_content(state: dict[str, torch.Tensor]) -> None:
    """Weights, classes, calibration and code count; metrics and dates do not."""
    version = archives.content_version(SPEC, state, "code")
    assert (
        archives.content_version(dataclasses.replace(SPEC, metrics={"top1": 1}, created="now"), state, "code")
        == version
    )
    assert archives.content_version(SPEC, dict(reversed(state.items())), "code") == version
    changed = {key: value.clone() for key, value in state.items()}
    next(iter(changed.values())).view(-1)[0] += 1
    others = {
        archives.content_version(SPEC, changed, "code"),
        archives.content_version(SPEC, state, "other code"),
        archives.content_version(dataclasses.replace(SPEC, classes=SPEC.classes[::-1]), state, "code"),
        archives.content_version(
            dataclasses.replace(SPEC, calibration=dataclasses.replace(SPEC.calibration, temperature=2)), state, "code"
        ),
    }
    assert len(others | {version}) == 5


def test_pack_is_all_or_nothing(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Weights that do not fit are refused and leave the old file alone."""
    output = tmp_path / "model.tar.gz"
    output.write_bytes(b"old")
    with pytest.raises(WeightsError):
        archives.pack(dataclasses.replace(SPEC, head=Head((8,))), state, output)
    assert [p.name for p in tmp_path.iterdir()] == ["model.tar.gz"]
    assert output.read_bytes() == b"old"
    assert archives.pack(SPEC, state, output).version
    assert [p.name for p in tmp_path.iterdir()] == ["model.tar.gz"]


def test_restaged_with_this_code(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Old code goes, the version is that of what is there now; weights, golden photos and the date stay."""
    old, new = tmp_path / "old.tar.gz", tmp_path / "new.tar.gz"
    extra = {"code/inference.py": b"raise SystemExit", "code/gone.py": b"", "golden/golden.json": b"kept"}
    archives.pack(SPEC, state, old, extra)
    spec = archives.restage(old, new, {"config.yaml": b"mine"})
    (tmp_path / "out").mkdir()
    folder = archives.unpack(new, tmp_path / "out")
    assert (folder / "code" / "inference.py").read_bytes() == (archives.PACKAGE / "inference.py").read_bytes()
    assert not (folder / "code" / "gone.py").exists()
    assert (folder / "golden" / "golden.json").read_bytes() == b"kept"
    assert (folder / "config.yaml").read_bytes() == b"mine"
    with archives.unpacked(old) as before:
        assert ModelSpec.load(folder / "model.json").created == ModelSpec.load(before / "model.json").created
        assert (folder / "model.pt").read_bytes() == (before / "model.pt").read_bytes()
    assert spec.version == archives.content_version(spec, state, archives.code_digest())


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 3, link: str = "") -> tarfile.TarInfo:
    """A tar entry."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size if kind == tarfile.REGTYPE else 0, link
    return info


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (member("../evil"), "leaves its folder"),
        (member("code/../../evil"), "leaves its folder"),
        (member("/tmp/evil"), "leaves its folder"),
        (member("C:evil"), "leaves its folder"),
        (member("..\\evil"), "leaves its folder"),
        (member("link", tarfile.SYMTYPE, link="/etc/passwd"), "link or device"),
        (member("link", tarfile.LNKTYPE, link="model.pt"), "link or device"),
        (member("device", tarfile.CHRTYPE), "link or device"),
        (member("pipe", tarfile.FIFOTYPE), "link or device"),
    ],
)
def test_unsafe_members_are_refused(info: tarfile.TarInfo, reason: str, tmp_path: Path) -> None:
    """No path escapes, no links, no devices, and nothing is left outside the folder."""
    hostile = tmp_path / "hostile.tar.gz"
    with tarfile.open(hostile, "w:gz") as tar:
        tar.addfile(info, io.BytesIO(b"abc"))
    dest = tmp_path / "inner" / "dest"
    dest.mkdir(parents=True)
    with pytest.raises(ArchiveError, match=reason):
        archives.unpack(hostile, dest)
    assert not list(dest.iterdir())
    assert not (tmp_path / "inner" / "evil").exists()


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes that the tar declares are added up before anything is written."""
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1000)
    bomb = tmp_path / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz") as tar:
        tar.addfile(member("zeros", size=2000), io.BytesIO(bytes(2000)))
    with pytest.raises(ArchiveError, match="unpacks to more"):
        archives.unpack(bomb, tmp_path)
    assert not (tmp_path / "zeros").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08truncated"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    """One line that names the file."""
    path = tmp_path / "model.tar.gz"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        archives.unpack(path, tmp_path)


def test_truncated_archive(archive: Path, tmp_path: Path) -> None:
    """A download that stopped half-way is told as such."""
    half = tmp_path / "half.tar.gz"
    half.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        archives.unpack(half, tmp_path)


def test_missing_archive(tmp_path: Path) -> None:
    """The message says how to make one."""
    with pytest.raises(ArchiveError, match="model_serving pack"):
        archives.unpack(tmp_path / "none.tar.gz", tmp_path)


def test_own_model_by_command(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """`pack --weights --spec`: preprocessing comes from torchvision where the spec leaves it out."""
    torch.save(state, tmp_path / "weights.pt")
    (tmp_path / "spec.json").write_text('{"name": "own", "backbone": "mobilenet_v3_small", "classes": ["cat", "dog"]}')
    output = tmp_path / "out" / "model.tar.gz"
    arguments = [
        "pack",
        "-o",
        str(output),
        "--weights",
        str(tmp_path / "weights.pt"),
        "--spec",
        str(tmp_path / "spec.json"),
    ]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    with archives.unpacked(output) as folder:
        spec = ModelSpec.load(folder / "model.json")
    assert [c.label for c in spec.classes] == ["cat", "dog"]
    assert (spec.preprocessing.resize, spec.preprocessing.interpolation) == (256, "bilinear")


@pytest.mark.parametrize(
    ("backbone", "size"), [("resnet50", (232, 224)), ("vit_b_16", (256, 224)), ("swin_t", (232, 224))]
)
def test_torchvision_preprocessing(backbone: str, size: tuple[int, int]) -> None:
    """Read from the weights' own metadata, not from a second table."""
    preprocessing = pretrained.preprocessing(backbone)
    assert (preprocessing.resize, preprocessing.crop) == size
    assert preprocessing.mean == (0.485, 0.456, 0.406)


def test_bad_spec_file(tmp_path: Path) -> None:
    """A spec that is no JSON is told with its path."""
    path = tmp_path / "spec.json"
    path.write_text("{")
    with pytest.raises(SpecError, match=r"spec\.json"):
        defaults.complete_spec(path)
    path.write_text(json.dumps({"backbone": "resnet18"}))
    with pytest.raises(SpecError, match="'name' is missing"):
        defaults.complete_spec(path)
