"""The report of a search: what was best and why, Optuna's plots as plain data, and any state of a search."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from tests.browser import assert_drawn
from tests.pages import Page, assert_alone, assert_heard, assert_known_to_plotly, strings
from tests.studies import DEFAULT, searched, study, trial
from training.errors import TrainingError
from training.page.plots import BLUE, GREY, ORANGE
from training.search.adopted import BLUE_TO_ORANGE, mixed, plain_figure, quiet
from training.search.figures import weights
from training.search.marked import Marked
from training.search.report import write_report


def report(
    folder: Path, of: optuna.Study, best: int | None, baseline: int | None = None, title: str = "Search"
) -> Page:
    """Write the report and read it."""
    return Page(write_report(of, best, folder / "report.html", title, baseline))


def said(page: Page) -> str:
    """The whole text of a page."""
    return " ".join(page.text)


def winner(of: optuna.Study) -> int:
    """The number of the best trial."""
    return of.best_trial.number


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A search of twenty trials over four hyperparameters."""
    whole = searched()
    return report(tmp_path_factory.mktemp("search"), whole, winner(whole), 0)


def test_page_stands_alone_and_can_be_heard(full: Page) -> None:
    """No request, only our scripts, words for every plot, known properties alone, and all in strict JSON."""
    assert_alone(full)
    assert_heard(full)
    assert_known_to_plotly(full)
    assert len(full.figures) == 8  # history, importances, parallel, four slices, curves
    assert not any("bdata" in figure or "template" in figure["layout"] for figure in full.figures)


def test_summary_compares_best_and_default(full: Page) -> None:
    """Loss and accuracy with their difference, trials by state, time, and what mattered most."""
    text = said(full)
    best = searched().best_trial
    loss = best.user_attrs["valid_loss"]
    assert f"{loss:.4f}" in text and f"default 0.3850: {0.385 - loss:.4f} lower" in text
    assert "default 90.4 %: 0.2 points more" in text and f"{100 - 25 * loss:.1f} %" in text
    assert "14 finished, 4 stopped early, 1 diverged and 1 unfinished." in text
    assert "6 min 37 s" in text and "4 trials were stopped early." in text
    assert "on dogs (978 train and 167 valid photos), judged by the loss on validation photos." in text
    importances, _ = weights(Marked(searched(), None, None))
    first, share = next(iter(importances.items()))
    assert f"{100 * share:.1f} % of the difference" in text and text.index(first) > 0
    assert full.figures[1]["data"][0]["y"][-1] == first and sum(importances.values()) == pytest.approx(1)


def test_best_stands_beside_default(full: Page) -> None:
    """Each hyperparameter with both values; what differs is set off."""
    rows = re.findall(r'<th scope="row">(\w+)</th><td><strong>([^<]+)</strong></td><td>([^<]+)</td>', full.html)
    assert [row[0] for row in rows] == ["learning_rate", "batch_size", "hidden", "dropout"]
    assert [row[2] for row in rows] == ["0.005", "64", "none", "0"]


def test_every_trial_is_in_the_table(full: Page) -> None:
    """The best first and marked, the default marked, states in words, numbers that sort, and why one ended."""
    table = full.html[full.html.index("All trials, the best first") :]
    numbers = [int(n) for n in re.findall(r'<th scope="row"><(?:span|strong)>(\d+)<', table)]
    assert sorted(numbers) == list(range(20)) and numbers[0] == winner(searched())
    assert table.count('class="best"') == table.count('class="default"') == 1
    assert re.search(r"<strong>0</strong> <mark class=\"default\">default</mark>", table)
    for words in ("finished", "stopped early", "diverged", "unfinished", "behind others after epoch 6 of the head"):
        assert f">{words}</td>" in table
    assert 'data-value="0.385">0.3850' in table and ">90.4 %<" in table
    assert full.html.count('class="sortable"') == 1


