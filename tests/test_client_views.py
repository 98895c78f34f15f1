"""Which results are shown, and how they are counted."""

from __future__ import annotations

import pytest

from client.results import Failure, Outcome
from client.views import Filter, LabelCounts
from lambda_api.schema import Decision, Prediction


def _outcome(label: str, score: float = 0.9, decision: Decision = "confident") -> Outcome:
    others = (Prediction("other", "n9", 0.01),)
    return Outcome(f"{label}.jpg", "ab", (Prediction(label, f"id-{label}", score), *others), decision)


FAILED = Outcome("torn.jpg", error=Failure("bad_image", "It is torn.", "Copy it again."))


def test_without_wishes_everything_is_shown() -> None:
    """Failed photos too: the truth is the default."""
    assert all(Filter().keeps(outcome) for outcome in (_outcome("beagle", 0.01), FAILED))


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (Filter(0.5), ["beagle", "pug"]),
        (Filter(0.9), ["beagle"]),
        (Filter(only=frozenset({"pug"})), ["pug"]),
        (Filter(only=frozenset({"id-cat", "beagle"})), ["beagle", "cat"]),
        (Filter(0.6, frozenset({"pug", "beagle"})), ["beagle"]),
        (Filter(only=frozenset({"other"})), []),
    ],
)
def test_by_score_and_best_label(wanted: Filter, kept: list[str]) -> None:
    """Only the best label counts, by its name or class id, and failed photos have none."""
    outcomes = [_outcome("beagle", 0.9), _outcome("pug", 0.5), _outcome("cat", 0.3), FAILED]
    assert [outcome.label for outcome in outcomes if wanted.keeps(outcome)] == kept


def test_counts_by_label() -> None:
    """The most frequent first, with share and mean score; unsure, unknown and failed ones at the end."""
    counts = LabelCounts()
    for outcome in (_outcome("pug", 0.5, "unsure"), _outcome("beagle", 0.8), _outcome("beagle", 0.6), FAILED):
        counts.add(outcome)
    lines = counts.table().splitlines()
    assert [line.split() for line in lines[1:3]] == [["beagle", "2", "66.7%", "0.70"], ["pug", "1", "33.3%", "0.50"]]
    assert set(lines[3:]) == {"1 unsure", "1 failed"}


def test_long_tables_are_cut_and_say_so() -> None:
    """A thousand classes would scroll everything else away."""
    counts = LabelCounts()
    for number in range(30):
        counts.add(_outcome(f"label-{number:02}\x1b[31m"))
    lines = counts.table(limit=5).splitlines()
    assert len(lines) == 7 and lines[-1] == "and 25 labels more"
    assert "\x1b" not in counts.table()


def test_columns_stand_below_each_other() -> None:
    """Also below labels whose characters are two columns wide on a terminal."""
    counts = LabelCounts()
    for label in ("狗", "beagle", "beagle"):
        counts.add(_outcome(label))
    head, beagle, dog = counts.table().splitlines()
    assert head.index("photos") + len("photos") == beagle.index("2") + 1 == dog.index("1") + 2


def test_where_all_failed_there_is_no_table() -> None:
    """Only what is to be said."""
    counts = LabelCounts()
    counts.add(FAILED)
    assert counts.table() == "1 failed"
