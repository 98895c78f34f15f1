"""The report of a run: right numbers, nothing loaded, and no recording that it cannot show."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import pytest

from tests.browser import assert_drawn
from tests.pages import Page, assert_alone, assert_heard, assert_known_to_plotly, strings
from tests.recordings import (
    STARTED,
    about,
    finished,
    frozen,
    killed,
    resumed,
    sample,
    step,
    training_scalars,
    validation_scalars,
)
from training.monitor.finding import CLEAR, FOUND, SKIPPED, Finding
from training.monitor.recording import FINETUNE, HEAD, Gpu, Operator, Phase, Recording
from training.monitor.report import write_report
from training.monitor.sections.axis import TimeAxis
from training.monitor.sections.findings import with_flags
from training.monitor.sections.steps import plain_steps, seconds, shares
from training.monitor.sections.story import best_epoch, spans, status, whole_phases, working_seconds

FINDINGS = [
    Finding("ExplodingTensor", CLEAR, "All numbers are finite."),
    Finding("Dataloader", FOUND, "371 of 742 ms wait.", "Add --workers 6, or --autotune-loader.", FINETUNE, 12),
    Finding("GPUMemoryIncrease", SKIPPED, "There is no GPU."),
    Finding("Overfit", FOUND, "The gap grows.", "Take --dropout 0.3."),
]


def report(folder: Path, recording: Recording, findings: list[Finding] = FINDINGS, **more: Any) -> Page:
    """Write the report and read it."""
    return Page(write_report(recording, findings, folder / "report.html", **{"now": STARTED + 500, **more}))


def said(page: Page) -> str:
    """The whole text of a page."""
    return " ".join(page.text)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A run of three stages, with all there is."""
    return report(tmp_path_factory.mktemp("full"), finished(), trace=Path("run/trace.json.gz"))


def test_page_stands_alone_and_can_be_heard(full: Page) -> None:
    """No request, only our scripts, words for every plot, known properties alone."""
    assert_alone(full)
    assert_heard(full)
    assert_known_to_plotly(full)
    assert len(full.figures) == 12


def test_summary_says_what_happened(full: Page) -> None:
    """What ran on what, how it ended, how long it took and where, the best epoch, what was found."""
    text = said(full)
    assert "resnet50, a head and then the last 2 stages of it, 46 training photos of 2 classes, on NVIDIA A10G." in text
    assert "Finished" in text and "Began 2023-11-14 22:13 UTC." in text
    assert "6 min 45 s" in text and "finetune 4 min 44 s, features 58 s and features of the tuned backbone 35 s" in text
    best = best_epoch(finished())
    assert best is not None and (best.stage, best.epoch) == (FINETUNE, 4)
    assert "Of 6 epochs of finetune" in text and f"{best.values['loss_scaled']:.4f}" in text
    assert f"{100 * best.values['accuracy']:.1f} %" in text
    assert "Dataloader and Overfit, of 3 rules." in text


def test_findings_stand_first(full: Page) -> None:
    """What was found is open with place, evidence and mend; the rest is folded, clear before skipped."""
    text = said(full)
    assert "in finetune, first at step 12" in text and "371 of 742 ms wait." in text
    assert "<code>--workers 6</code>, or <code>--autotune-loader</code>." in full.html
    places = [text.index(part) for part in ("371 of 742", "The gap grows", "All numbers", "There is no GPU")]
    assert places == sorted(places) and "1 rule found nothing" in text and "1 rule could not tell" in text
    assert full.html.index("371 of 742") < full.html.index("<details>") < full.html.index("All numbers")


def test_flags_are_told_from_text() -> None:
    """A flag and its number are code, words after it and the full stop are not."""
    assert with_flags("Try --a-b 0.5.") == "Try <code>--a-b 0.5</code>."
    assert with_flags("--stop <b>") == "<code>--stop</code> &lt;b&gt;"


def test_shares_by_hand() -> None:
    """Shares are of the time of all steps, and what no part took is the rest."""
    whole = step(HEAD, 1, 0, 1.0, 0.5, copy=0.1, forward=0.1, backward=0.1, optimizer=0.1)
    assert shares([whole]) == pytest.approx(
        {"wait": 0.5, "copy": 0.1, "forward": 0.1, "backward": 0.1, "optimizer": 0.1, "rest": 0.1}
    )
    assert shares([]) == {} and shares([dataclasses.replace(whole, total=0.0, wait=-0.4)]) == {}
    slow = dataclasses.replace(whole, total=0.2)  # clocks disagree
    assert seconds([slow])["rest"].tolist() == [0]


