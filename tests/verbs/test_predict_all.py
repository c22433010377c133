"""Several bundles on one backbone: it runs once, and each says what it says alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

import featcache
from featcache.bundles.bundle import read_bundle, save_bundle
from featcache.errors import BundleError, ContractError, InputError
from featcache.heads.module import train_custom
from featcache.heads.network import Network
from featcache.heads.recipe import Examples, Recipe
from featcache.report.card import model_card
from featcache.tasks.metrics import scores_of_many
from featcache.verbs.predict import Prediction
from tests.conftest import everything_below, save_encoder, sentences
from tests.verbs.test_fit_predict import rated

QUICK: dict[str, Any] = {"heads": "logreg", "split": "0.8/0.2", "evidence": False}


def data() -> dict[str, list[Any]]:
    """Texts with two labels: their mood, and whether they are long."""
    found: dict[str, list[Any]] = {**rated(300, seed=1)}
    found["mood"] = found.pop("label")
    found["long"] = [len(text.split()) > 5 for text in found["text"]]
    return found


@pytest.fixture(scope="session")
def cache(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("two") / "cache"
    featcache.extract(data(), backbone=encoder, cache=cache, dtype="float32", text="text")
    return cache


@pytest.fixture(scope="session")
def bundles(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two heads with different views of one space: layer 1's mean, and the first token
    of layer 2.
    """
    runs = tmp_path_factory.mktemp("runs")
    return [
        featcache.fit_heads(
            data(),
            label=label,
            text="text",
            cache=cache,
            layers=layer,
            pool=pool,
            out=runs / label,
            **QUICK,
        ).bundle
        for label, layer, pool in (("mood", "1", "mean"), ("long", "2", "cls"))
    ]


def new(n: int, seed: int = 77) -> list[str]:
    known = set(data()["text"])
    return [text for text in sentences(n + 50, seed=seed) if text not in known][:n]


@contextmanager
def passes() -> Iterator[list[tuple[int, ...]]]:
    """The shapes (B, T) of the tokens that go into a real model in the body, call by call.

    Loading tries a model on a few tokens of its own, too: the same ones each time.
    """
    calls: list[tuple[int, ...]] = []

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if (
            isinstance(module, nn.Embedding) and module.padding_idx is not None
        ):  # of words, not of positions
            calls.append(tuple(arguments[0].shape))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


def n_rows(calls: Sequence[tuple[int, ...]]) -> int:
    return sum(shape[0] for shape in calls)


def same(one: Sequence[Prediction], other: Sequence[Prediction], *, atol: float = 0.0) -> None:
    assert [each.label for each in one] == [each.label for each in other]
    for mine, theirs in zip(one, other, strict=True):
        assert list(mine.probabilities) == list(theirs.probabilities)
        np.testing.assert_allclose(
            list(mine.probabilities.values()),
            list(theirs.probabilities.values()),
            rtol=0,
            atol=atol,
        )


def alone(bundles: Sequence[str], texts: Sequence[str], cache: Path) -> list[list[Prediction]]:
    return [featcache.load_bundle(one, cache=cache).predict(texts) for one in bundles]


def test_cached_texts_are_labelled_as_by_each_alone(bundles: list[str], cache: Path) -> None:
    texts = data()["text"][:40] * 2
    with passes() as calls:
        found = featcache.predict_all(bundles, texts, cache=cache)
    assert calls == []
    assert list(found) == ["mood", "long"]
    for one, expected in zip(found.values(), alone(bundles, texts, cache), strict=True):
        same(one, expected)


def test_the_backbone_runs_once_for_both(bundles: list[str], cache: Path) -> None:
    texts = [*new(30), *data()["text"][:10], *new(30)]
    with passes() as both:
        found = featcache.predict_all(bundles, texts, cache=cache)
    expected, counts = [], []
    for bundle in bundles:
        with passes() as calls:
            expected.append(featcache.load_bundle(bundle, cache=cache).predict(texts))
        counts.append(calls)
    assert both == counts[0] == counts[1]
    assert n_rows(both) > 30
    for one, other in zip(found.values(), expected, strict=True):
        same(one, other, atol=1e-5)


