"""The report: one file that loads nothing, shows hostile names as text and survives photos that are gone."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model_serving.classifier import ClassInfo, ModelSpec, Preprocessing
from tests.pages import Page, assert_known_to_plotly, strings
from tests.photos import encode, jpeg, save
from tests.test_evaluation_metrics import HAND, SPEC, made, spec_of
from training.errors import TrainingError
from training.evaluation.matrix import confusion_figure, neighbours, shown_classes
from training.evaluation.metrics import evaluate
from training.evaluation.predictions import Predictions
from training.evaluation.report import write_report
from training.evaluation.thumbnails import thumbnail

HISTORY = [
    {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.25, "valid_top1": 0.5, "lr": 0.1},
    {"epoch": 2, "train_loss": 0.5, "valid_loss": float("nan"), "valid_top1": 0.75, "lr": 0.05},
]


def report(folder: Path, photos: Predictions, spec: ModelSpec, **more: Any) -> Page:
    """Evaluate, write the report and read it."""
    metrics = evaluate(photos, spec, more.get("unknown"))
    return Page(write_report(metrics, photos, spec, folder, **more))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A report of everything there is: six photos, four of none of the classes, a history."""
    folder = tmp_path_factory.mktemp("report")
    paths = [save(folder, f"{i}.jpg", jpeg((200 + i, 150))) for i in range(6)]
    outside = made(torch.tensor([[1.0, 0, 0]] * 4), [-1] * 4, known=torch.tensor([0.1, 0.2, 0.3, 0.4]), paths=paths[:4])
    return report(folder, dataclasses.replace(HAND, paths=tuple(paths)), SPEC, unknown=outside, history=HISTORY)


def test_nothing_is_loaded(full: Page) -> None:
    """No element and no style points outside the file, and a policy would stop the browser if one did."""
    for tag, attributes in full.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    style = re.findall(r"<style>(.*?)</style>", full.html, re.DOTALL)
    assert len(style) == 1 and "url(" not in style[0] and "@import" not in style[0]
    policy = next(meta["content"] for meta in full.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; ") and "http" not in policy


def test_only_our_scripts_run(full: Page) -> None:
    """Two scripts carry the word that the policy asks for: plotly.js and the report's own. The rest is data."""
    policy = next(meta["content"] for meta in full.all("meta") if "http-equiv" in meta)
    running = [attributes for attributes, _ in full.scripts if attributes.get("type") != "application/json"]
    assert len(running) == 2 and all(f"'nonce-{attributes['nonce']}'" in policy for attributes in running)
    assert not any(name.startswith("on") for _, attributes in full.elements for name in attributes)


def test_every_section_is_in_the_contents(full: Page) -> None:
    """The contents name all sections in their order, and one heading names the page."""
    anchors = [attributes["id"] for attributes in full.all("section")]
    assert [attributes["href"] for attributes in full.all("a")] == [f"#{anchor}" for anchor in anchors]
    assert len(full.all("h1")) == 1 and len(full.all("h2")) == len(anchors) == 13


def test_page_can_be_heard(full: Page) -> None:
    """Language, alternative texts and headings of rows and columns are there for a screen reader."""
    assert full.all("html") == [{"lang": "en"}]
    assert full.all("img") and all(image["alt"] for image in full.all("img"))
    plots = [attributes for attributes in full.all("div") if attributes.get("class") == "plot"]
    assert len(plots) == 6 and all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert all(head["scope"] in ("row", "col") for head in full.all("th"))


def test_numbers_are_those_of_the_metrics(full: Page) -> None:
    """Share, interval and meaning of the headline are what `evaluate` found: 4 of 6 photos."""
    text = " ".join(full.text)
    assert "66.7 %" in text and "95 % interval 30.0 to 90.3 %" in text  # Wilson, 4 of 6
    assert "The first answer is right on 4 of 6 photos." in text
    assert "Top-5" not in text  # of three classes


def test_table_of_classes_can_be_sorted(full: Page) -> None:
    """Headings are buttons and numbers say what to sort by; the weakest class comes first."""
    assert [table.get("class") for table in full.all("table")].count("sortable") == 1
    assert full.html.count('<button type="button">') == 7
    rows = re.findall(r'<th scope="row">(\w+) \(\d\)</th><td class="number" data-value="(\d)">', full.html)
    assert rows == [("fox", "1"), ("cat", "3"), ("dog", "2")]


def test_figures_are_known_to_plotly(full: Page) -> None:
    """Every name in every figure is one that plotly has; it refuses any other."""
    assert_known_to_plotly(full)
    assert [figure["data"][0]["type"] for figure in full.figures] == [
        "heatmap",
        *["scatter"] * 2,
        "bar",
        *["scatter"] * 2,
    ]


def test_history_is_drawn_as_recorded(full: Page) -> None:
    """A loss that was no number is a gap, and each quantity has its own axis."""
    lines = {line["name"]: line for line in full.figures[-1]["data"]}
    assert lines["training loss"]["x"] == [1, 2] and lines["training loss"]["y"] == [1.5, 0.5]
    assert lines["validation loss"]["y"] == [1.25, None]
    assert [line["yaxis"] for line in lines.values()] == ["y", "y", "y2", "y3"]


def test_less_is_fine(tmp_path: Path) -> None:
    """Without photos of none and without a history those sections are not there."""
    page = report(tmp_path / "new", HAND, SPEC, history=[])
    assert not {"unknown", "fooled", "history"} & {attributes["id"] for attributes in page.all("section")}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_history_of_losses_alone(tmp_path: Path) -> None:
    """What nobody recorded gets no empty panel, and epochs are counted where nobody numbered them."""
    figure = report(tmp_path, HAND, SPEC, history=[{"train_loss": 2.0}, {"train_loss": 1.0}]).figures[-1]
    assert figure["data"][0]["x"] == [1, 2] and "yaxis2" not in figure["layout"]


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    """<a href="javascript:alert(3)">'&amp;"</a><!--""",
)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Folders, files, titles and facts that are HTML show as written, in the page and in plotly's labels."""
    tame = report(tmp_path / "tame", HAND, SPEC, unknown=HAND, title="t")
    spec = dataclasses.replace(
        SPEC,
        classes=tuple(ClassInfo(f"{name}/id", name) for name in HOSTILE),
        name=HOSTILE[0],
        data={HOSTILE[1]: HOSTILE},
        hyperparameters={"note": HOSTILE[2]},
    )
    photos = dataclasses.replace(HAND, names=HOSTILE * 2)
    page = report(tmp_path / "hostile", photos, spec, unknown=photos, title=HOSTILE[1])
    # Not one element or attribute more or less than with harmless names.
    shape = [(tag, sorted(attributes)) for tag, attributes in page.elements]
    rows = page.html.count("<tr>") - tame.html.count("<tr>")
    assert [item for item in shape if item[0] not in ("tr", "th", "td")] == [
        (tag, sorted(attributes)) for tag, attributes in tame.elements if tag not in ("tr", "th", "td")
    ]
    assert rows == 2  # the facts that only this one has
    assert all(name in page.text for name in HOSTILE)
    for label in strings(page.figures[0]):
        assert not re.search(r"<(?!/?b>|br>)", label)
    assert any("&lt;script&gt;" in label for label in strings(page.figures[0]))


