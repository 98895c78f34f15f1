"""`data check`: every photo read once, everything that would spoil training told, exit code by problems."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from typer.main import get_command
from typer.testing import CliRunner

from model_serving.classifier import preprocess
from tests.conftest import ROOT, photo_folder
from training.data import look, screen, similar
from training.data.check import check
from training.data.cli import app
from training.data.finding import Finding
from training.data.layout import SPLITS
from training.data.report import Report
from training.errors import DataError


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture like no other: soft patches of colour."""
    patches = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, kind: str = "JPEG", quality: int = 90, exif: Image.Exif | None = None) -> Path:
    """Write a photo where its folder may be missing yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind, quality=quality, exif=exif or Image.Exif())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes in three splits, nothing wrong with any of it."""
    folder, seed = tmp_path / "photos", 0
    for split, count in zip(SPLITS, (5, 2, 2), strict=True):
        for name in ("Beagle", "Pug"):
            for number in range(count):
                save(picture(seed := seed + 1), folder / split / name / f"{number}.jpg")
    return folder


def of_kind(report: Report, kind: str) -> list[Finding]:
    """The findings of one kind."""
    return [finding for finding in report.findings if finding.kind == kind]


def only(report: Report, kind: str) -> Finding:
    """The one finding that there is, of that kind."""
    assert [finding.kind for finding in report.findings] == [kind], report.findings
    return report.findings[0]


def test_nothing_wrong(root: Path) -> None:
    """Good photos make a report without findings, with counts and the fingerprint of all files."""
    report = check(root)
    assert report.findings == ()
    assert report.ok
    assert report.verdict() == "ok"
    assert report.photos == 18
    assert report.counts["train"] == {"Beagle": 5, "Pug": 5}
    assert re.fullmatch("[0-9a-f]{12}", report.fingerprint)
    moved = root.rename(root.with_name("moved"))
    assert check(moved).fingerprint == report.fingerprint
    save(picture(99), moved / "train/Pug/0.jpg")
    assert check(moved).fingerprint != report.fingerprint


@pytest.mark.parametrize(
    ("name", "data", "fact"),
    [
        ("text.jpg", b"no photo at all", "no photo of a format"),
        ("empty.jpg", b"", "empty"),
        ("bare.png", b"\x89PNG\r\n\x1a\n", "damaged"),
        ("photo.heic", b"\0\0\0\x18ftypheic", "photo"),
        ("photo.nef", b"MM\0*", "photo"),
    ],
)
def test_unreadable(root: Path, name: str, data: bytes, fact: str) -> None:
    """What the classifier cannot read is a problem with its reason."""
    (root / "train/Pug" / name).write_bytes(data)
    finding = only(check(root), "unreadable")
    assert fact in finding.fact
    assert finding.names == (f"train/Pug/{name}",)
    assert finding.level == "problem"
    assert ("whippet[heic]" in finding.mend) == (name.endswith(".heic") and "HEIF" not in preprocess.FORMATS)
    assert ("Export" in finding.mend) == name.endswith(".nef")


def test_truncated(root: Path) -> None:
    """A photo that breaks off is a problem, and is still counted and fingerprinted."""
    path = save(picture(50, (200, 200)), root / "train/Pug/0.jpg")
    before = check(root).fingerprint
    path.write_bytes(path.read_bytes()[:-3000])
    report = check(root)
    assert "truncated" in only(report, "unreadable").fact
    assert report.fingerprint != before


def test_gone_meanwhile(root: Path) -> None:
    """A link to nothing is told, and the rest is still looked at."""
    (root / "train/Pug/link.jpg").symlink_to(root / "nothing.jpg")
    assert "cannot be read (No such file" in only(check(root), "unreadable").fact