def test_steps_are_told_as_measured(tmp_path: Path) -> None:
    """Shares, photos a second, median and 95 % are those of the steps, and the slow one is counted apart."""
    steps = [step(FINETUNE, n, STARTED + n, 0.1 if n <= 90 else 0.2, 0.05) for n in range(1, 100)]
    recording = Recording(about(), steps=[*steps, step(FINETUNE, 100, STARTED + 100, 9.0, 8.0)])
    page = report(tmp_path, recording)
    text = said(page)
    assert "Half of the steps of finetune took at most 100 ms, 95 % at most 200 ms" in text
    assert "1 step took longer than shown, up to 9 s." in text
    total = 90 * 0.1 + 9 * 0.2 + 9
    assert f"{3200 / total:.3g} photos a second" in text
    bars = {bar["name"]: bar["x"] for bar in page.figures[0]["data"]}
    assert bars["waiting for photos"] == [pytest.approx((99 * 0.05 + 8) / total, abs=1e-4)]
    assert sum(page.figures[2]["data"][0]["y"]) == 99


def test_traced_steps_are_left_out(full: Page) -> None:
    """The profiler slows steps: they do not count, which is said; without others they do."""
    recording = finished()
    assert [s.step for s in plain_steps(recording, FINETUNE)][:4] == [1, 2, 3, 14]
    assert len(plain_steps(recording, HEAD)) == len(recording.timed(HEAD))
    assert "Steps 4 to 13 of finetune were traced" in said(full)
    short = Recording(about(traced=[FINETUNE, 1, 10]), steps=[step(FINETUNE, 1, STARTED)])
    assert len(plain_steps(short, FINETUNE)) == 1


def test_machine_and_operators_are_shown(full: Page, tmp_path: Path) -> None:
    """Memory, disk and GPU in words; operators by GPU time with shares, the trace by name; none without."""
    text = said(full)
    assert "4.6 GB of 32 GB memory" in text and "GPUs were busy" in text and "8 GB of 24 GB" in text
    assert "Operators of the traced steps by their GPU time" in text and "78.5 %" in text and "530" in text
    assert full.html.index("cudnn_convolution") < full.html.index("Optimizer.step#SGD.step") < full.html.index("addmm")
    assert "trace.json.gz" in text and "run/trace" not in text
    other = said(report(tmp_path, frozen()))
    assert "No steps were traced; --profile-steps 10" in other and "GPUs" not in other


def test_changed_settings_come_first(full: Page) -> None:
    """Changed ones with their default, the others folded away, and where it ran."""
    text = said(full)
    assert "resnet152" in text and text.index("finetune_epochs") > text.index("dropout")
    changed = full.html[full.html.index("Hyperparameters that were changed") :]
    assert changed.index("<strong>0.3</strong>") < changed.index("<details>") < changed.index("layer_decay")
    assert "Options of recording, all with their default value" in text and "cuda NVIDIA A10G, 24 GB" in text
    assert "46 train, 12 valid and 12 test" in text and "6 to 40, 2 classes" in text


def test_run_of_the_head_alone(tmp_path: Path) -> None:
    """A frozen run on a CPU has features and head, and nothing of what it did not do."""
    page = report(tmp_path, frozen(), [])
    text = said(page)
    assert "efficientnet_lite0, a head on its frozen features" in text and "on a CPU with 8 cores." in text
    assert "Steps of head" in text and "Steps of finetune" not in text and "No rules have read this record." in text
    assert_known_to_plotly(page)


@pytest.mark.parametrize(
    ("facts", "now", "expected"),
    [
        ({"status": "done"}, 1e6, "Finished"),
        ({"status": "failed", "message": "the photos are gone"}, 1e6, "The photos are gone. Began"),
        ({"status": "stopped", "message": "by the rule Overfit"}, 1e6, "By the rule Overfit. Began"),
        ({"status": "running"}, 60, "What follows is as of"),
        ({"status": "running"}, 7200, "its last sign of life was 2 h before this page was written."),
    ],
)
def test_end_is_told_plainly(tmp_path: Path, facts: dict[str, Any], now: float, expected: str) -> None:
    """Also why it failed, which rule stopped it, and that a silent run has probably been killed."""
    recording = dataclasses.replace(finished(**facts, ended=None))
    recording.system.append(sample(STARTED + 400))
    assert expected in said(report(tmp_path, recording, now=STARTED + 400 + now))