def test_names_that_are_not_utf8_are_shown(tmp_path: Path) -> None:
    """Files and folders named in another encoding are shown with the number of the odd byte."""
    spec = dataclasses.replace(SPEC, classes=(*SPEC.classes[:2], ClassInfo("caf\udce9", "caf\udce9")))
    page = report(tmp_path, dataclasses.replace(HAND, names=("\udce9.jpg",) * 6), spec)
    assert r"\udce9.jpg" in page.text and r"caf\udce9" in page.text
    assert page.figures[0]["data"][0]["x"] == ["cat", "dog", "caf\udce9"]


def test_missing_photos_become_placeholders(tmp_path: Path) -> None:
    """A file that is gone, one that is no photo and a folder cost their picture, never the report."""
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / "gone.jpg", save(tmp_path, "no.jpg", b"text"), tmp_path / "folder"] * 2
    page = report(tmp_path, dataclasses.replace(HAND, paths=tuple(paths)), SPEC)
    assert page.all("img") == [] and page.text.count("file not readable") == 6  # two pairs of two, two mistakes


def test_thumbnails_are_small_and_upright(tmp_path: Path) -> None:
    """A photo stored on its side is shown turned, at most 96 pixels a side, as what the network sees."""
    image = Image.new("RGB", (400, 200), "red")
    image.paste("blue", (0, 0, 200, 200))  # the left half, which orientation 6 turns up
    exif = Image.Exif()
    exif[0x0112] = 6
    uri = thumbnail(save(tmp_path, "turned.jpg", encode(image, exif=exif)), Preprocessing())
    assert uri is not None and uri.startswith("data:image/jpeg;base64,")
    small = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    assert small.size == (96, 96)
    (top, bottom) = (small.resize((1, 2), Image.Resampling.BOX).getpixel((0, y)) for y in (0, 1))
    assert isinstance(top, tuple) and top[2] > 200 > 50 > top[0]
    assert isinstance(bottom, tuple) and bottom[0] > 200 > 50 > bottom[2]