def test_too_many_pixels(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo beyond the classifier's limit is told to be scaled down."""
    monkeypatch.setattr(preprocess, "MAX_PIXELS", 17_000_000)
    Image.new("L", (4200, 4200)).save(root / "train/Pug/huge.png")
    assert "Scale them down" in only(check(root), "unreadable").mend


@pytest.mark.parametrize(
    ("size", "kind", "level"),
    [((400, 223), "small", "warning"), ((31, 300), "tiny", "problem"), ((5, 9), "tiny", "problem")],
)
def test_small_photos(root: Path, size: tuple[int, int], kind: str, level: str) -> None:
    """Below the crop is a warning, below 32 pixels a problem, whether or not it can be decoded."""
    save(picture(50, size), root / "train/Pug/small.png", "PNG")
    finding = only(check(root), kind)
    assert finding.level == level
    assert finding.names == ("train/Pug/small.png",)


def test_wrong_suffix(root: Path) -> None:
    """A PNG called .jpg works and is a warning."""
    save(picture(50), root / "train/Pug/x.jpg", "PNG")
    finding = only(check(root), "suffix")
    assert "called .jpg and really PNG" in finding.fact
    assert check(root).verdict() == "ok, 1 warning"


def test_orientation(root: Path) -> None:
    """Turned photos are told and no fault."""
    exif = Image.Exif()
    exif[0x0112] = 6
    save(picture(50), root / "train/Pug/x.jpg", exif=exif)
    report = check(root)
    assert only(report, "orientation").level == "info"
    assert report.verdict() == "ok"


@pytest.mark.parametrize(
    ("other", "kind", "level"),
    [
        ("train/Pug/copy.jpg", "duplicate", "warning"),
        ("train/Beagle/copy.jpg", "contradiction", "problem"),
        ("test/Pug/copy.jpg", "leak", "problem"),
        ("valid/Beagle/copy.jpg", "contradiction", "problem"),
    ],
)
def test_exact_copies(root: Path, other: str, kind: str, level: str) -> None:
    """A copy in the same class is a warning; in another class or split it would spoil training or figures."""
    (root / other).write_bytes((root / "train/Pug/0.jpg").read_bytes())
    finding = only(check(root, near_bits=-1), kind)
    assert finding.level == level
    assert set(finding.names[0].split(" = ")) == {"train/Pug/0.jpg", other}
    assert check(root).findings == check(root, near_bits=-1).findings


@pytest.mark.parametrize(
    ("other", "kind", "level"),
    [
        ("train/Pug/near.jpg", "near-duplicate", "warning"),
        ("train/Beagle/near.jpg", "near-contradiction", "warning"),
        ("valid/Pug/near.jpg", "leak", "problem"),
        ("test/Beagle/near.jpg", "leak", "problem"),
    ],
)
def test_near_copies(root: Path, other: str, kind: str, level: str) -> None:
    """A photo saved again, smaller, brighter and cut by 2 % is still found."""
    image = Image.open(root / "train/Pug/0.jpg").crop((3, 2, 317, 238)).resize((290, 226))
    save(ImageEnhance.Brightness(image).enhance(1.2), root / other, quality=50)
    finding = only(check(root), kind)
    assert finding.level == level
    assert set(finding.names[0].split(" = ")) == {"train/Pug/0.jpg", other}
    assert check(root, near_bits=-1).findings == ()


def test_a_series_is_one_group(root: Path) -> None:
    """Many photos that are nearly the same are told once, with all their names, copies counted out."""
    for number in range(4):
        save(picture(70), root / f"train/Pug/series{number}.jpg", quality=60 + 10 * number)
    (root / "train/Pug/copy.jpg").write_bytes((root / "train/Pug/series0.jpg").read_bytes())
    report = check(root)
    assert len(of_kind(report, "near-duplicate")[0].names) == 1
    assert len(of_kind(report, "near-duplicate")[0].names[0].split(" = ")) == 4
    assert of_kind(report, "duplicate")[0].names == ("train/Pug/copy.jpg = train/Pug/series0.jpg",)


def test_plain_photos_are_not_alike(root: Path) -> None:
    """Blank photos and gradients resemble each other and are not told as copies."""
    save(Image.new("RGB", (300, 300), "white"), root / "train/Pug/white.png", "PNG")
    save(Image.new("RGB", (300, 400), "white"), root / "train/Beagle/white.png", "PNG")
    save(Image.new("RGB", (300, 300), "black"), root / "train/Beagle/black.png", "PNG")
    save(Image.linear_gradient("L"), root / "valid/Pug/a.png", "PNG")
    save(Image.linear_gradient("L").rotate(90), root / "test/Pug/b.png", "PNG")
    assert check(root).findings == ()


def test_near_pairs_equal_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks find the same pairs as comparing each with each, across their edges."""
    monkeypatch.setattr(similar, "_ROWS", 7)
    monkeypatch.setattr(similar, "_COLUMNS", 11)
    rng = np.random.default_rng(1)
    hashes = [rng.random(look.HASH_BITS) > 0.5 for _ in range(40)]
    hashes += [bits ^ (rng.random(look.HASH_BITS) < rng.random() / 3) for bits in hashes]
    plain = [(i, j) for i in range(80) for j in range(i + 1, 80) if (hashes[i] ^ hashes[j]).sum() <= 48]
    assert 10 < len(plain) < 41
    assert sorted(similar.near_pairs(hashes, 48)) == plain
    assert similar.near_pairs([]) == []


def test_endless_pairs_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of photos that are all alike ends with a word, not with all pairs in memory."""
    monkeypatch.setattr(similar, "MAX_PAIRS", 3)
    monkeypatch.setattr("training.data.twins.MAX_PAIRS", 3)
    for number in range(6):
        save(picture(70), root / f"train/Pug/series{number}.jpg", quality=50 + 8 * number)
    assert "only the first" in of_kind(check(root), "near-duplicate")[1].fact


def test_joined() -> None:
    """Pairs join to groups through others."""
    assert similar.joined([(1, 2), (5, 6), (2, 3), (8, 9), (6, 8)]) == [[1, 2, 3], [5, 6, 8, 9]]
    assert similar.joined([]) == []


def test_balance(root: Path) -> None:
    """Unequal classes and nearly empty ones are warnings."""
    for number in range(15):
        save(picture(100 + number), root / f"train/Pug/more{number}.jpg")
    (root / "train/Beagle/4.jpg").unlink()
    report = check(root)
    assert [finding.kind for finding in report.findings] == ["few photos", "imbalance"]
    assert "4 to 20 training photos" in report.findings[1].fact
    assert report.findings[0].names == ("Beagle",)
    assert report.ok


def test_structure_is_told_with_the_photos(root: Path) -> None:
    """What `load` would refuse is a row among the others: the photos are looked at all the same."""
    (root / "valid/Pug").rename(root / "valid/pug")
    save(picture(60), root / "test/Lynx/1.jpg")
    (root / "train/loose.jpg").write_bytes(b"?")
    (root / "train/Empty").mkdir()
    (root / "train/Pug/0.jpg").write_bytes(b"broken")
    (root / "unused").mkdir()
    report = check(root)
    problems = [finding.kind for finding in report.of_level("problem")]
    assert problems == ["loose photo", "empty class", "class name", "class differs", "class differs", "unreadable"]
    assert [finding.kind for finding in report.of_level("info")] == ["unused folder"]
    assert report.verdict() == "6 problems, 1 warning"
    assert report.counts["test"] == {"Beagle": 2, "Empty": 0, "Lynx": 1, "Pug": 2, "pug": 0}


def test_made_splits(root: Path) -> None:
    """One folder of class folders is split as training would, and nearly equal photos on two sides are a leak."""
    for number in range(12):
        save(picture(70), root / f"train/Pug/series{number}.jpg", quality=30 + 5 * number)
    report = check(root / "train")
    assert report.generated == SPLITS
    assert report.seed == 0
    assert sum(report.counts["valid"].values()) >= 2
    assert "split made here" in of_kind(report, "leak")[0].mend


def test_no_layout(tmp_path: Path) -> None:
    """A folder whose layout is not understood has a report, one that is not there is an error."""
    (tmp_path / "valid/Pug").mkdir(parents=True)
    report = check(tmp_path)
    assert only(report, "layout").fact.startswith(f"{tmp_path} has valid/ and no train/")
    assert not report.ok
    (tmp_path / "valid").rename(tmp_path / "Pug")
    assert [finding.kind for finding in check(tmp_path).findings] == ["no photos"]
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "gone")