def test_many_new_texts_are_cached_once_and_then_cost_nothing(
    bundles: list[str], cache: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(cache, tmp_path / "cache"))
    before, texts = featcache.open_space(cache=own).n_rows, new(90)
    with passes() as first:
        found = featcache.predict_all(bundles, texts, cache=own)
    with passes() as one:
        featcache.load_bundle(bundles[0], cache=shutil.copytree(cache, tmp_path / "other")).predict(
            texts
        )
    assert first == one != []
    assert featcache.open_space(cache=own).n_rows == before + 90
    with passes() as second:
        again = featcache.predict_all(bundles, texts, cache=own)
        singly = alone(bundles, texts, own)
    assert second == []
    for name, other in zip(found, singly, strict=True):
        same(found[name], again[name])
        same(found[name], other)


def test_without_a_cache_it_is_one_pass_too(bundles: list[str], tmp_path: Path) -> None:
    with passes() as both:
        found = featcache.predict_all(bundles, new(20), cache=tmp_path / "none")
    with passes() as one:
        featcache.load_bundle(bundles[0], cache=tmp_path / "none").predict(new(20))
    assert both == one
    assert n_rows(both) > 20
    assert not (tmp_path / "none").exists()
    for mine, other in zip(found.values(), alone(bundles, new(20), tmp_path / "none"), strict=True):
        same(mine, other, atol=1e-5)


def test_heads_of_two_spaces_of_one_backbone_share_the_pass(encoder: Path, tmp_path: Path) -> None:
    """No space holds what both need: each finds its own cached rows, and what either lacks is
    computed once.
    """
    rows, cache = data(), tmp_path / "cache"
    some = {name: values[:200] for name, values in rows.items()}
    made = []
    for label, layers, pool, part in (("mood", "1", "mean", rows), ("long", "2", "max", some)):
        space = featcache.extract(
            part,
            backbone=encoder,
            cache=cache,
            dtype="float32",
            text="text",
            layers=layers,
            pool=pool,
        ).space
        made.append(
            featcache.fit_heads(
                part,
                label=label,
                text="text",
                cache=cache,
                space=space,
                out=tmp_path / label,
                **QUICK,
            ).bundle
        )
    texts = rows["text"][150:]  # all of them in the one space, a third in the other
    before = everything_below(cache)
    with passes() as both:
        found = featcache.predict_all(made, texts, cache=cache)
    files = everything_below(cache)
    assert {name for name in files if name.endswith(".h5")} == {
        name for name in before if name.endswith(".h5")
    }
    with passes() as single:
        featcache.load_bundle(made[0], cache=cache).predict(["a cat"])
    assert n_rows(both) - 100 == n_rows(single) - 1
    for one, other in zip(found.values(), alone(made, texts, cache), strict=True):
        same(
            one, other, atol=2e-3
        )  # alone, 100 new texts are cached, and read as the float16 of the shard


def test_texts_in_the_spaces_of_the_heads_cost_nothing_where_a_wider_space_lacks_them(
    encoder: Path, tmp_path: Path
) -> None:
    rows, cache, made = data(), tmp_path / "cache", []
    options: dict[str, Any] = {
        "backbone": encoder,
        "cache": cache,
        "dtype": "float32",
        "text": "text",
    }
    for label, layers, pool in (("mood", "1", "mean"), ("long", "2", "max")):
        space = featcache.extract(rows, layers=layers, pool=pool, **options).space
        fitted = featcache.fit_heads(
            rows, label=label, text="text", cache=cache, space=space, out=tmp_path / label, **QUICK
        )
        made.append(fitted.bundle)
    wide = featcache.extract({"text": new(3)}, layers="1,2", pool="mean,max", **options).space
    with passes() as calls:
        found = featcache.predict_all(made, rows["text"], cache=cache)
        some = featcache.predict_all(made, new(3), cache=cache)
    assert calls == []
    for one, other in zip(found.values(), alone(made, rows["text"], cache), strict=True):
        same(one, other)
    for one, other in zip(some.values(), alone(made, new(3), tmp_path / "none"), strict=True):
        same(one, other, atol=1e-5)
    featcache.predict_all(made, new(80), cache=cache)
    assert featcache.open_space(wide, cache=cache).n_rows == 80


def test_no_torch_is_imported_for_cached_texts(bundles: list[str], cache: Path) -> None:
    code = (
        "import sys, featcache\n"
        "found = featcache.predict_all(sys.argv[2:4], sys.argv[4:], cache=sys.argv[1])\n"
        "assert [len(one) for one in found.values()] == [3, 3]\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(cache), *bundles, *data()["text"][:3]], check=True
    )


