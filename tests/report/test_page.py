"""The page as HTML, without a browser: whole, self-contained, escaped, small, and honest about what
is missing.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import featcache
from featcache.errors import DamageError, FormatError, InputError
from featcache.report.figures.learning import figure_learning
from featcache.report.page import write_page
from featcache.runs.evidence_records import CurvePointRecord, CurveRecord
from featcache.verbs.report import write_report
from tests.report.example import HOSTILE_LABELS, HOSTILE_TEXTS, enrich, write_predictions

_VOID = {"meta", "br", "link", "img", "input", "hr", "col"}
Made = Callable[..., Path]


class Parsed(HTMLParser):
    """Elements, their attributes, the text outside scripts and styles; complains about what is not
    nested.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def figures(self) -> list[str]:
        return [
            str(attributes["data-figure"])
            for _, attributes in self.found
            if "data-figure" in attributes
        ]


def page_of(folder: Path) -> str:
    return write_page(folder).read_text("utf-8")


def edited(folder: Path, copy: Path, **changes: Any) -> Path:
    shutil.copytree(folder, copy)
    result = json.loads((copy / "result.json").read_text("utf-8"))
    for name, value in changes.items():
        if value is KeyError:
            del result[name]
        else:
            result[name] = value
    (copy / "result.json").write_text(json.dumps(result), "utf-8")
    return copy


def test_a_whole_run_has_every_part(full: Path) -> None:
    page = page_of(full)
    parsed = Parsed(page)
    assert {
        "scores",
        "experiments",
        "layers",
        "shapes",
        "learning",
        "confusion",
        "classes",
        "calibration",
    } <= set(parsed.figures())
    assert "training0-score" in parsed.figures()
    assert any(re.fullmatch(r"training\d-loss", one) for one in parsed.figures())  # of the nets
    for part in (
        "Another layer or pooling holds more.",
        "featcache predict runs/reviews-stars/bundle DATA",
        "+8.6 ± 0.9 points",
        "Most confident mistakes",
        "Labels that may be wrong",
        "403 texts of the file are repeated",
        "Versions",
        "featcache fit-heads reviews.csv --test 'my reviews/<1>.csv' --label stars",
        "successive halving",
        "the test rows were read once",
    ):
        assert part in parsed.text, part
    result = json.loads((full / "result.json").read_text("utf-8"))
    assert f"{result['best']['test']['macro_f1']['value']:.3f}" in parsed.text
    assert f"{result['floors']['tfidf']['test']['macro_f1']:.3f}" in parsed.text


def test_every_figure_says_its_numbers_and_has_them_as_a_table(full: Path) -> None:
    page = page_of(full)
    parts = page.split("data-figure=")[1:]
    assert len(parts) >= 10
    for part in parts:
        figure = part.split("</figure>", maxsplit=1)[0]
        (says,) = re.findall(r'role="img" aria-label="([^"]+)"', figure)
        assert re.search(r"\d", says)
        assert figure.count("<tr>") >= 2
        (spec,) = re.findall(
            r'<script type="application/json">(.*?)</script>', figure, flags=re.DOTALL
        )
        assert json.loads(spec)["data"]["values"]