def test_every_file_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read and one decoding for each photo, and progress for each."""
    read: list[Path] = []
    decoded: list[int] = []
    real_read, real_decode = Path.read_bytes, preprocess.to_image
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or real_read(path))  # type: ignore[func-returns-value]
    monkeypatch.setattr("training.data.look.to_image", lambda data, spec: decoded.append(1) or real_decode(data, spec))  # type: ignore[func-returns-value]
    steps: list[tuple[str, int, int]] = []
    check(root, progress=lambda *step: steps.append(step))
    assert len(read) == len(set(read)) == len(decoded) == 18
    assert steps == [*(("checking", number, 18) for number in range(1, 19)), ("comparing", 18, 18)]


def run(*arguments: str) -> tuple[int, str]:
    """The exit code and stdout of a `data` command."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout


def test_command(root: Path) -> None:
    """A table of counts and the closing line; exit 0 with nothing but warnings."""
    save(picture(50), root / "train/Pug/x.jpg", "PNG")
    code, text = run("check", str(root))
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == ["class", "train", "valid", "test", "all"]
    assert lines[1].split() == ["Beagle", "5", "2", "2", "9"]
    assert lines[3].split() == ["2", "classes", "11", "4", "4", "19"]
    assert "warning  suffix: 1 photo called .jpg and really PNG" in lines
    assert lines[-1] == "ok, 1 warning"


