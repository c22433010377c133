"""fit-heads and predict on real features of a tiny model: a task that its states hold, honestly
scored.
"""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

import featcache
from featcache.data.parts import LabelledRows
from featcache.errors import (
    BundleError,
    CacheMissError,
    ContractError,
    FeatcacheError,
    SpaceChoiceError,
    SplitError,
)
from featcache.runs.result import FitResult
from tests.conftest import everything_below, save_encoder, sentences

N_TRIALS = 26
GOOD, BAD = {"good", "fine", "happy", "liked"}, {"bad", "awful", "sad", "hated"}


def rated(n: int, seed: int) -> dict[str, list[str]]:
    """Texts that hold words of one mood only, labelled by it."""
    texts, labels = [], []
    for text in sentences(n * 8, seed=seed, longest=9):
        words = set(text.split())
        if bool(words & GOOD) != bool(words & BAD):
            texts.append(text)
            labels.append("positive" if words & GOOD else "negative")
    return {"text": texts[:n], "label": labels[:n]}


def refused(fit: Any, folder: Path, options: dict[str, Any], what: str) -> None:
    """Exit code 2 with that sentence and a cure, and no run in the folder."""
    with pytest.raises(FeatcacheError) as caught:
        fit(**options)
    assert what in caught.value.what
    assert caught.value.cure
    assert caught.value.exit_code == 2
    assert not (folder / "run").exists()


