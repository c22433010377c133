"""What fit-heads does beyond its defaults: searches, folds, seeds, several labels, code,
calibration, the ledger.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle
from torch import nn

import featcache
from featcache.bundles.bundle import read_bundle
from featcache.cache.space import Space
from featcache.errors import BundleError, InputError, LabelError, MachineError
from featcache.progress import Silent
from featcache.runs.head_records import TrialRecord
from featcache.runs.result import FitResult
from featcache.schema import fields_of
from tests.conftest import everything_below
from tests.verbs.test_fit_predict import rated, refused

TRAIN, TEST = rated(300, seed=1), rated(120, seed=2)
TINY: dict[str, Any] = {
    "heads": "logreg,linear",
    "layers": "1,2",
    "pool": "mean",
    "views": "single",
    "search": "grid",
    "evidence": False,
}


def two_labels(data: dict[str, list[str]]) -> dict[str, list[Any]]:
    return {**data, "long": [len(text.split()) > 5 for text in data["text"]]}


@pytest.fixture(scope="session")
def cache(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("options") / "cache"
    for data in (TRAIN, TEST):
        featcache.extract(data, backbone=encoder, cache=cache, dtype="float32")
    return cache


class Notes(Silent):
    """Keeps what is told beside the progress."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture
def fit(cache: Path, tmp_path: Path) -> Any:
    def call(data: Any = None, **options: Any) -> Any:
        options = {
            "label": "label",
            "text": "text",
            "cache": cache,
            "out": tmp_path / "run",
            **TINY,
            **options,
        }
        rows = TRAIN if data is None else data
        if "labels" in options:
            del options["label"]
            return featcache.fit_labels(rows, **options)
        return featcache.fit_heads(rows, **options)

    return call


# -- searches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["halving", "grid", "random", "optuna"])
def test_each_search_tries_as_many_as_were_asked_for(fit: Any, tmp_path: Path, search: str) -> None:
    """The linear reference, which was not, is none of them. The same call again finds the same."""
    options = {
        "heads": "linear,mlp",
        "depths": (1,),
        "widths": (8,),
        "views": "single,layers,mix",
        "seconds": 600,
    }
    first, again = (
        fit(search=search, trials=10 if search != "grid" else 5, out=tmp_path / name, **options)
        for name in "ab"
    )
    assert len(first.trials) == (5 if search == "grid" else 10)
    assert len({trial.candidate for trial in first.trials}) == len(first.trials)
    assert first.searched["search"] == search
    assert first.best.trial in first.trials
    for one, other in zip(first.trials, again.trials, strict=True):
        first_record, other_record = (fields_of(TrialRecord.of(trial)) for trial in (one, other))
        assert {**first_record, "seconds": 0} == {**other_record, "seconds": 0}
    assert {str(trial.head) for trial in first.trials} == {"linear", "mlp 1×8"}
    if search == "halving":
        dropped = [trial for trial in first.trials if trial.ended != "done"]
        assert dropped
        assert all(trial.ended.startswith("dropped at ") for trial in dropped)
        assert first.best.trial.ended == "done"
        assert first.linear.trial.ended == "done"


@pytest.mark.parametrize("search", ["halving", "random", "optuna"])
def test_no_time_is_enough_for_a_usable_result(fit: Any, cache: Path, search: str) -> None:
    result = fit(
        search=search,
        seconds=1e-9,
        heads="linear,mlp",
        widths=(8,),
        views="single,layers",
        test=TEST,
    )
    assert result.linear.trial.ended == "done"
    assert (str(result.linear.trial.head), str(result.linear.trial.view)) == (
        "logreg",
        "layer 2 mean",
    )
    assert result.linear.test is not None
    predictor = featcache.load_bundle(result.bundle, cache=cache)
    right = [one.label for one in predictor.predict(TEST["text"])]
    assert result.best.test is not None
    assert result.best.test["accuracy"].value == pytest.approx(
        np.mean(np.array(right) == TEST["label"]), abs=1e-6
    )


def test_no_time_and_another_view_than_the_reference_s_leave_the_reference(fit: Any) -> None:
    result = fit(search="random", seconds=1e-9, heads="linear", layers="1", pool="cls")
    assert result.best.trial is result.linear.trial