def test_silence_is_measured_by_what_would_be_heard() -> None:
    """A run that looks twice a second is missed after two minutes, one that never looks after fifteen."""
    recording = killed()
    last = recording.system[-1].t
    assert (status(recording, last + 110), status(recording, last + 130)) == ("running", "killed")
    rare = dataclasses.replace(recording, about=recording.about | {"monitoring": {"system_interval": 60_000}})
    assert (status(rare, last + 170), status(rare, last + 190)) == ("running", "killed")
    blind = dataclasses.replace(recording, system=[])
    assert (status(blind, last + 800), status(blind, last + 1000)) == ("running", "killed")


def test_killed_run_is_shown_as_far_as_it_went(tmp_path: Path) -> None:
    """Its open phase ends with its last sign of life, and that the same command resumes it is said."""
    recording = killed()
    phase, end = whole_phases(recording)[-1]
    assert phase.name == FINETUNE and STARTED + 219 <= end <= STARTED + 220
    text = said(report(tmp_path, recording, now=STARTED + 9000))
    assert "Probably killed" in text and "The same command resumes it." in text and "finetune 2 min 24 s" in text


def test_pause_does_not_count(tmp_path: Path) -> None:
    """After a night between two halves the work is as long as before; the pause is drawn short and named."""
    recording = resumed()
    cut = next(end for phase, end in whole_phases(recording) if phase.end is None)
    assert STARTED + 219 <= cut <= STARTED + 220
    assert len(spans(recording)) == 2 and working_seconds(recording) == pytest.approx(405, abs=1)
    page = report(tmp_path, recording, now=STARTED + 40_000)
    text = said(page)
    assert "Resumed once; pauses do not count." in text and "6 min 4" in text
    assert "1 pause between a stop and a restart, drawn shorter than they were" in text
    assert any("not running for 10 h" in label for label in strings(page.figures[0]))
    curve = next(drawn for drawn in page.figures[0]["data"] if drawn["name"] == "all cores")
    assert curve["y"].count(None) == 2  # a gap at the pause, and the end


def test_axis_by_hand() -> None:
    """Short pauses keep their length, long ones shrink, and ticks tell the true time."""
    plain = TimeAxis([(0, 100), (105, 200)])
    assert not plain.cut and plain.x(150) == pytest.approx(150 / plain.unit) and plain.unit == 60
    cut = TimeAxis([(0, 100), (10_100, 10_200)])
    assert cut.cut and cut.unit == 60
    assert cut.x(100) == pytest.approx(100 / 60) and cut.x(10_100) == pytest.approx(124 / 60, rel=1e-4)
    assert cut.x(5_100) == pytest.approx(112 / 60, rel=1e-4)  # halfway through the pause
    ticks = cut.layout()
    assert ticks["tickvals"] == sorted(ticks["tickvals"]) and len(ticks["tickvals"]) == len(ticks["ticktext"])
    assert ticks["ticktext"][0] == "0" and "168" in ticks["ticktext"]
    assert TimeAxis([(5, 5)]).x(5) == 0


def test_recordings_with_holes(tmp_path: Path) -> None:
    """Nothing at all, only facts, or one line of a kind makes a page that says what is missing."""
    whole = finished()
    parts = [
        Recording({"format": 1, "status": "running"}),
        Recording(about()),
        Recording(about(hyperparameters={}, device=None, photos={}, versions=None), phases=[Phase("x", 5, None)]),
        Recording(about(), scalars=whole.scalars[:1]),
        Recording(about(), scalars=[line for line in whole.scalars if line.mode == "EVAL"][:1]),
        Recording(about(), steps=whole.steps[:1]),
        Recording(about(), system=whole.system[:1]),
        Recording(about(), operators=[Operator("x", 0, 0.0, 0.0)]),
    ]
    for number, recording in enumerate(parts):
        page = report(tmp_path / str(number), recording, [])
        assert_heard(page)
        assert_known_to_plotly(page)
        assert len(page.all("section")) == 7
    empty = said(report(tmp_path, parts[0], []))
    assert "Nothing has been recorded yet." in empty and "Nothing was recorded of loss and accuracy." in empty