def test_marks_in_the_plots(full: Page) -> None:
    """Best and default have a mark in the history and in every slice, at their values."""
    best = searched().best_trial
    history, *_ = full.figures
    marks = {drawn["name"]: (drawn["x"], drawn["y"]) for drawn in history["data"]}
    assert marks["best"] == ([best.number], [best.value]) and marks["default"] == ([0], [0.385])
    assert marks["best so far"][1][-1] == pytest.approx(best.value)
    slices = {figure["layout"]["xaxis"]["title"]["text"]: figure for figure in full.figures[3:7]}
    assert [drawn["x"][0] for drawn in slices["hidden"]["data"][1:]] == ["none", best.params["hidden"]]
    assert slices["hidden"]["layout"]["xaxis"]["categoryarray"] == ["none", "128", "256"]
    assert slices["learning_rate"]["data"][-1]["x"] == [best.params["learning_rate"]]


def test_every_curve_is_drawn(full: Page) -> None:
    """A line a trial for loss and accuracy; only the best and the default are named, the unfinished dotted."""
    lines = full.figures[-1]["data"]
    assert len(lines) == 40 and sorted({line["name"] for line in lines}) == ["", "best", "default"]
    assert sum(line["line"]["dash"] == "dot" for line in lines) == 2 * 6
    assert max(len(line["x"]) for line in lines) == 12


def test_accuracy_as_objective(tmp_path: Path) -> None:
    """The larger is the better: in the table, the difference and the colours."""
    accurate = study(
        *(trial(DEFAULT | {"dropout": 0.1 * n}, 0.4 - 0.02 * n) for n in range(3)),
        objective="accuracy",
    )
    for number, each in enumerate(accurate.get_trials(deepcopy=False)):
        each.value = 0.9 + 0.005 * number  # what the trials report then
    page = report(tmp_path, accurate, 2, 0)
    text = said(page)
    assert "judged by the accuracy" in text and "points more" in text
    assert "validation accuracy" in page.figures[0]["layout"]["yaxis"]["title"]["text"]
    assert re.findall(r'<th scope="row"><(?:span|strong)>(\d+)<', page.html)[0] == "2"


OTHER = DEFAULT | {"dropout": 0.2}


def made(*losses: float, **more: Any) -> list[optuna.trial.FrozenTrial]:
    """Trials of one hyperparameter."""
    return [trial({"dropout": 0.02 * n}, loss, **more) for n, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("trials", "best", "plots", "words"),
    [
        ([], None, 0, "No trial has come to its end."),
        ([trial(DEFAULT, 0.4)], 0, 2, "It is the default itself."),
        ([trial(DEFAULT, 0.4), trial(OTHER, 0.38)], 1, 7, "That takes 5 finished trials; there are 2."),
        (made(0.5, 0.6, state=TrialState.PRUNED), None, 1, "That takes 1 finished trial; there are none."),
        (made(*(0.5 - 0.01 * n for n in range(8))), 7, 4, "dropout alone was searched."),
        (made(0.5, 0.6, state=TrialState.FAIL, epochs=0), None, 0, "2 failed."),
        ([trial(DEFAULT, 0.4) for _ in range(6)], 0, 7, "All trials came to the same."),
        (made(0.5, float("inf"), float("inf"), 0.4), 3, 4, "4 finished."),
        ([trial({}, 0.4)], 0, 1, "Nothing yet searched"),
    ],
)  # fmt: skip
def test_any_state_of_a_search(
    tmp_path: Path, trials: list[optuna.trial.FrozenTrial], best: int | None, plots: int, words: str
) -> None:
    """From nothing to one hyperparameter: what cannot be drawn says why."""
    page = report(tmp_path, study(*trials), best, 0 if best == 0 else None)
    assert words in said(page) and len(page.figures) == plots
    assert_heard(page)
    if plots:
        assert_known_to_plotly(page)


def test_trials_astray_do_not_hide_the_others(tmp_path: Path) -> None:
    """Losses far apart are drawn on a logarithmic axis; curves beyond all others leave the plot at its top."""
    page = report(tmp_path, study(*made(0.4, 0.41, 0.42, 0.43, 2.0, *(0.4,) * 9, 1e6)), 0)
    assert page.figures[0]["layout"]["yaxis"]["type"] == "log"
    top = page.figures[-1]["layout"]["yaxis"]["range"][1]
    assert top < 2 and page.figures[-1]["layout"]["yaxis"]["type"] == "log"
    close = report(tmp_path, study(*made(0.4, 0.5)), 0)
    assert "type" not in close.figures[0]["layout"]["yaxis"]