def test_time_that_is_enough_changes_nothing(fit: Any, tmp_path: Path) -> None:
    plain, timed = fit(out=tmp_path / "a"), fit(out=tmp_path / "b", seconds=600)
    for one, other in zip(plain.trials, timed.trials, strict=True):
        first_record, other_record = (fields_of(TrialRecord.of(trial)) for trial in (one, other))
        assert {**first_record, "seconds": 0} == {**other_record, "seconds": 0}


@pytest.mark.parametrize("form", [{}, {"activation": "relu", "layer_norm": True, "residual": True}])
def test_the_form_of_an_mlp_goes_into_trials_and_bundle(fit: Any, form: dict[str, Any]) -> None:
    result = fit(heads="mlp", depths=(2,), widths=(8,), layers="2", **form)
    (trial,) = result.trials
    expected = {"activation": "gelu", "layer_norm": False, "residual": False, **form}
    record = TrialRecord.of(trial)
    assert {name: getattr(record, name) for name in expected} == expected
    _, description = read_bundle(Path(result.bundle))
    assert {name: getattr(description, name) for name in expected} == expected


def test_what_scores_depend_on_is_in_the_signature(fit: Any, tmp_path: Path) -> None:
    """Among other candidates a head of the same name may have another recipe."""
    found = [
        fit(
            search="random",
            heads=heads,
            layers=layers,
            widths=(4,),
            trials=5,
            seconds=600,
            out=tmp_path / f"{heads} {layers}",
        )
        for heads in ("linear", "linear,mlp")
        for layers in ("2", "1,2", "0,2")
    ]
    assert len({str(one.best.trial.view) + str(one.best.trial.head) for one in found}) < len(found)
    by_signature: dict[str, set[str]] = {}
    for one in found:
        by_signature.setdefault(one.signature, set()).add(
            json.dumps(one.to_json()["best"], sort_keys=True)
        )
    assert all(len(scores) == 1 for scores in by_signature.values())


def test_other_labels_of_the_same_rows_have_another_signature(fit: Any, tmp_path: Path) -> None:
    held = [
        {name: values[half] for name, values in TEST.items()}
        for half in (slice(60), slice(60, None))
    ]
    options = {"heads": "logreg", "layers": "2", "validation": held[0], "test": held[1]}
    wrong = {
        name: values[1:] + values[:1] if name == "label" else values
        for name, values in TRAIN.items()
    }
    one, other = (
        fit(data, out=tmp_path / name, **options)
        for name, data in (("one", TRAIN), ("other", wrong))
    )
    assert one.best.test["macro_f1"] != other.best.test["macro_f1"]
    assert one.signature.split("|rows:")[1][:12] != other.signature.split("|rows:")[1][:12]


# -- folds and seeds -------------------------------------------------------------------------------


def test_folds_choose_on_all_rows_but_those_of_the_test(fit: Any) -> None:
    result = fit(cv=4, seeds=2, seed=7, test=TEST)
    rows = result.rows.train + result.rows.validation
    assert rows + result.rows.dropped == len(TRAIN["text"])
    for trial in result.trials:
        assert trial.predicted.shape == (2, rows)
    assert (result.searched["cv"], result.searched["seeds"]) == (4, [7, 8])
    assert result.best.test is not None
    assert result.best.test["macro_f1"].value > 0.8