def test_numbers_that_are_none_are_gaps(tmp_path: Path) -> None:
    """NaN and infinity break no plot, are left out of it, and are told with their first step."""
    recording = finished()
    lines = [
        dataclasses.replace(line, values=dict.fromkeys(line.values, math.nan if line.step % 20 else math.inf))
        if line.stage == FINETUNE and line.step > 100
        else line
        for line in recording.scalars
    ]
    page = report(tmp_path, dataclasses.replace(recording, scalars=lines))
    text = said(page)
    assert "No finite number from step 110 on: accuracy, gradient_norm, learning_rate and" in text
    assert "NaN" not in page.html.replace("isNaN", "").split("<main>")[1].split("</main>")[0]
    assert_known_to_plotly(page)
    best = best_epoch(dataclasses.replace(recording, scalars=lines))
    assert best is not None and math.isfinite(best.values["loss_scaled"])


def test_one_point_is_seen(tmp_path: Path) -> None:
    """A stage that was stopped after its first record shows it as a mark, and no course of it."""
    page = report(tmp_path, Recording(about(), scalars=finished().scalars[:1]), [])
    assert all(line["mode"] == "lines+markers" for figure in page.figures for line in figure["data"])
    assert "went from" not in said(page)


HOSTILE = "<script>alert(1)</script><b>'&amp;\""


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Names of runs, phases, stages, layers, operators, rules and traces show as written."""
    whole = finished(name=HOSTILE, status="failed", message=HOSTILE, versions={HOSTILE: HOSTILE})
    more = {f"weight_norm/{HOSTILE}": 1.0}
    lines = [dataclasses.replace(x, stage=HOSTILE, values=x.values | more) for x in whole.scalars]
    bad = dataclasses.replace(
        whole,
        scalars=lines,
        steps=[dataclasses.replace(line, stage=HOSTILE) for line in whole.steps],
        phases=[Phase(HOSTILE, STARTED, STARTED + 9)],
        operators=[Operator(HOSTILE, 1, 1.0, 0.0)],
    )
    finding = Finding(HOSTILE, FOUND, HOSTILE, HOSTILE, HOSTILE, 1)
    page = report(tmp_path, bad, [finding, dataclasses.replace(finding, status=CLEAR)], trace=Path("/x") / "<b>.gz")
    assert_alone(page)
    assert not {"b", "svg"} & {tag for tag, _ in page.elements}
    assert said(page).count(HOSTILE) >= 18 and "<b>.gz" in page.text
    labels = [label for figure in page.figures for label in strings(figure)]
    assert not any("<script" in label or "<b>'" in label for label in labels)
    assert any("&lt;script&gt;" in label for label in labels)


def test_long_run_makes_a_small_page(tmp_path: Path) -> None:
    """100,000 steps, their samples and a spike: less than 8 MB, few points a curve, and the spike still there."""
    generator = random.Random(1)
    run, last = Recording(about(status="running", ended=None)), 100_000
    for n in range(1, last + 1):
        t = STARTED + n / 2
        run.steps.append(step(FINETUNE, n, t, 0.1 * generator.lognormvariate(0, 0.3), 0.01))
        run.system.append(sample(t, read=9.876e9 if n == 77_777 else 1e6, gpus=(Gpu(generator.random(), 1, 2),) * 2))
        if n % 10 == 0:
            loss = 123.0 if n == 55_550 else 3 * math.exp(-n / 30_000) + 0.2 * generator.random()
            run.scalars.append(training_scalars(FINETUNE, n, t, n // 1000, loss, generator))
        if n % 1000 == 0:
            run.scalars.append(validation_scalars(FINETUNE, n, t, n // 1000, 3 * math.exp(-n / 30_000)))
    page = report(tmp_path, run, now=STARTED + last / 2)
    assert (tmp_path / "report.html").stat().st_size < 8_000_000
    drawn = [line for figure in page.figures for line in figure["data"]]
    assert 1000 < max(len(line["x"]) for line in drawn) <= 2000
    assert any(123.0 in line["y"] for line in drawn) and any(9876.0 in line["y"] for line in drawn)
    pale = [line for line in drawn if line.get("opacity") == 0.3]
    assert len(pale) == 11 and all(len(line["x"]) > 100 for line in pale)  # beside means of as many curves
    assert "Still running" in said(page) and "paler ones show all extremes" in said(page)


@pytest.mark.slow
@pytest.mark.parametrize("recording", [finished(), resumed(), Recording(about(), system=[sample(STARTED)])])
def test_browser_draws_it(tmp_path: Path, recording: Recording) -> None:
    """Chromium draws every plot at 360 and 1,280 pixels, nothing overflows, nothing is asked for."""
    page = report(tmp_path, recording)
    assert_drawn(tmp_path / "report.html", tmp_path / "profile", len(page.figures))
