"""Heads that are code: trained as torch would, kept without code, and told what is
wrong with them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from featcache.bundles.bundle import read_bundle, save_bundle
from featcache.errors import BundleError, InputError
from featcache.features.standardize import Standardization
from featcache.heads.module import CustomHead, Factory, name_of, train_custom
from featcache.heads.network import Head
from featcache.heads.recipe import Examples, Recipe
from tests.bundles.test_bundle import description, network
from tests.heads.test_train import METRIC, examples

RECIPE = Recipe(learning_rate=3e-3, batch_size=10, max_epochs=30)


def bottleneck(n_inputs: int, n_classes: int) -> nn.Module:
    """What a Network cannot be: dropout, batch norm (whose buffers are state, too) and a layer used
    twice.
    """
    shared = nn.Linear(n_inputs, n_inputs)
    return nn.Sequential(
        shared,
        nn.Tanh(),
        shared,
        nn.BatchNorm1d(n_inputs),
        nn.Dropout(0.2),
        nn.Linear(n_inputs, n_classes),
    )


def linear(n_inputs: int, n_classes: int) -> nn.Module:
    return nn.Linear(n_inputs, n_classes)


def trained(factory: Factory = bottleneck, recipe: Recipe = RECIPE) -> CustomHead:
    return train_custom(
        factory, examples(), examples(seed=1), n_classes=3, recipe=recipe, metric=METRIC
    )[0]


def test_it_learns_and_the_weights_of_the_best_epoch_are_kept() -> None:
    held = examples(seed=1)
    head, epochs, curves = train_custom(
        bottleneck, examples(), held, n_classes=3, recipe=replace(RECIPE, patience=4), metric=METRIC
    )
    scores = curves.validation_score
    assert max(scores) > 0.8
    assert scores[epochs - 1] == max(scores)
    ties = [
        -loss
        for loss, score in zip(curves.validation_loss, scores, strict=True)
        if score == max(scores)
    ]
    assert -curves.validation_loss[epochs - 1] == max(ties)
    assert len(scores) == len(curves.train_loss) == len(curves.train_score) <= 30
    assert METRIC(held.labels, head.logits(held.features).argmax(axis=1)[None]) == pytest.approx(
        max(scores)
    )


def test_it_is_torch_s_adamw_on_standardised_features() -> None:
    data = examples(n=60)
    recipe = Recipe(learning_rate=1e-2, weight_decay=0.3, max_epochs=20, batch_size=60, seed=4)
    head, epochs, curves = train_custom(
        linear, data, None, n_classes=3, recipe=recipe, metric=METRIC
    )
    assert (epochs, curves.validation_score) == (20, [])
    x = torch.from_numpy(Standardization.of(data.features).apply(data.features))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        module = nn.Linear(11, 3)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=0.3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), torch.from_numpy(data.labels))
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
    np.testing.assert_allclose(head.logits(data.features), module(x).detach().numpy(), atol=1e-4)


def test_the_same_seed_gives_the_same_head_and_torch_s_own_stream_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    features = examples().features
    first, again = trained().logits(features), trained().logits(features)
    other = trained(recipe=replace(RECIPE, seed=1)).logits(features)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_patience_ends_it_by_the_rule_of_the_other_heads() -> None:
    noise, held = (
        Examples(examples(seed=s).features, np.random.default_rng(s).integers(0, 3, 150))
        for s in (0, 1)
    )
    recipe = Recipe(patience=3, learning_rate=1e-2)
    _, epochs, curves = train_custom(
        bottleneck, noise, held, n_classes=3, recipe=recipe, metric=METRIC
    )
    scores = curves.validation_score
    assert len(scores) == 1 + scores.index(max(scores)) + 3 < 60
    assert scores[epochs - 1] == max(scores)


@pytest.mark.parametrize("n", [41, 1])
def test_a_last_row_alone_is_no_batch_of_its_own(n: int) -> None:
    """Batch norm refuses to be trained on one row; a single row in all is for the
    module to refuse.
    """
    data = examples(n=n)
    if n == 1:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            train_custom(bottleneck, data, None, n_classes=3, recipe=RECIPE, metric=METRIC)
        return
    head, _, _ = train_custom(bottleneck, data, None, n_classes=3, recipe=RECIPE, metric=METRIC)
    assert head.logits(data.features).shape == (41, 3)


def test_it_has_the_face_of_a_head() -> None:
    head: Head = trained()
    features = examples().features
    assert (head.depth, head.n_inputs) == (0, 11)
    assert head.n_parameters == (11 * 11 + 11) + 2 * 11 + (11 * 3 + 3)
    logits = head.logits(features)
    assert logits.dtype == np.float32
    assert logits.shape == (150, 3)
    assert head.logits(features[:0]).shape == (0, 3)
    np.testing.assert_allclose(head.probabilities(features).sum(axis=1), 1)
    np.testing.assert_array_equal(
        logits, head.logits(features)
    )  # no dropout, no batch's own statistics
    np.testing.assert_allclose(head.logits(features[:1]), logits[:1], atol=1e-5)
    with pytest.raises(ValueError, match=r"shape \(1, 5\) where \(N, 11\)"):
        head.logits(np.ones((1, 5), np.float32))


# -- what is wrong with a factory ------------------------------------------------------------------


class TooNarrow(nn.Linear):
    def __init__(self, n_inputs: int, n_classes: int) -> None:
        super().__init__(n_inputs, n_classes - 1)


class Undefined(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return super().forward(input).abs().neg().log()


class Twofold(nn.Linear):
    def forward(self, input: Tensor) -> Any:  # noqa: A002 - torch's name
        return super().forward(input), input


class WithExtras(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"notes": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        (
            TooNarrow,
            (
                r"TooNarrow gives shape \(10, 2\) for features of shape \(10, 11\), "
                r"where \(10, 3\) is expected"
            ),
        ),
        (Undefined, "Undefined gives NaN or infinity"),
        (Twofold, "Twofold gives a tuple"),
        (WithExtras, "keeps '_extra_state', which is no tensor"),
        (lambda *_: nn.ReLU(), "has no weights that can be trained"),
        (lambda *_: [1], "makes a list, not a torch.nn.Module"),
    ],
)
def test_a_module_that_cannot_be_a_head_is_named_with_the_cure(factory: Any, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        train_custom(factory, examples(), None, n_classes=3, recipe=RECIPE, metric=METRIC)
    assert caught.value.cure
    assert "tests.heads.test_custom:" in caught.value.what


def test_a_factory_is_named_by_its_module_and_qualified_name() -> None:
    assert name_of(bottleneck) == "tests.heads.test_custom:bottleneck"
    assert name_of(TooNarrow) == "tests.heads.test_custom:TooNarrow"
    assert name_of(partial(bottleneck)) == "functools:partial"


# -- bundles ---------------------------------------------------------------------------------------


def saved(folder: Path) -> CustomHead:
    head = trained()
    save_bundle(folder, head, description(head="whatever the caller called it"), "# card")
    return head


def test_a_bundle_gives_the_same_head_back_to_whoever_has_the_factory(tmp_path: Path) -> None:
    head = saved(tmp_path)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    read, facts = read_bundle(tmp_path, bottleneck)
    assert torch.equal(torch.rand(3), expected)
    assert (facts.head, facts.factory) == ("custom", "tests.heads.test_custom:bottleneck")
    features = examples(seed=2).features
    np.testing.assert_array_equal(read.logits(features), head.logits(features))


def test_a_bundle_keeps_tensors_and_a_name_and_no_code(tmp_path: Path) -> None:
    saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "head.json",
        "head.safetensors",
    ]
    arrays = load_file(tmp_path / "head.safetensors")
    assert {
        "scale.mean",
        "scale.std",
        "module.0.weight",
        "module.2.weight",
        "module.3.running_mean",
    } <= set(arrays)
    fields = json.loads((tmp_path / "head.json").read_text())
    assert (fields["head"], fields["factory"]) == ("custom", "tests.heads.test_custom:bottleneck")


def test_nothing_is_imported_or_run_to_read_a_bundle_whose_factory_is_named(tmp_path: Path) -> None:
    """The named module would leave a file behind."""
    (tmp_path / "trap.py").write_text(
        "open('sprung', 'w')\ndef factory(n, c): open('sprung', 'w')\n"
    )
    head = trained()
    save_bundle(tmp_path / "bundle", replace(head, factory="trap:factory"), description(), "# card")
    code = (
        "import sys\nfrom pathlib import Path\nfrom featcache.errors import BundleError\n"
        "from featcache.bundles.bundle import read_bundle\n"
        "try:\n    read_bundle(Path('bundle'))\nexcept BundleError as error:\n    print(error)\n"
        "assert not {'trap', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        "the head of bundle is code, made by trap:factory, and a bundle holds no code"
        in done.stdout
    )
    assert "featcache.load_bundle('bundle', factory=...)" in done.stdout
    assert not (tmp_path / "sprung").exists()


def test_another_factory_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(
        BundleError, match="test_custom:linear does not take the weights of"
    ) as caught:
        read_bundle(tmp_path, linear)
    assert "3.running_mean" in caught.value.what
    assert caught.value.cure


def test_a_factory_for_a_head_that_is_no_code_is_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    with pytest.raises(BundleError, match="is no code, so it needs no factory"):
        read_bundle(tmp_path, bottleneck)


def test_an_error_of_the_factory_is_its_own(tmp_path: Path) -> None:
    """Not taken for a damaged bundle."""
    saved(tmp_path)

    def broken(n_inputs: int, n_classes: int) -> nn.Module:
        msg = f"{n_inputs} and {n_classes}"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="11 and 3"):
        read_bundle(tmp_path, broken)
