"""What all reports are made of: safe markup, plots that stay small, numbers in words, files that are whole."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from tests.pages import Page, assert_alone
from training.page.document import Section, page, plotly_js
from training.page.markup import (
    Html,
    card,
    cards,
    embedded_json,
    escape,
    fold,
    join,
    number,
    paragraph,
    plot,
    table,
    tag,
)
from training.page.output import plain, write_whole
from training.page.plots import BLUE, Panel, line, log_axis, panels, rounded, scale, thinned
from training.page.words import count, duration, listed, moment, size

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&amp;<!--"


def test_text_is_escaped_once() -> None:
    """Text becomes HTML, HTML stays as it is, also in attributes."""
    made = tag("p", HOSTILE, tag("b", "a & b"), title=HOSTILE)
    assert made.count("<img") == 0 and "<b>a &amp; b</b>" in made and 'title="&lt;/script&gt;' in made
    assert escape(escape("<")) == "&lt;" and join(["<", Html("<br>")]) == "&lt;<br>"


def test_data_cannot_end_its_script() -> None:
    """No text in a figure closes or opens an element; numbers that JSON lacks are null."""
    text = embedded_json({"x": [HOSTILE, math.nan, -math.inf, 1.5]})
    assert not set("<>&") & set(text)
    assert json.loads(text)["x"] == [HOSTILE, None, None, 1.5]
    assert plain({"a": (1, float("inf"))}) == {"a": [1, None]}


def test_cells_sort_by_their_value() -> None:
    """What is shown may be rounded, sorting is not; what was not measured has no value."""
    assert number("12 %", 0.1234567, bar=True) == (
        '<td class="bar" data-value="0.123457" style="--share:12.3%">12 %</td>'
    )
    assert "data-value" not in number("-", None)
    assert table("c", ("a", "b"), [("x", number("1", 1))], sortable=True).count('<button type="button">') == 2


def test_cards_and_folds() -> None:
    """Long values are set smaller; three or six cards fill their rows; a fold is shut unless it is opened."""
    assert 'class="value"' in card("n", "87.7 %", "m") and 'class="value long"' in card("n", "learning_rate", "m")
    assert 'class="cards thirds"' in cards(*[card("n", "1", "m")] * 6) and 'class="cards"' in cards(card("n", "1", "m"))
    assert fold("t", "x") == "<details><summary>t</summary>x</details>"
    assert fold("t", opened=True).startswith('<details open="">')


def test_page_stands_alone(tmp_path: Path) -> None:
    """A hostile title and body are text, nothing is loaded, and the policy's word changes with the page."""
    figure, height = panels([Panel(HOSTILE and "Loss", [line([1], [2], "a", BLUE)])], {})
    sections = [Section("a", HOSTILE, join([paragraph(HOSTILE), plot(figure, HOSTILE, "c", height)]))]
    made = Page(write_whole(tmp_path / "p.html", page(HOSTILE, sections, "var Plotly;")))
    assert_alone(made)
    assert made.text.count(HOSTILE) == 5  # title, contents, two headings, paragraph
    nonces = {attributes["nonce"] for attributes, _ in made.scripts if "nonce" in attributes}
    assert len(nonces) == 1 and nonces.pop() not in page("other", sections, "")
    assert len(plotly_js()) > 1_000_000


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    """What fails on its way leaves the old file and no other."""
    path = write_whole(tmp_path / "new" / "a.txt", "caf\udce9\n")
    assert path.read_text("utf-8") == "caf\\udce9\n" and path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(TypeError):
        write_whole(path, 5)  # type: ignore[arg-type]
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"] and path.read_text("utf-8") == "caf\\udce9\n"


def test_thinning_keeps_every_spike() -> None:
    """Of 100,000 points at most 2,000 stay, in order, ends and outliers among them."""
    generator = random.Random(0)
    y = [generator.random() for _ in range(100_000)]
    y[31_415], y[27_182] = 50.0, -50.0
    x, kept = thinned(range(len(y)), y)
    assert 1500 < len(x) <= 2000 and x == sorted(x) and (x[0], x[-1]) == (0, 99_999)
    assert {50.0, -50.0} <= set(kept)
    assert all(rounded(y[int(i)]) == value for i, value in list(zip(x, kept, strict=True))[:200] if i == int(i))


def test_thinning_keeps_gaps() -> None:
    """Numbers that are not finite stay as such, and cost no finite extreme."""
    y = [float(i % 7) for i in range(9000)]
    y[4000:4100] = [math.nan] * 100
    y[10] = 99.0
    _, kept = thinned(range(9000), y)
    assert len(kept) <= 2000 and any(map(math.isnan, kept)) and 99.0 in kept
    assert thinned([1, 2], [math.nan, 3])[1][1] == 3
    assert thinned([], []) == ([], [])


def test_panels_share_one_axis() -> None:
    """Each panel has its own place, from top to bottom, and a heading that names lines by their colours."""
    figure, height = panels(
        [Panel("A", [line([1], [1], "x", BLUE)]), Panel("B", [], height=60)], {"title": {"text": "t"}}
    )
    layout = figure["layout"]
    assert layout["yaxis"]["domain"][0] > layout["yaxis2"]["domain"][1] and layout["xaxis"]["anchor"] == "y2"
    assert layout["yaxis2"]["domain"][0] == 0 and layout["yaxis"]["domain"][1] == 1
    assert [note["text"][:8] for note in layout["annotations"]] == ["<b>A</b>", "<b>B</b>"]
    assert BLUE in layout["annotations"][0]["text"] and height > 120 + 60
    long = Panel("Title", [line([], [], "a rather long name", BLUE)] * 3).heading()
    assert long.count("<br>") == 1


def test_axis_is_logarithmic_only_where_it_can_be() -> None:
    """Values far apart get a logarithmic axis, not where one is zero or nothing is finite."""
    assert scale([0.001, 1.0])["type"] == "log"
    for values in ([0.0, 1.0], [0.5, 1.0], [math.nan], []):
        assert "type" not in scale(values)


def test_logarithmic_axis_has_round_numbers() -> None:
    """1, 2 and 5 of each decade within what is shown; decades alone where there are many."""
    assert log_axis(0.37, 3.0)["tickvals"] == [0.5, 1.0, 2.0] and log_axis(0.37, 3.0)["ticktext"] == ["0.5", "1", "2"]
    assert log_axis(1e-4, 1.0)["ticktext"] == ["0.0001", "0.001", "0.01", "0.1", "1"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0123, "12.3 ms"), (0.9999, "1 s"), (59.4, "59.4 s"), (59.9, "1 min"), (75, "1 min 15 s"), (3600, "1 h"),
        (7260, "2 h 1 min"), (86_280, "23 h 58 min"), (86_399, "1 d"),
        (90_000, "1 d 1 h"), (0, "0 ms"), (math.nan, "unknown"),
    ],
)  # fmt: skip
def test_durations(seconds: float, expected: str) -> None:
    """As people say them, never sixty of anything."""
    assert duration(seconds) == expected


def test_words() -> None:
    """Sizes, moments, counts and lists."""
    assert [size(n) for n in (0, 999, 1000, 1.5e9, 999_950)] == ["0 B", "999 B", "1 kB", "1.5 GB", "1 MB"]
    assert moment(0) == "1970-01-01 00:00 UTC"
    assert (count(1, "trial"), count(2000, "class", "classes")) == ("1 trial", "2,000 classes")
    assert [listed(parts) for parts in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]
