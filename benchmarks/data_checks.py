"""What `featcache check` finds in the data sets it was made on, held against what is known of them,
with its time.

    python benchmarks/data_checks.py --data FOLDER [--json]

FOLDER holds sms_spam, cola, ai_text, ag_news and sst2 as Parquet files of `text` and `label`, such
as ai_text.train.parquet. Each line is a thing that is known of a file, counted here in another way
than the checks count (plain Python, regular expressions) or stated by whoever published it, and
what the findings say. Exit 1 where a line does not hold.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from common import machine_line, plain_table, read_rows, run

from featcache.data.checks import Finding, check_parts
from featcache.data.parts import LabelledRows

PARTS = {
    "sms_spam": ("sms_spam",),
    "cola": ("cola.train",),
    "cola, 3 parts": ("cola.train", "cola.validation", "cola.validation_ood"),
    "ai_text": ("ai_text.train", "ai_text.test"),
    "ag_news": ("ag_news.train", "ag_news.test"),
    "sst2": ("sst2.train", "sst2.validation", "sst2.test"),
}
# Leaks that are known to be there, by hand: every other one would be a false alarm.
LEAKS = {
    "sms_spam": {"leak-token", "leak-format"},  # &lt;#&gt; for numbers that were taken out of ham
    "cola": set[str](),
    "cola, 3 parts": {"shared-text", "near-duplicate-shared"},
    "ai_text": {
        "near-duplicate-shared",
        "leak-start",
        "leak-end",
        "leak-characters",
        "leak-format",
        "mojibake",
    },
    "ag_news": {
        "near-duplicate-shared",
        "leak-characters",
    },  # remains of links to stock quotes in Business
    "sst2": {"shared-text", "near-duplicate-shared"},
}

_START, _GLUED = r"^nn", r"\bnn[A-Z]"


@dataclass(frozen=True)
class Line:
    """One known thing: what was counted beside the checks, and what they told."""

    data: str
    what: str
    known: str
    told: str

    @property
    def holds(self) -> bool:
        return self.known == self.told


@click.command()
@click.option(
    "--data", "folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(folder: Path, *, as_json: bool) -> None:
    """Compare findings with what is known, and measure both forms of the checks."""
    lines: list[Line] = []
    times: list[tuple[str, int, float, float, int, int]] = []
    for name, files in PARTS.items():
        parts = [read_rows(folder / f"{file}.parquet", "label") for file in files]
        findings, seconds = _timed(parts, quick=False)
        short, short_seconds = _timed(parts, quick=True)
        n_rows = sum(len(part.texts) for part in parts)
        times.append(
            (name, n_rows, seconds, short_seconds, len(findings), sum(one.leak for one in findings))
        )
        lines += _known(name, parts, findings)
        for form, found in (("", findings), (" (short form)", short)):
            others = {one.kind for one in found if one.leak} - LEAKS[name]
            lines.append(Line(name, f"false alarms{form}", "", ", ".join(sorted(others))))
    wrong = [line for line in lines if not line.holds]
    if as_json:
        keys = ("data", "rows", "seconds", "seconds_short", "findings", "leaks")
        told = {
            "lines": [asdict(line) | {"holds": line.holds} for line in lines],
            "times": [dict(zip(keys, one, strict=True)) for one in times],
            "machine": machine_line(),
        }
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(
            plain_table(
                ("data", "rows", "s", "s, short", "findings", "leaks"),
                [tuple(map(str, one)) for one in times],
            )
        )
        click.echo()
        shown = [
            (line.data, line.what, line.known, line.told, "yes" if line.holds else "NO")
            for line in lines
        ]
        click.echo(plain_table(("data", "what", "known", "told", "holds"), shown))
        click.echo(f"\n{machine_line()}")
    sys.exit(1 if wrong else 0)


def _timed(parts: Sequence[LabelledRows], *, quick: bool) -> tuple[list[Finding], float]:
    names = ("train", "test") if len(parts) == 2 else ("train", "validation", "test")
    started = time.perf_counter()
    found = check_parts(list(zip(names, parts, strict=False)), label="label", quick=quick)
    return found, round(time.perf_counter() - started, 2)


def _known(name: str, parts: Sequence[LabelledRows], findings: Sequence[Finding]) -> list[Line]:
    """Counts by plain Python beside those of the findings."""
    train = parts[0]
    labels: dict[str, set[str]] = {}
    for part in parts:
        for text, label in zip(part.texts, part.labels, strict=True):
            labels.setdefault(text, set()).add(str(label))
    torn = sum(len(one) > 1 for one in labels.values())
    repeated = len(train.texts) - len(set(train.texts))
    made = [
        Line(
            name,
            "rows of train that repeat a text",
            str(repeated),
            _told(findings, "repeated-text", r" of train "),
        ),
        Line(name, "texts with two labels", str(torn), _told(findings, "conflicting-labels")),
    ]
    if len(parts) > 1:
        theirs = set(train.texts)
        shared = sum(text in theirs for text in parts[-1].texts)
        made.append(
            Line(
                name,
                "test rows that are in train",
                str(shared),
                _told(findings, "shared-text", "test .* in train "),
            )
        )
    if name == "ai_text":
        every = [
            (text, str(label))
            for part in parts
            for text, label in zip(part.texts, part.labels, strict=True)
        ]
        made += [
            Line(
                name,
                f"start with nn: {_by_class(every, _START)}",
                str(_count(every, _START)),
                _told(findings, "leak-start", "“nn”"),
            ),
            Line(
                name,
                f"nn before a capital: {_by_class(every, _GLUED)}",
                str(_count(every, _GLUED)),
                _told(findings, "leak-characters", "“nn”"),
            ),
            # 104 by the publisher of this copy.
            Line(
                name,
                "mis-decoded UTF-8, all human",
                "104",
                _told(findings, "mojibake", ": 104 human, 0 machine"),
            ),
        ]
    return made


def _by_class(every: Sequence[tuple[str, str]], pattern: str) -> str:
    counts = Counter(label for text, label in every if re.search(pattern, text))
    return ", ".join(f"{count} {label}" for label, count in counts.most_common())


def _count(every: Sequence[tuple[str, str]], pattern: str) -> int:
    return sum(bool(re.search(pattern, text)) for text, _ in every)


def _told(findings: Sequence[Finding], kind: str, words: str = "") -> str:
    return next(
        (str(one.count) for one in findings if one.kind == kind and re.search(words, one.what)), "0"
    )


if __name__ == "__main__":
    run(main)