def test_a_validation_file_that_folds_do_not_keep_apart_is_said(fit: Any) -> None:
    notes = Notes()
    fit(validation=TEST, cv=2, layers="2", heads="logreg", progress=notes)
    assert sum("folds are made of training and validation rows" in note for note in notes.told) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=str
)
def test_memory_that_runs_out_in_the_refit_is_said(
    fit: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("featcache.search.finalise.refit", fail)
    with pytest.raises(MachineError, match="memory ran out while heads were trained"):
        fit(layers="2", heads="logreg")


def test_a_class_with_fewer_texts_than_folds_is_refused(fit: Any) -> None:
    data = {
        **TRAIN,
        "label": ["rare" if row < 3 else label for row, label in enumerate(TRAIN["label"])],
    }
    with pytest.raises(
        LabelError, match="the class 'rare' has 2 different texts, and each of 5 folds needs one"
    ):
        fit(data, cv=5, split="0.67/0.33", test={name: values[:1] for name, values in data.items()})


# -- several labels --------------------------------------------------------------------------------


def test_two_labels_are_fitted_on_one_read_of_the_cache(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each is alone, bit for bit; the second only costs its training."""
    data, asked = two_labels(TRAIN), Counter[tuple[int, str]]()
    plain = Space.gather

    def counted(
        self: Space, positions: NDArray[np.int64], *, layer: int, pooling: str
    ) -> NDArray[np.float32]:
        asked[layer, pooling] += 1
        return plain(self, positions, layer=layer, pooling=pooling)

    singles = {
        label: fit(data, label=label, out=tmp_path / "alone" / label) for label in ("label", "long")
    }
    monkeypatch.setattr(Space, "gather", counted)
    both = fit(data, labels=["label", "long"], out=tmp_path / "both")
    assert asked == {(1, "mean"): 1, (2, "mean"): 1}
    assert list(both) == ["label", "long"]
    for label, single in singles.items():
        one = both[label].to_json()
        other = single.to_json()
        assert (one["best"], one["linear"], one["calibration"]) == (
            other["best"],
            other["linear"],
            other["calibration"],
        )
        assert one["signature"] == other["signature"]
        assert (tmp_path / "both" / label / "result.json").exists()
        stored = [
            Path(each.bundle, "head.safetensors").read_bytes() for each in (both[label], single)
        ]
        assert stored[0] == stored[1]


def test_fitting_a_label_leaves_the_other_s_run_as_it_was(fit: Any, tmp_path: Path) -> None:
    data = two_labels(TRAIN)
    fit(data, labels=["label", "long"], out=tmp_path / "runs")
    before = everything_below(tmp_path / "runs" / "label")
    other = everything_below(tmp_path / "runs" / "long")
    fit(data, label="long", out=tmp_path / "runs" / "long", seed=1)
    assert everything_below(tmp_path / "runs" / "label") == before
    assert (
        everything_below(tmp_path / "runs" / "long")["bundle/head.safetensors"]
        != other["bundle/head.safetensors"]
    )


def test_labels_whose_names_make_one_folder_name_get_two(fit: Any, tmp_path: Path) -> None:
    data = {
        "text": TRAIN["text"],
        "a b": TRAIN["label"],
        "a-b": two_labels(TRAIN)["long"],
        "心": TRAIN["label"],
    }
    found = fit(
        data, labels=["a b", "a-b", "心"], out=tmp_path / "runs", heads="logreg", layers="2"
    )
    assert len({one.bundle for one in found.values()}) == 3
    for label, one in found.items():
        assert read_bundle(Path(one.bundle))[1].label == label


def test_a_label_named_twice_is_fitted_once_and_none_is_refused(fit: Any) -> None:
    assert list(fit(labels=["label", "label"], heads="logreg", layers="2")) == ["label"]
    with pytest.raises(InputError, match="is not a list of columns"):
        fit(labels=[])
    with pytest.raises(InputError, match="is not a list of columns"):
        fit(labels="label")


# -- heads that are code ---------------------------------------------------------------------------


def small(n_inputs: int, n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(n_inputs, 12), nn.Tanh(), nn.Dropout(0.1), nn.Linear(12, n_classes)
    )


@pytest.mark.parametrize("search", ["halving", "grid", "random"])
def test_a_head_that_is_code_is_tried_chosen_saved_and_loaded(
    fit: Any, cache: Path, search: str
) -> None:
    result = fit(heads=[small], search=search, trials=4, test=TEST, views="single,layers,mix")
    customs = [trial for trial in result.trials if trial.head.kind == "custom"]
    assert result.best.trial in customs
    assert {trial.settings["factory"].split(":")[1] for trial in customs} == {"small"}
    assert len(customs) == len(result.trials) == (4 if search != "grid" else 3)
    assert result.best.test["macro_f1"].value > 0.8
    with pytest.raises(BundleError, match=r"is code, made by .*:small"):
        featcache.load_bundle(result.bundle, cache=cache)
    predictor = featcache.load_bundle(result.bundle, cache=cache, factory=small)
    given = [one.label for one in predictor.predict(TEST["text"])]
    assert oracle.f1_score(TEST["label"], given, average="macro") == pytest.approx(
        result.best.test["macro_f1"].value, abs=1e-6
    )


def test_a_head_that_is_code_joins_the_others_and_is_no_linear_one(fit: Any) -> None:
    result = fit(heads=["linear", small], views="single", layers="2")
    assert [str(trial.head) for trial in result.trials] == ["linear", "custom"]


def test_optuna_cannot_vary_code(fit: Any) -> None:
    with pytest.raises(InputError, match="cannot take custom heads"):
        fit(heads=[small], search="optuna")


# -- what is said of the choice --------------------------------------------------------------------


@pytest.fixture(scope="session")
def described(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """Three classes, with thresholds."""
    out = tmp_path_factory.mktemp("described")

    def three(data: dict[str, list[str]]) -> dict[str, list[str]]:
        lengths = [len(text.split()) for text in data["text"]]
        return {
            **data,
            "label": ["short" if n < 4 else "middle" if n < 7 else "long" for n in lengths],
        }

    return featcache.fit_heads(
        three(TRAIN),
        test=three(TEST),
        label="label",
        cache=cache,
        heads="mlp",
        depths=(1,),
        widths=(64,),
        layers="0,1",
        pool="cls,mean",
        views="single",
        search="grid",
        thresholds=True,
        out=out,
        evidence=False,
    )


def test_details_of_the_test_are_scikit_learn_s_of_the_saved_bundle(
    described: FitResult, cache: Path
) -> None:
    predictions = featcache.load_bundle(described.bundle, cache=cache).predict(TEST["text"])
    lengths = [len(text.split()) for text in TEST["text"]]
    truth = ["short" if n < 4 else "middle" if n < 7 else "long" for n in lengths]
    classes = described.classes
    given = [one.label for one in predictions]
    probabilities = np.array([[one.probabilities[name] for name in classes] for one in predictions])
    details = json.loads(Path(described.folder, "result.json").read_text())["best"]["test_details"]
    assert details["probabilities"] == {
        "log_loss": pytest.approx(oracle.log_loss(truth, probabilities, labels=classes), abs=1e-5),
        "roc_auc": pytest.approx(
            oracle.roc_auc_score(truth, probabilities, multi_class="ovr", labels=classes), abs=1e-5
        ),
    }
    report = oracle.classification_report(truth, given, output_dict=True, zero_division=0)
    assert [one["class"] for one in details["per_class"]] == classes
    for one in details["per_class"]:
        expected = report[one["class"]]
        assert one["precision"] == pytest.approx(expected["precision"], abs=1e-6)
        assert one["recall"] == pytest.approx(expected["recall"], abs=1e-6)
        assert one["f1"] == pytest.approx(expected["f1-score"], abs=1e-6)
        assert one["support"] == expected["support"]
    assert details["confusion"] == oracle.confusion_matrix(truth, given, labels=classes).tolist()


def test_temperature_and_thresholds_are_told_and_used(described: FitResult, cache: Path) -> None:
    """The calibration error of what the bundle says is the one in the result; without its
    temperature, the other.
    """
    from featcache.tasks.calibration import expected_calibration_error
    from featcache.tasks.single_label import softmax

    told = json.loads(Path(described.folder, "result.json").read_text())["calibration"]
    head, description = read_bundle(Path(described.bundle))
    assert (description.temperature, description.offsets) == (told["temperature"], told["offsets"])
    assert told["temperature"] != 1
    assert told["validation_after"] != told["validation_before"]
    assert len(told["offsets"]) == 3
    assert any(told["offsets"])
    view = described.best.trial.view
    features = featcache.open_space(cache=cache).features(
        TEST["text"], layer=view.layers[0], pooling=view.poolings[0]
    )
    lengths = [len(text.split()) for text in TEST["text"]]
    truth = np.array(
        [
            described.classes.index("short" if n < 4 else "middle" if n < 7 else "long")
            for n in lengths
        ]
    )
    logits = head.logits(features)
    errors = [
        expected_calibration_error(softmax(logits / t), truth) for t in (1.0, told["temperature"])
    ]
    assert errors == pytest.approx([told["test_before"], told["test_after"]], abs=1e-5)
    labels = [described.classes[row] for row in (logits + np.array(told["offsets"])).argmax(axis=1)]
    found = featcache.load_bundle(described.bundle, cache=cache).predict(TEST["text"])
    assert [one.label for one in found] == labels
    assert labels != [described.classes[row] for row in logits.argmax(axis=1)]


# -- the ledger ------------------------------------------------------------------------------------


def copied(cache: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(cache, folder, ignore=shutil.ignore_patterns("*.tests.jsonl")))


def test_a_second_choice_on_the_same_test_rows_is_flagged(
    fit: Any, cache: Path, tmp_path: Path
) -> None:
    own, notes = copied(cache, tmp_path / "cache"), Notes()

    def told(**options: Any) -> list[dict[str, str]]:
        notes.told.clear()
        result = fit(
            cache=own, progress=notes, **{"test": TEST, "heads": "logreg", "layers": "2", **options}
        )
        kept = json.loads(Path(result.folder, "result.json").read_text())["test_read_before"]
        assert kept == result.test_read_before
        flagged = [note for note in notes.told if "scored on these test rows before" in note]
        assert len(flagged) == bool(kept)
        return result.test_read_before  # type: ignore[no-any-return]  # `fit` gives one or a dict

    assert told() == []
    assert told(out=tmp_path / "again") == []  # the same choice
    (before,) = told(layers="1", out=tmp_path / "other")
    assert "another choice was scored" in notes.told[-1]
    assert before["run"] == str(tmp_path / "run")
    assert before["label"] == "label"
    assert "layer 2 mean" in before["choice"]
    shuffled = {name: values[::-1] for name, values in TEST.items()}
    assert len(told(test=shuffled, layers="0")) == 2
    assert "2 other choices were scored" in notes.told[-1]
    assert (
        told(test={name: values[:90] for name, values in TEST.items()}, layers="1") == []
    )  # other rows
    assert told(test=None, split="0.8/0.2", layers="1") == []


def test_a_cache_that_cannot_be_written_keeps_no_ledger_and_is_no_error(
    fit: Any, cache: Path, tmp_path: Path
) -> None:
    own = copied(cache, tmp_path / "cache")
    (space,) = [path for path in own.iterdir() if path.is_dir()]
    (own / f"{space.name}.tests.jsonl").mkdir()  # root may write everywhere, but not into a folder
    for layers in ("1", "2"):
        result = fit(cache=own, test=TEST, heads="logreg", layers=layers)
        assert result.test_read_before == []
        assert result.best.test is not None
    assert os.listdir(own / f"{space.name}.tests.jsonl") == []  # noqa: PTH208 - names


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"seed": -1}, "the seed -1 is not between 0 and 2^32 - 1"),
        ({"seed": 2**32}, "the seed 4294967296 is not between"),
        ({"seeds": 0}, "0 seeds are not between"),
        ({"seeds": 21}, "21 seeds are not between"),
        ({"cv": 1}, "1 folds are not between"),
        ({"cv": 51}, "51 folds are not between"),
        ({"trials": 0}, "0 trials are no trial"),
        ({"seconds": 0}, "0 seconds are no time"),
        ({"seconds": float("nan")}, "nan seconds are no time"),
        ({"focal": -0.1}, "the focal exponent -0.1 is not between"),
        ({"focal": 2.0, "heads": "logreg"}, "logreg knows no focal loss"),
        ({"focal": float("inf")}, "the focal exponent inf is not between"),
        ({"search": "annealing"}, "there is no search 'annealing'"),
        ({"balance": "smote"}, "there is no balance 'smote'"),
        ({"views": "single,all"}, "there is no view 'all'"),
        ({"views": ""}, "there is no view ''"),
        ({"activation": "tanh", "heads": "mlp"}, "there is no activation 'tanh'"),
        ({"depths": (9,), "heads": "mlp"}, "a depth is 0 to 8"),
        ({"views": "mix", "heads": "logreg"}, "nothing is left to try"),
        ({"views": "mix", "heads": [small]}, "nothing is left to try"),
        ({"views": "mix", "layers": "2", "heads": "linear"}, "nothing is left to try"),
        ({"views": "poolings"}, "nothing is left to try"),
        ({"heads": []}, "no head is left to try"),
        ({"labels": ["label", "stars"]}, "no column 'stars'"),
        ({"label": ["label", "stars"]}, "is not a list of columns"),
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", str(value)),
)
def test_bad_options_are_refused_before_anything_is_written(
    fit: Any, tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    refused(fit, tmp_path, options, what)