@pytest.fixture(scope="session")
def cache(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("fit") / "cache"
    for data in (rated(400, seed=1), rated(120, seed=2)):
        featcache.extract(data, backbone=encoder, cache=cache, dtype="float32")
    return cache


@pytest.fixture
def fit(cache: Path, tmp_path: Path) -> Any:
    def call(data: Any = None, **options: Any) -> FitResult:
        quick = {
            "heads": "logreg,linear",
            "depths": (1,),
            "widths": (16,),
            "layers": "1,2",
            "pool": "mean",
            "evidence": False,
        }
        options = {"label": "label", "cache": cache, "out": tmp_path / "run", **quick, **options}
        result: FitResult = featcache.fit_heads(
            rated(400, seed=1) if data is None else data, **options
        )
        return result

    return call


@pytest.fixture(scope="session")
def fitted(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    out = tmp_path_factory.mktemp("runs") / "mood"
    return featcache.fit_heads(
        rated(400, seed=1),
        test=rated(120, seed=2),
        label="label",
        cache=cache,
        depths=(1,),
        widths=(16,),
        search="grid",
        evidence=False,
        out=out,
    )


def test_the_choice_beats_the_floors_and_every_score_has_its_train_score(fitted: FitResult) -> None:
    assert fitted.best.test is not None
    assert fitted.best.test["macro_f1"].value > 0.85
    assert fitted.majority.validation["macro_f1"] < 0.6
    assert (
        fitted.best.test["macro_f1"].low
        <= fitted.best.test["macro_f1"].value
        <= fitted.best.test["macro_f1"].high
    )
    views, heads = (
        3 * 2 + 1 + 1 + 1,
        3,
    )  # single, layers, poolings, mix; logistic regression cannot mix
    assert len(fitted.trials) == N_TRIALS == views * heads - 1
    for trial in fitted.trials:
        assert (
            set(trial.train)
            == set(trial.validation)
            == {"accuracy", "macro_f1", "weighted_f1", "mcc"}
        )
        assert len(trial.curve["train_score"]) == len(trial.curve["validation_score"]) >= 1


def test_the_choice_is_within_one_standard_error_of_the_best_and_not_larger(
    fitted: FitResult,
) -> None:
    best = max(trial.validation["macro_f1"] for trial in fitted.trials)
    top = [trial for trial in fitted.trials if trial.validation["macro_f1"] == best]
    assert fitted.best.trial.n_parameters <= min(trial.n_parameters for trial in top)
    assert best - fitted.best.trial.validation["macro_f1"] < 0.1


def test_the_linear_reference_is_logistic_regression_on_the_last_layer_s_mean(
    fitted: FitResult,
) -> None:
    trial = fitted.linear.trial
    assert (trial.head.kind, trial.view.layers, trial.view.poolings) == ("logreg", (2,), ("mean",))
    assert fitted.linear.test is not None


def test_test_scores_are_those_of_the_saved_bundle(fitted: FitResult, cache: Path) -> None:
    """Read back by hand: bundle -> predictions on the test rows -> scikit-learn's score."""
    test = rated(120, seed=2)
    predictor = featcache.load_bundle(fitted.bundle, cache=cache)
    held = set(rated(400, seed=1)["text"])
    predicted = [one.label for one in predictor.predict(test["text"])]
    assert fitted.best.test is not None
    assert fitted.best.test["macro_f1"].value == pytest.approx(
        f1_score(test["label"], predicted, average="macro"), abs=1e-5
    )
    assert fitted.rows.test == 120
    assert fitted.rows.dropped == len(held & set(test["text"]))


def test_the_run_folder_holds_result_trials_report_and_bundle(fitted: FitResult) -> None:
    folder = Path(fitted.folder)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "result.json",
        "trials.jsonl",
        "report.txt",
        "predictions.parquet",
        "bundle/head.json",
        "bundle/head.safetensors",
        "bundle/README.md",
    }
    result = json.loads((folder / "result.json").read_text())
    assert result == json.loads(json.dumps(fitted.to_json()))
    assert set(result["best"]) >= {
        "head",
        "depth",
        "width",
        "layers",
        "pooling",
        "validation",
        "test",
        "train",
    }
    assert isinstance(result["best"]["layers"], list)
    assert isinstance(result["best"]["pooling"], list)
    assert set(result["best"]["test"]["macro_f1"]) == {"value", "low", "high"}
    assert set(result["floors"]) == {"majority", "tfidf"}
    assert result["trials"] == N_TRIALS
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert len(trials) == N_TRIALS
    assert all(
        trial["curve"]["train_score"] and trial["curve"]["validation_score"] for trial in trials
    )
    linear = [trial for trial in trials if trial["head"] == "linear"]
    assert all((trial["depth"], trial["width"]) == (0, None) for trial in linear)
    report = (folder / "report.txt").read_text()
    assert "layers 0–2 mean" in report
    assert "majority class" in report


def test_the_same_call_gives_the_same_result(fit: Any, tmp_path: Path) -> None:
    """Experiments and all; the bundle's place is in the cure."""
    data = {name: values[:120] for name, values in rated(400, seed=1).items()}
    quick = {"heads": "logreg", "layers": "2"}
    first, second = (
        fit(data, out=tmp_path / name, evidence=True, **quick).to_json() for name in ("one", "two")
    )
    for result, name in ((first, "one"), (second, "two")):
        del result["seconds"], result["created"]
        assert str(tmp_path / name) in result["bundle"]
        for some in (result["verdict"], *result["verdict"]["causes"]):
            some["cure"] = some["cure"].replace(f"/{name}/", "/")
        result["bundle"] = result["bundle"].replace(f"/{name}/", "/")
    assert first["verdict"]["experiments"]
    assert first == second
    other = fit(data, out=tmp_path / "three", seed=1, **quick).to_json()
    assert other["signature"] != first["signature"]


def test_without_a_test_share_nothing_is_read_as_a_test(fit: Any) -> None:
    result = fit(split="0.8/0.2")
    assert result.best.test is None
    assert result.to_json()["best"]["test"] is None
    assert result.rows.train == pytest.approx(320, abs=1)
    assert (result.rows.train + result.rows.validation, result.rows.test) == (400, 0)


def test_the_default_split_is_70_10_20(fit: Any) -> None:
    rows = fit().rows
    assert rows.train + rows.validation + rows.test == 400
    assert rows.train == pytest.approx(280, abs=2)
    assert rows.validation == pytest.approx(40, abs=2)


def test_texts_shared_with_test_are_dropped_from_training_and_never_from_test(fit: Any) -> None:
    train = rated(400, seed=1)
    test = {name: values[:50] for name, values in train.items()}
    result = fit(train, test=test)
    assert (result.rows.train + result.rows.validation, result.rows.test, result.rows.dropped) == (
        350,
        50,
        50,
    )
    with pytest.raises(SplitError, match="50 rows of the data hold texts that are in the data too"):
        fit(train, test=test, strict=True)


def test_a_validation_file_is_used_as_given_and_shares_no_text_with_training(fit: Any) -> None:
    train = rated(400, seed=1)
    held = {name: values[300:] for name, values in train.items()}
    result = fit(train, validation=held)
    assert (result.rows.train, result.rows.validation, result.rows.test, result.rows.dropped) == (
        300,
        100,
        0,
        100,
    )


@pytest.mark.parametrize("labels", [[0, 1], [True, False], ["ja", "nein"], [-3, 12]])
def test_labels_keep_their_type_from_file_to_prediction(
    fit: Any, cache: Path, labels: list[Any]
) -> None:
    data = rated(400, seed=1)
    data["label"] = [labels[one == "positive"] for one in data["label"]]
    result = fit(data, heads="logreg")
    predictions = featcache.load_bundle(result.bundle, cache=cache).predict(data["text"][:20])
    assert {type(one.label) for one in predictions} == {type(labels[0])}
    assert [one.label for one in predictions] == data["label"][:20] or sum(
        one.label == label for one, label in zip(predictions, data["label"], strict=False)
    ) >= 17
    assert set(predictions[0].probabilities) == set(labels)


def test_many_classes_work(fit: Any) -> None:
    data = rated(400, seed=1)
    data["label"] = [f"{len(text.split())} words" for text in data["text"]]
    counts = {label: data["label"].count(label) for label in data["label"]}
    keep = [i for i, label in enumerate(data["label"]) if counts[label] >= 10]
    data = {name: [values[i] for i in keep] for name, values in data.items()}
    result = fit(data, heads="logreg,linear")
    assert len(result.classes) > 5
    assert result.best.trial.validation["accuracy"] > 0.3


def test_layers_and_poolings_can_be_restricted_and_the_reference_stays(fit: Any) -> None:
    result = fit(layers="1", pool="cls", heads="linear", search="grid")
    assert [(str(trial.head), str(trial.view)) for trial in result.trials] == [
        ("linear", "layer 1 cls")
    ]
    assert result.best.trial is result.trials[0]
    assert (result.linear.trial.view.layers, result.linear.trial.view.poolings) == ((2,), ("mean",))


def test_depth_zero_is_the_linear_head(fit: Any) -> None:
    result = fit(heads="mlp", depths=(0, 1), layers="2", pool="mean", search="grid")
    assert [str(trial.head) for trial in result.trials] == ["linear", "mlp 1×16"]


def test_the_default_run_folder_is_never_one_that_exists(fit: Any, in_folder: Path) -> None:
    folders = [fit(out=None, heads="logreg", layers="2", pool="mean").folder for _ in range(3)]
    assert folders == ["runs/the-data-label", "runs/the-data-label-2", "runs/the-data-label-3"]
    assert sorted(path.name for path in (in_folder / "runs").iterdir()) == [
        Path(one).name for one in folders
    ]


# -- which space -----------------------------------------------------------------------------------


def test_rows_missing_from_the_cache_are_counted_per_file_with_the_command(
    encoder: Path, cache: Path, tmp_path: Path
) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    for path, data in ((train, rated(400, seed=1)), (test, rated(60, seed=3))):
        rows = (dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = featcache.open_space(cache=cache).has(rated(60, seed=3)["text"])
    with pytest.raises(CacheMissError) as caught:
        featcache.fit_heads(train, test=test, label="label", cache=cache, out=tmp_path / "run")
    assert (
        f"{(~known).sum()} of 60 texts of {test} are not in space tiny-bert-" in caught.value.what
    )
    assert str(train) not in caught.value.what
    assert f"featcache extract {test} --backbone {encoder} --cache {cache}" in caught.value.cure
    assert caught.value.exit_code == 3
    assert not (tmp_path / "run").exists()


def test_an_empty_cache_is_a_miss_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        CacheMissError, match="400 of 400 texts of the data are not in a space of"
    ) as caught:
        featcache.fit_heads(
            rated(400, seed=1), label="label", cache=tmp_path / "none", out=tmp_path / "run"
        )
    assert "featcache extract" in caught.value.cure
    assert "same" in caught.value.cure  # the template, perhaps
    assert list(tmp_path.iterdir()) == []


def test_of_several_spaces_one_must_be_named(encoder: Path, cache: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(cache, tmp_path / "cache"))
    other = save_encoder(tmp_path / "other-bert", seed=5)
    data = rated(400, seed=1)
    name = featcache.extract(data, backbone=other, cache=both, dtype="float32").space

    def fit(**options: Any) -> FitResult:
        return featcache.fit_heads(
            data,
            label="label",
            cache=both,
            heads="logreg",
            layers="2",
            evidence=False,
            out=tmp_path / "run",
            **options,
        )

    with pytest.raises(SpaceChoiceError, match=f"several spaces fit: {name}, tiny-bert-") as caught:
        fit()
    assert f"--space {name}" in caught.value.cure
    assert "they differ in weights" in caught.value.what
    assert fit(space=name).space == name
    assert fit(space="other").space == name
    assert fit(backbone=other).space == name
    assert fit(backbone=encoder).space.startswith("tiny-bert")
    with pytest.raises(SpaceChoiceError, match="has no space 'nothing'"):
        fit(space="nothing")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"label": "stars"}, "no column 'stars'; its columns are 'text', 'label'"),
        ({"split": "0.7/0.7"}, "not two or three shares"),
        (
            {"split": "0.7/0.1/0.2", "test": rated(120, seed=2)},
            "has a test share, and --test names a test file",
        ),
        (
            {"split": "0.8/0.2", "validation": rated(120, seed=2)},
            "both say which rows are for validation",
        ),
        ({"heads": "tree"}, "there is no head 'tree'"),
        ({"metric": "auc"}, "there is no metric 'auc'"),
        ({"depths": (-1,)}, "a depth is 0 to 8, a width 1 or more"),
        ({"heads": "mlp", "depths": ()}, "no head is left to try"),
        ({"pool": "avg"}, "there is no pooling 'avg'"),
        ({"layers": "7"}, "the model has layers 0"),
        ({"data": {"text": ["good", "fine"], "label": ["a", "a"]}}, "has one class only"),
        (
            {"data": {"text": ["good", "bad", "sad"], "label": ["a", "a", "b"]}},
            "the class 'b' has 1 text",
        ),
        (
            {"data": {"text": ["good", "bad"], "label": ["a", None]}},
            "1 label is missing in column 'label'",
        ),
        (
            {"test": {"text": ["good"], "label": ["other"]}},
            "have the label 'other', which no training row has",
        ),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    fit: Any, tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    refused(fit, tmp_path, options, what)