def test_command_with_problems(root: Path) -> None:
    """Problems end with exit 1; the first names are shown whole, however long, and how many more there are."""
    long = "x" * 200 + "[red]"
    for number in range(7):
        (root / "train/Pug" / f"{long}{number}.jpg").write_bytes(b"")
    code, text = run("check", str(root))
    assert code == 1
    assert f"    train/Pug/{long}0.jpg\n" in text
    assert f"{long}5.jpg" not in text
    assert "    and 2 more (--all shows them)\n" in text
    assert text.endswith("1 problem, 0 warnings\n")
    assert f"    train/Pug/{long}6.jpg\n" in run("check", str(root), "--all")[1]


def test_command_as_json(root: Path, tmp_path: Path) -> None:
    """--json prints the report and nothing else, --output writes the same; odd file names survive both."""
    odd = os.fsdecode(b"\xe9.jpg")
    (root / "train/Pug" / odd).write_bytes(b"")
    code, text = run("check", str(root), "--json", "--output", str(tmp_path / "new" / "report.json"))
    assert code == 1
    report = json.loads(text)
    assert report == json.loads((tmp_path / "new" / "report.json").read_text("utf-8"))
    assert report["findings"][0]["names"] == [f"train/Pug/{odd}"]
    assert report["verdict"] == "1 problem, 0 warnings"
    assert report["counts"]["train"] == {"Beagle": 5, "Pug": 6}
    assert "\\udce9.jpg" in run("check", str(root))[1]


def test_command_follows_a_split(root: Path, tmp_path: Path) -> None:
    """--seed makes another split, --split-file follows a written one."""
    _, first = run("check", str(root / "train"), "--json", "--split-seed", "3")
    assert json.loads(first)["seed"] == 3
    content = {"train": [], "valid": [], "test": [f"{c}/{n}.jpg" for c in ("Beagle", "Pug") for n in range(5)]}
    (tmp_path / "split.json").write_text(json.dumps(content), encoding="utf-8")
    _, text = run("check", str(root / "train"), "--json", "--split-file", str(tmp_path / "split.json"))
    assert json.loads(text)["counts"]["test"] == {"Beagle": 5, "Pug": 5}


def test_many_classes_are_shortened() -> None:
    """Of more than 40 classes the smallest are shown with a sum of all; --all shows each."""
    counts = {split: {f"c{number:02}": 100 - number for number in range(50)} for split in SPLITS}
    report = Report("x", counts, ("valid",), 4, 0, 0, "0" * 12, ())
    shown = io.StringIO()
    screen.show(report, screen.console(shown))
    lines = shown.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:11]] == [f"c{number}" for number in range(49, 39, -1)]
    assert "40 larger classes" in lines[11]
    assert lines[12].split() == ["50", "classes", "3,775", "3,775", "3,775", "11,325"]
    assert lines[13] == "valid: made by seed 4"
    screen.show(report, screen.console(shown), everything=True)
    assert "c00" in shown.getvalue()


def test_progress_goes_to_a_terminal_only(root: Path) -> None:
    """Piped, stderr stays empty and stdout has no control characters."""
    command = [sys.executable, "-c", "from training.data.cli import app; app()", "check", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def test_help_is_quick() -> None:
    """Help needs neither torch nor numpy."""
    call = "app(['check', '--help'], standalone_mode=False)"
    code = f"import sys; from training.data.cli import app; {call}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m training data check" in done.stdout
    assert not {"torch", "numpy", "PIL", "requests"} & set(done.stdout.split())


def test_real_photos() -> None:
    """The dog photos would not spoil training."""
    report = check(photo_folder("dogs"))
    assert report.ok
    assert report.photos == 1430
    assert {finding.kind for finding in report.findings} == {"small", "imbalance"}


def test_document_names_all() -> None:
    """docs/data.md has every option of the commands and every kind of finding."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    group: Any = get_command(app)
    for command in group.commands.values():
        for option in command.params:
            if option.param_type_name == "option" and option.name != "help":
                assert any(f"`{flag}" in text for flag in option.opts), option.opts
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "training" / "data").glob("*.py"))
    kinds = re.findall(r'(?:Finding\(|_told\(\w+, |_if_any\(\w+, )\s*"([a-z -]+)"', sources)
    assert len(set(kinds)) > 15
    assert [kind for kind in kinds if f"`{kind}`" not in text] == []