def test_a_second_label_leaves_the_first_head_as_it_was(cache: Path, in_folder: Path) -> None:
    """Bit for bit: the whole run, and the cache."""
    options = {"text": "text", "cache": cache, "layers": "1,2", "pool": "mean", **QUICK}
    first = featcache.fit_heads(data(), label="mood", **options)
    runs, kept = everything_below(in_folder), everything_below(cache)
    texts = data()["text"][:20]
    said = featcache.load_bundle(first.bundle, cache=cache).predict(texts)
    second = featcache.fit_heads(data(), label="long", **options)
    assert second.folder != first.folder
    after = everything_below(in_folder)
    assert {name: after[name] for name in runs} == runs
    assert len(after) == 2 * len(runs)
    assert everything_below(cache) == kept
    same(featcache.load_bundle(first.bundle, cache=cache).predict(texts), said)


# -- which bundles go together ---------------------------------------------------------------------


def copied(bundle: str, folder: Path, **changes: Any) -> str:
    """The same head with another description."""
    head, description = read_bundle(Path(bundle))
    assert isinstance(head, Network)
    save_bundle(folder, head, replace(description, **changes), "# card")
    return str(folder)


def test_bundles_of_one_label_are_told_apart_by_their_folders(
    bundles: list[str], cache: Path, tmp_path: Path
) -> None:
    others = [copied(bundles[0], tmp_path / name) for name in ("a/bundle", "b/bundle", "c/other")]
    texts = data()["text"][:2]
    assert list(featcache.predict_all([*others[1:], bundles[1]], texts, cache=cache)) == [
        "bundle",
        "other",
        "long",
    ]
    assert list(featcache.predict_all(others, texts, cache=cache)) == [
        "a/bundle",
        "b/bundle",
        "c/other",
    ]
    clash = copied(bundles[1], tmp_path / "d", label="other")
    assert list(featcache.predict_all([*others[1:], clash], texts, cache=cache)) == [
        "b/bundle",
        "c/other",
        "other",
    ]
    with pytest.raises(
        InputError, match=r"mood/bundle/\.\./bundle is given twice|mood/bundle is given twice"
    ):
        featcache.predict_all([bundles[0], bundles[0] + "/../bundle"], texts, cache=cache)
    with pytest.raises(InputError, match="no bundle is given"):
        featcache.predict_all([], texts, cache=cache)


def test_bundles_of_different_backbones_are_refused(bundles: list[str], tmp_path: Path) -> None:
    other = save_encoder(tmp_path / "other-bert", seed=5)
    cache = tmp_path / "cache"
    featcache.extract(
        data(), backbone=other, cache=cache, dtype="float32", text="text", layers="2", pool="mean"
    )
    fitted = featcache.fit_heads(
        data(), label="long", text="text", cache=cache, out=tmp_path / "run", **QUICK
    )
    with pytest.raises(
        InputError, match="cannot be used together: their backbones differ in weights"
    ) as caught:
        featcache.predict_all([bundles[0], fitted.bundle], ["a cat"], cache=cache)
    assert caught.value.cure == "Run featcache predict for each of them."
    assert caught.value.exit_code == 2


def test_bundles_of_different_templates_are_refused(
    bundles: list[str], cache: Path, tmp_path: Path
) -> None:
    other = copied(bundles[1], tmp_path / "other", template="the film was {text}")
    what = "their templates are 'the text as it is' and 'the film was {text}'"
    with pytest.raises(InputError, match=what):
        featcache.predict_all([bundles[0], other], ["a cat"], cache=cache)


def test_a_backbone_is_found_where_any_of_the_bundles_has_it(
    bundles: list[str], encoder: Path, tmp_path: Path
) -> None:
    moved = copied(bundles[0], tmp_path / "moved", backbone=str(tmp_path / "gone"))
    found = featcache.predict_all([moved, bundles[1]], ["a cat"], cache=tmp_path / "none")
    assert list(found) == ["mood", "long"]
    other = save_encoder(tmp_path / "tiny-bert", seed=8)
    with pytest.raises(ContractError, match="its weights differ"):
        featcache.predict_all(bundles, ["a cat"], cache=tmp_path / "none", backbone=other)
    assert featcache.predict_all([moved], ["a cat"], cache=tmp_path / "none", backbone=encoder)[
        "mood"
    ]


# -- temperature, offsets, code --------------------------------------------------------------------