def test_trials_that_kept_nothing(tmp_path: Path) -> None:
    """A trial killed in its first epoch has no attributes, and a study may have none either."""
    bare = optuna.create_study()
    bare.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    page = report(tmp_path, bare, None)
    assert "1 unfinished." in said(page) and "No trial has been timed." in said(page)


HOSTILE = "<script>alert(1)</script><b>'&amp;\""


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Choices, reasons, data and title show as written, in the page and in plotly's labels."""
    space: dict[str, BaseDistribution] = {"weights": optuna.distributions.CategoricalDistribution([HOSTILE, "b"])}
    bad = study()
    bad.set_user_attr("data", HOSTILE)
    for number in range(6):
        params = {"weights": HOSTILE if number % 2 else "b"}
        attrs = {"why": HOSTILE, "valid_loss": 0.5}
        bad.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=0.5 + number, user_attrs=attrs)
        )
    page = report(tmp_path, bad, 1, 0, HOSTILE)
    assert_alone(page)
    assert not {"b", "svg"} & {tag for tag, _ in page.elements}
    assert page.text.count(HOSTILE) >= 2 + 1 + 6
    labels = [label for figure in page.figures for label in strings(figure)]
    assert not any("<script" in label or "<b>" in label for label in labels)
    assert any("&lt;script&gt;" in label for label in labels)


def test_nothing_of_optuna_reaches_the_user(tmp_path: Path) -> None:
    """No note of trials that are left out, and no warning of what is experimental; its logging is as it was."""
    odd, heard = study(*made(0.5, 0.4, float("inf"))), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logging.getLogger("optuna").addHandler(handler)
    try:
        report(tmp_path, odd, 1)
        with quiet():
            warnings.warn("experimental", stacklevel=1)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO and not heard
        optuna.visualization.plot_slice(odd)
        assert heard  # it would have been noticed
    finally:
        logging.getLogger("optuna").removeHandler(handler)
        optuna.logging.set_verbosity(before)


def test_missing_plotly_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library nothing is written."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(TrainingError, match=re.escape("pip install 'whippet[train]'")):
        write_report(study(), None, tmp_path / "new" / "report.html", "t")
    assert not (tmp_path / "new").exists()


def test_arrays_become_lists() -> None:
    """NumPy's and those that plotly packs; texts are escaped but for line breaks."""
    packed = {"dtype": "f8", "bdata": "AAAAAAAA8D8AAAAAAAAAQA==", "shape": "2, 1"}
    figure = {"x": np.array([1, 2]), "y": packed, "z": np.float64(0.5), "t": ("a<br>b", "<i>")}
    assert plain_figure(figure) == {"x": [1, 2], "y": [[1.0], [2.0]], "z": 0.5, "t": ["a<br>b", "&lt;i&gt;"]}


def test_colours_between() -> None:
    """Ends, middle and what lies between; a value that is none is the worst."""
    assert [mixed(BLUE_TO_ORANGE, place) for place in (0, 0.5, 1, -3, 9)] == [BLUE, GREY, ORANGE, BLUE, ORANGE]
    assert mixed([(0.0, "#000000"), (1.0, "#ffffff")], 0.5) == "#808080"
    assert mixed(BLUE_TO_ORANGE, float("nan")) == ORANGE


@pytest.mark.slow
@pytest.mark.parametrize("trials", [2, 20])
def test_browser_draws_it(tmp_path: Path, trials: int) -> None:
    """Chromium draws every plot at 360 and 1,280 pixels, nothing overflows, nothing is asked for."""
    whole = searched(trials)
    page = report(tmp_path, whole, winner(whole), 0)
    assert_drawn(tmp_path / "report.html", tmp_path / "profile", len(page.figures))
