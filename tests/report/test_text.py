"""The outcome in the terminal: the layers as a heat map, the top of the sweep, ranked causes."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, make_dataclass, replace
from typing import Any

from featcache.console import Console
from featcache.report.text.fit import print_report, report_text
from featcache.runs.result import FitResult


@dataclass(frozen=True)
class Cause:
    kind: str
    points: float | None
    standard_error: float | None
    why: str
    cure: str | None


def lines_of(text: str, head: str) -> list[str]:
    """The line that begins with `head`, and those below it up to an empty one."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    return lines[start : lines.index("", start)]


def with_verdict(result: FitResult, **fields: Any) -> FitResult:
    """The same result with a verdict that has ranked causes."""
    verdict = make_dataclass("Verdict", list(fields))(**fields)
    return replace(result, verdict=verdict)


def test_the_heat_map_has_the_best_score_on_each_layer_and_pooling(fitted: FitResult) -> None:
    header, *rows = lines_of(report_text(fitted), "layers")
    layers = [int(one) for one in header.split()[1:]]
    assert layers == [0, 1, 2]
    assert [row.split()[0] for row in rows] == ["mean", "cls"]
    for row in rows:
        pooling, *shown = row.split()
        for layer, text in zip(layers, shown, strict=True):
            scores = [
                trial.validation[fitted.metric]
                for trial in fitted.trials
                if (trial.view.layers, trial.view.poolings) == ((layer,), (pooling,))
            ]
            assert text == f"{max(scores):.3f}".removeprefix("0")


def test_only_a_terminal_has_colours(fitted: FitResult) -> None:
    assert "\x1b" not in report_text(fitted)
    stream = io.StringIO()
    print_report(
        fitted, Console(file=stream, force_terminal=True, color_system="truecolor", width=120)
    )
    coloured = next(
        line for line in stream.getvalue().splitlines() if "  mean" in line and "48;2;" in line
    )
    assert len(set(re.findall(r"48;2;\d+;\d+;\d+", coloured))) >= 1
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert plain.rstrip() in [line.rstrip() for line in report_text(fitted).splitlines()]


def test_the_top_of_the_sweep_holds_the_choice_and_says_how_many_more(fitted: FitResult) -> None:
    text = report_text(fitted)
    shown = lines_of(text, "sweep")
    views = {str(trial.view) for trial in fitted.trials}
    listed = [
        view for view in views if any(re.match(rf" +{re.escape(view)}  ", line) for line in shown)
    ]
    assert len(listed) == min(8, len(views))
    assert str(fitted.best.trial.view) in listed
    assert sum("▸" in line for line in shown[1:]) == 1
    if len(views) > 8:
        assert f"… and {len(views) - 8} more view" in shown[-1]


def test_several_causes_are_ranked_below_the_verdict_and_the_cure_follows(
    fitted: FitResult,
) -> None:
    causes = (
        Cause("features", 0.086, 0.009, "all layers side by side", None),
        Cause("capacity", 0.012, None, "two hidden layers", None),
        Cause("data-limited", None, None, "the curve still rises", None),
    )
    result = with_verdict(
        fitted,
        kind="features",
        why="it stops",
        cure="featcache fit-heads x --depths 2",
        causes=causes,
    )
    text = report_text(result)
    lines = text[text.index("verdict ") :].splitlines()
    assert lines[0] == "verdict    features: it stops."
    assert lines[1] == "causes     features +8.6 ± 0.9 · capacity +1.2 · data-limited (points)"
    assert lines[2] == "cure       featcache fit-heads x --depths 2"


def test_one_cause_is_the_verdict_itself_and_a_cure_is_not_said_twice(fitted: FitResult) -> None:
    following = f"featcache predict {fitted.bundle} DATA"
    causes = (Cause("features", 0.086, 0.009, "only this", None),)
    text = report_text(
        with_verdict(fitted, kind="features", why="it stops", cure=following, causes=causes)
    )
    assert "only this" not in text
    assert "cure  " not in text
    assert text.splitlines()[-1] == f"next       {following}"