def test_a_temperature_changes_probabilities_and_no_label(
    bundles: list[str], cache: Path, tmp_path: Path
) -> None:
    texts = data()["text"][:50]
    cool, warm = (copied(bundles[0], tmp_path / f"{t:.0f}", temperature=t) for t in (1.0, 4.0))
    plain, warmed = alone([cool, warm], texts, cache)
    assert [one.label for one in plain] == [one.label for one in warmed]
    for one, other in zip(plain, warmed, strict=True):
        before, after = (np.log(list(each.probabilities.values())) for each in (one, other))
        assert after[0] - after[1] == pytest.approx((before[0] - before[1]) / 4)
        assert sum(other.probabilities.values()) == pytest.approx(1)


def test_offsets_change_labels_and_no_probability(
    bundles: list[str], cache: Path, tmp_path: Path
) -> None:
    texts = data()["text"]
    (plain,) = alone([copied(bundles[0], tmp_path / "cool", temperature=1.0)], texts, cache)
    classes = list(plain[0].probabilities)
    tuned = copied(bundles[0], tmp_path / "tuned", offsets=[1.5, 0.0], temperature=2.0)
    (found,) = alone([tuned], texts, cache)
    warm = alone([copied(bundles[0], tmp_path / "warm", temperature=2.0)], texts, cache)[0]
    assert [one.probabilities for one in found] == [one.probabilities for one in warm]
    for one, tuned_one in zip(
        plain, found, strict=True
    ):  # the logits' difference is that of the log probabilities
        gap = np.log(one.probabilities[classes[0]]) - np.log(one.probabilities[classes[1]]) + 1.5
        assert tuned_one.label == classes[0 if gap > 0 else 1]
    assert [one.label for one in found] != [one.label for one in plain]
    assert any(
        one.label != max(one.probabilities, key=lambda name: one.probabilities[name])
        for one in found
    )


def test_the_card_says_what_was_done_to_probabilities_and_labels(
    cache: Path, tmp_path: Path
) -> None:
    result = featcache.fit_heads(
        data(), label="mood", text="text", cache=cache, out=tmp_path / "run", **QUICK
    )
    written = (Path(result.bundle) / "README.md").read_text("utf-8")
    _, description = read_bundle(Path(result.bundle))
    assert description.temperature == result.calibration.temperature != 1.0
    assert f"calibrated: logits are divided by {description.temperature:.3g}.\n" in written
    assert "Its probabilities are not calibrated.\n" in model_card(
        result, replace(description, temperature=1.0)
    )
    facts = replace(description, temperature=1.7512, offsets=[0.25, -1.0])
    tuned = model_card(result, facts)
    assert "calibrated: logits are divided by 1.75. Before the label is chosen" in tuned
    assert "(negative +0.25, positive -1)" in tuned


def wide_and_deep(n_inputs: int, n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.Tanh(), nn.Linear(8, n_classes))


def test_a_head_that_is_code_predicts_beside_another(
    bundles: list[str], cache: Path, tmp_path: Path
) -> None:
    rows, space = data(), featcache.open_space(cache=cache)
    features = space.features(rows["text"], layer=2, pooling="cls")
    labels = np.array(rows["long"]).astype(np.int64)

    head, _, _ = train_custom(
        wide_and_deep,
        Examples(features[:250], labels[:250]),
        Examples(features[250:], labels[250:]),
        n_classes=2,
        recipe=Recipe(max_epochs=20, batch_size=16),
        metric=partial(scores_of_many, "accuracy", n_classes=2),
    )
    _, description = read_bundle(Path(bundles[1]))
    save_bundle(tmp_path / "code", head, description, "# card")
    with pytest.raises(BundleError, match=r"is code, made by .*:wide_and_deep"):
        featcache.load_bundle(tmp_path / "code", cache=cache)
    predictor = featcache.load_bundle(tmp_path / "code", cache=cache, factory=wide_and_deep)
    texts = [*rows["text"][:30], *new(5)]
    found = featcache.predict_all([bundles[0], predictor], texts, cache=cache)
    assert list(found) == ["mood", "long"]
    same(found["long"], predictor.predict(texts), atol=1e-5)
    expected = head.logits(features[:30]).argmax(axis=1)
    assert [one.label for one in found["long"][:30]] == [
        predictor.classes[place] for place in expected
    ]
    json.dumps(found["long"][0].to_json())