# -- predict ---------------------------------------------------------------------------------------


def test_cached_texts_need_neither_backbone_nor_torch(
    fitted: FitResult, cache: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(fitted.bundle, tmp_path / "bundle"))
    head = json.loads((bundle / "head.json").read_text())
    (bundle / "head.json").write_text(json.dumps({**head, "backbone": str(tmp_path / "gone")}))
    code = (
        "import sys, featcache\n"
        "found = featcache.load_bundle(sys.argv[1], cache=sys.argv[2]).predict(sys.argv[3:])\n"
        "assert len(found) == len(sys.argv[3:])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    texts = rated(120, seed=2)["text"][:3]
    subprocess.run([sys.executable, "-c", code, str(bundle), str(cache), *texts], check=True)


def test_new_texts_are_labelled_as_if_they_were_cached(
    fitted: FitResult, cache: Path, tmp_path: Path
) -> None:
    new = [
        text
        for text in sentences(90, seed=77)
        if not featcache.open_space(cache=cache).has([text])[0]
    ]
    few, many = new[:20], new
    own = Path(shutil.copytree(cache, tmp_path / "cache"))
    n_before = featcache.open_space(cache=own).n_rows
    loose = featcache.load_bundle(fitted.bundle, cache=own).predict(few)
    assert featcache.open_space(cache=own).n_rows == n_before  # few texts leave no small shards
    nowhere = featcache.load_bundle(fitted.bundle, cache=tmp_path / "none").predict(few)
    assert not (tmp_path / "none").exists()
    written = featcache.load_bundle(fitted.bundle, cache=own).predict(many)
    assert featcache.open_space(cache=own).n_rows == n_before + len(many)
    for one, two, three in zip(loose, nowhere, written, strict=False):
        assert one.label == two.label == three.label
        np.testing.assert_allclose(
            list(one.probabilities.values()), list(three.probabilities.values()), atol=0.02
        )
        assert sum(one.probabilities.values()) == pytest.approx(1)


def test_repeats_hits_and_misses_come_back_in_order(fitted: FitResult, cache: Path) -> None:
    hit, miss = (
        rated(120, seed=2)["text"][0],
        "never again we hated the blue tree and the new river",
    )
    predictor = featcache.load_bundle(fitted.bundle, cache=cache)
    together = predictor.predict([miss, hit, miss, hit, hit])
    alone = {text: predictor.predict([text])[0] for text in (hit, miss)}
    for one, text in zip(together, [miss, hit, miss, hit, hit], strict=True):
        assert one.label == alone[text].label
        np.testing.assert_allclose(
            list(one.probabilities.values()), list(alone[text].probabilities.values()), atol=1e-4
        )


def test_a_cache_that_cannot_be_written_does_not_keep_texts_from_being_labelled(
    fitted: FitResult, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without locks, such as some network mounts: the one answer that is replaced
    here.
    """
    copy = shutil.copytree(cache, tmp_path / "cache")
    texts = sentences(70, seed=77)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    before = everything_below(copy)
    assert len(featcache.load_bundle(fitted.bundle, cache=copy).predict(texts)) == 70
    after = everything_below(copy)
    assert {name for name in after if name.endswith(".h5")} == {
        name for name in before if name.endswith(".h5")
    }


def test_a_bundle_refuses_another_backbone(fitted: FitResult, tmp_path: Path) -> None:
    other = save_encoder(tmp_path / "tiny-bert", seed=8)
    predictor = featcache.load_bundle(fitted.bundle, cache=tmp_path / "none")
    with pytest.raises(
        ContractError, match="is not the one this head was trained on: its weights differ"
    ) as caught:
        predictor.predict(["a cat"], backbone=other)
    assert caught.value.exit_code == 3


def test_a_backbone_that_is_gone_is_an_error_with_the_cure(
    fitted: FitResult, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(fitted.bundle, tmp_path / "bundle"))
    head = json.loads((bundle / "head.json").read_text())
    (bundle / "head.json").write_text(json.dumps({**head, "backbone": str(tmp_path / "gone")}))
    with pytest.raises(FeatcacheError, match="gone does not exist"):
        featcache.load_bundle(bundle, cache=tmp_path / "none").predict(["a cat"])


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        featcache.load_bundle(tmp_path)


def test_dropping_shared_texts_keeps_the_other_rows_in_order() -> None:
    from featcache.data.keys import row_keys

    def rows(texts: list[str]) -> LabelledRows:
        return LabelledRows(["x"] * len(texts), texts, row_keys(texts), list(texts))

    kept = rows(["a", "b", "c", "b", "d"]).without_texts_of(rows(["b", "z"]))
    assert kept.texts == kept.labels == ["a", "c", "d"]


def test_reading_only_changes_nothing_in_the_cache(fit: Any, cache: Path) -> None:
    """But in the ledger of test rows, which lies beside the space."""

    def states() -> dict[str, bytes]:
        return {
            name: read
            for name, read in everything_below(cache).items()
            if not name.endswith(".tests.jsonl")
        }

    before = states()
    fit(heads="logreg", layers="2", pool="mean")
    assert states() == before