def test_the_page_asks_for_nothing_and_is_small(full: Path) -> None:
    page = page_of(full)
    assert len(page.encode()) <= 3e6
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)|@import|url\(""", outside)
    assert "default-src 'none'" in page
    assert (
        str(full.parent.parent) not in page or str(full) in page
    )  # only the run's own folder is named


def test_texts_and_labels_cannot_leave_their_place(hostile: Path) -> None:
    page = page_of(hostile)
    parsed = Parsed(page)
    tags = [tag for tag, _ in parsed.found]
    assert tags.count("img") == 0
    ours = [attributes for tag, attributes in parsed.found if tag == "script" and not attributes]
    assert len(ours) == 2  # the library and the page's own
    assert not any(name.startswith("on") for _, attributes in parsed.found for name in attributes)
    for label in HOSTILE_LABELS:
        assert " ".join(label.replace("\0", "\ufffd").split()) in parsed.text
    assert HOSTILE_TEXTS[2] in parsed.text
    assert "{{ 7 * 7 }}" in parsed.text
    for script in parsed.scripts[2:-2]:
        if script.strip().startswith("{"):
            json.loads(script)


@pytest.mark.parametrize(
    "classes",
    [
        [1, "1", True],
        [0, 1],
        [True, False],
        [0.5, 1.5, 2.5],
        ["", " "],
        [f"class {n}" for n in range(150)],
    ],
    ids=["alike", "numbers", "booleans", "floats", "blank", "many"],
)
def test_labels_of_any_kind_and_number(made: Made, classes: list[Any]) -> None:
    parsed = Parsed(page_of(enrich(made("odd", classes))))
    assert {"confusion", "classes"} <= set(parsed.figures())
    if len(classes) == 3 and classes[1] == "1":
        assert {"1", '"1"', "true"} <= set(parsed.text.split())
    if len(classes) == 150:
        assert "The 20 pairs of 150 classes that are confused most" in parsed.text
        assert "The 30 worst of 150 classes" in parsed.text


def test_a_run_of_an_early_version_is_drawn_and_says_what_it_lacks(made: Made) -> None:
    parsed = Parsed(page_of(made("old", ["a", "b", "c"])))
    assert {"scores", "layers", "shapes", "confusion", "classes"} <= set(parsed.figures())
    assert "did not keep its command" in parsed.text
    assert "its data were not checked" in parsed.text
    assert "No single limit was found." in parsed.text


def test_of_one_size_no_learning_curve_is_drawn_that_is_not_there() -> None:
    """Vega warns on the console of marks whose data are empty."""
    point = CurvePointRecord(rows=25, mean=0.4, low=0.1, high=1.0, train=1.0)
    curve = CurveRecord(about="logreg on layer 6 mean", points=(point,))
    found = figure_learning(curve, "macro_f1")
    filters = [one["filter"] for layer in found.spec["layer"] for one in layer["transform"]]
    assert not [one for one in filters if "fit" in one]
    assert "too few rows for a curve" in found.reads


def test_a_run_without_test_rows_says_that_its_scores_are_too_good(
    full: Path, tmp_path: Path
) -> None:
    result = json.loads((full / "result.json").read_text("utf-8"))
    for name in ("best", "linear"):
        result[name] = {**result[name], "test": None}
        result[name].pop("test_details")
    for floor in result["floors"].values():
        floor["test"] = None
    changes = {"best": result["best"], "linear": result["linear"], "floors": result["floors"]}
    parsed = Parsed(page_of(edited(full, tmp_path / "run", **changes, gain=None, mcnemar=None)))
    assert "There are no test rows" in parsed.text
    assert "confusion" not in parsed.figures()


def test_nothing_found_and_a_fit_without_a_limit_read_well(full: Path, tmp_path: Path) -> None:
    verdict: dict[str, Any] = {
        "kind": "fits",
        "why": "nothing tried is better",
        "cure": None,
        "causes": [],
        "experiments": [],
    }
    none: dict[str, Any] = {"count": 0, "path": None, "examples": []}
    folder = edited(
        full,
        tmp_path / "run",
        verdict=verdict,
        findings=[],
        mislabelled=none,
        mistakes=[],
        command=None,
    )
    parsed = Parsed(page_of(folder))
    assert "It fits." in parsed.text
    assert "Nothing suspicious was found" in parsed.text
    assert "The data were given in Python" in parsed.text
    assert "experiments" not in parsed.figures()


def test_several_runs_are_compared_row_by_row_or_it_is_said_why_not(
    made: Made, tmp_path: Path
) -> None:
    classes = ["no", "yes"]
    runs = [made(name, classes) for name in ("one", "two", "other rows", "other classes")]
    write_predictions(runs[0], [[90, 10], [10, 90]], seed=1)
    write_predictions(runs[1], [[60, 40], [40, 60]], seed=2)
    write_predictions(runs[2], [[60, 40], [40, 60]], seed=2, rows="else")
    shutil.rmtree(runs[3])
    write_predictions(
        made("other classes", ["no", "yes", "perhaps"]), [[9, 1, 0], [1, 9, 0], [0, 0, 9]]
    )
    for run in runs:
        result = json.loads((run / "result.json").read_text("utf-8"))
        (run / "result.json").write_text(json.dumps({**result, "label": "label"}), "utf-8")
    parsed = Parsed(write_report(runs, out=tmp_path / "all.html").read_text("utf-8"))
    # 0.9 and 0.6 are right: the second is 30 points of macro-F1 below the first.
    assert re.search(
        r"two one -30\.0 ± \d\.\d -\d\d\.\d … -\d\d\.\d macro_f1 200 test worse", parsed.text
    )
    assert (
        "other rows and one : they are scored on different test rows (200 and 200; 0 texts "
        "in both)." in parsed.text
    )
    assert "other classes and one : their classes differ." in parsed.text
    assert parsed.figures().count("scores") == 4
    identifiers = [attributes["id"] for _, attributes in parsed.found if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    targets = [str(attributes["href"])[1:] for tag, attributes in parsed.found if tag == "a"]
    assert set(targets) <= set(identifiers)


def test_many_runs_keep_their_verdicts_and_the_page_small(
    full: Path, hostile: Path, tmp_path: Path
) -> None:
    runs = [
        shutil.copytree(hostile if number % 2 else full, tmp_path / f"run {number}")
        for number in range(11)
    ]
    few, many = (write_report(runs[:count], out=tmp_path / f"{count}.html") for count in (10, 11))
    assert many.stat().st_size < few.stat().st_size <= 3e6
    parsed = Parsed(many.read_text("utf-8"))
    assert not parsed.figures()
    assert parsed.text.count("The linear head on the last layer stops at 0.867") == 11
    assert f"featcache report '{runs[3]}'" in parsed.text
    assert Parsed(few.read_text("utf-8")).figures().count("layers") == 10


def test_what_is_no_run_is_one_sentence(full: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a run: there is no such folder"):
        featcache.write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a run: it holds no result\.json") as caught:
        featcache.write_report(full.parent)
    assert str(full) in caught.value.cure
    with pytest.raises(InputError, match="it is a file"):
        featcache.write_report(full / "result.json")
    with pytest.raises(InputError, match="no run is named"):
        featcache.write_report([])
    with pytest.raises(InputError, match="is a folder"):
        featcache.write_report(full, out=tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_result_that_was_cut_off_is_damage(full: Path, tmp_path: Path, share: float) -> None:
    folder = edited(full, tmp_path / "run")
    (folder / "report.html").unlink(missing_ok=True)
    whole = (folder / "result.json").read_bytes()
    (folder / "result.json").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamageError, match=r"result\.json is not what a run writes"):
        write_page(folder)
    assert not (folder / "report.html").exists()
    assert not list(folder.glob("*.partial"))


def test_a_damaged_file_beside_it_is_named(full: Path, tmp_path: Path) -> None:
    for name in ("trials.jsonl", "predictions.parquet"):
        folder = edited(full, tmp_path / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamageError, match=name):
            write_page(folder)


def test_numbers_that_are_none_are_damage_where_one_is_needed(full: Path, tmp_path: Path) -> None:
    result = json.loads((full / "result.json").read_text("utf-8"))
    folder = edited(full, tmp_path / "run", gain={**result["gain"], "high": float("nan")})
    assert (
        "points of macro_f1 over the linear head on the same test rows"
        in Parsed(page_of(folder)).text
    )
    curve, calibration = result["learning_curve"], result["reliability"]
    curve["points"][1]["mean"] = float("inf")
    calibration["bins"][0]["accuracy"] = 2
    for number, changes in enumerate(
        ({"learning_curve": curve}, {"reliability": calibration}, {"seconds": "soon"})
    ):
        with pytest.raises(DamageError, match=r"result\.json is not what a run writes"):
            write_page(edited(full, tmp_path / str(number), **changes))


def test_any_part_that_is_missing_or_of_another_kind_is_damage_or_left_out(
    full: Path, tmp_path: Path
) -> None:
    result = json.loads((full / "result.json").read_text("utf-8"))
    folder = edited(full, tmp_path / "run")
    for name in result:
        for wrong in (KeyError, 7, "seven", [7], {"seven": 7}, None):
            changed = {
                one: value for one, value in result.items() if one != name or wrong is not KeyError
            }
            if wrong is not KeyError:
                changed[name] = wrong
            (folder / "result.json").write_text(json.dumps(changed), "utf-8")
            with contextlib.suppress(DamageError, FormatError):
                Parsed(page_of(folder))