def test_report_stays_small(tmp_path: Path) -> None:
    """However many photos are wrong, at most 150 thumbnails and 6.5 MB are written."""
    path = save(tmp_path, "noise.jpg", encode(Image.effect_noise((300, 300), 90).convert("RGB")))
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(1000, 12, generator=generator), torch.randint(12, (1000,), generator=generator)
    photos = made(logits, labels, paths=[path] * 1000)
    page = report(tmp_path, photos, spec_of(*"abcdefghijkl"), unknown=photos)
    assert 50 < len(page.all("img")) <= 150
    assert (tmp_path / "report.html").stat().st_size < 6_500_000


def test_perfect_model_has_nothing_to_show(tmp_path: Path) -> None:
    """No mistakes is said in words where they would be listed."""
    page = report(tmp_path, made(20 * torch.eye(3), range(3)), SPEC)
    assert "No photo was taken for another class." in page.text and "No answer was wrong." in page.text


def test_hopeless_model_is_reported_too(tmp_path: Path) -> None:
    """A model that is never right has no threshold to recommend, and no example of a right answer."""
    page = report(tmp_path, made(9 * torch.eye(2), [1, 0]), spec_of("cat", "dog"))
    assert "No threshold brings wrong answers down to that share." in page.text
    assert "More than chance explains: read scores with caution." in " ".join(page.text)


def test_missing_plotly_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the message says what to install, and nothing is written."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(TrainingError, match=re.escape("pip install 'whippet[train]'")):
        write_report(evaluate(HAND, SPEC), HAND, SPEC, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_confusion_by_hand() -> None:
    """Rows sum to one, right answers and mistakes are two layers, empty cells have neither colour nor text."""
    counts = np.array([[2, 1, 0], [0, 2, 0], [1, 0, 0]])
    right, wrong = confusion_figure(counts, SPEC.classes)["data"]
    assert right["z"] == [[0.6667, None, None], [None, 1.0, None], [None, None, None]]
    assert wrong["z"] == [[None, 0.3333, None], [None, None, None], [1.0, None, None]]
    assert wrong["hovertext"][0] == ["", "<b>cat</b> taken for <b>dog</b><br>1 of 3 photos (33.3 %)", ""]
    assert right["hovertext"][1][1] == "<b>dog</b> right<br>2 of 2 photos (100.0 %)"


def test_names_on_the_axes_differ() -> None:
    """Classes of one name, or alike in their first letters, keep a row each."""
    labels = ["pug", "pug", "a very long name of a breed, first", "a very long name of a breed, second"]
    names = confusion_figure(np.eye(4, dtype=np.int64), spec_of(*labels).classes)["data"][0]["x"]
    assert len(set(names)) == 4 and names[:2] == ["pug", "pug (2)"] and max(map(len, names)) <= 30


def _pairs(classes: int, *pairs: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A confusion matrix with 10 right photos a class and 5 of each pair's first taken for its second."""
    counts = 10 * np.eye(classes, dtype=np.int64)
    for true, predicted in pairs:
        counts[true, predicted] += 5
    return counts


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(0, 4), (3, 1)], [0, 4, 1, 3, 2]),
        ([(0, 2), (2, 4), (4, 1)], [0, 2, 4, 1, 3]),
        ([(0, 1), (1, 2), (2, 0)], [1, 0, 2, 3, 4]),  # a circle is cut once
        ([], [0, 1, 2, 3, 4]),
    ],
)
def test_confused_classes_become_neighbours(pairs: Sequence[tuple[int, int]], expected: list[int]) -> None:
    """Chains of confused classes stay together, the rest keeps its order."""
    assert neighbours(_pairs(5, *pairs)) == expected


def test_matrix_of_133_classes() -> None:
    """All breeds are shown, each once, and the confused ones are side by side although far apart by name."""
    order = shown_classes(_pairs(133, (2, 120), (60, 7)))
    assert sorted(order) == list(range(133))
    assert abs(order.index(2) - order.index(120)) == abs(order.index(60) - order.index(7)) == 1


def test_matrix_leaves_out_what_nobody_saw() -> None:
    """Few classes keep their order; those without photos and predictions have no row; beyond 150 the best have none."""
    counts = _pairs(1000, (900, 901))
    assert len(shown_classes(counts)) == 150 and {900, 901} <= set(shown_classes(counts))
    counts[:, :] = 0
    counts[5, 900] = counts[3, 3] = 1
    assert shown_classes(counts) == [3, 5, 900]
