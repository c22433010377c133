"""Verb: labels and probabilities for texts, from one bundle or several, through the cache.

Texts that are cached cost no forward pass, and no torch is imported for them. For the others the
backbone runs once for all bundles; `extraction/inputs.py` says when it is loaded.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.bundles.bundle import read_bundle
from featcache.bundles.description import Description
from featcache.cache.contract import Contract
from featcache.data.labels import Label
from featcache.errors import BundleError, DamageError, InputError
from featcache.extraction.inputs import HeadInputs, InputSource
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.misses import fields_of
from featcache.features.request import BackboneChoice
from featcache.heads.network import Head
from featcache.progress import Progress, Silent
from featcache.tasks.single_label import SingleLabel

if TYPE_CHECKING:
    from featcache.heads.module import Factory


@dataclass(frozen=True)
class Prediction:
    """What a bundle says about one text.

    The probabilities are calibrated if the bundle has a temperature. If it has offsets (tuned
    thresholds), the label need not be the class of the highest probability.

    Attributes:
        label: The class, in its own type.
        probabilities: The probability of every class; they add up to 1.
    """

    label: Label
    probabilities: dict[Label, float]

    def to_json(self) -> dict[str, Any]:
        """Make the object that `featcache predict` prints.

        Returns:
            The label, and the probabilities by class; JSON has string keys only, so the classes are
            written as strings there.
        """
        named = {_json_name(label): round(value, 6) for label, value in self.probabilities.items()}
        return {"label": self.label, "probabilities": named}


@dataclass(frozen=True)
class Predictor:
    """A bundle, loaded.

    Attributes:
        head: The head.
        description: What the bundle says about it: classes, view, temperature, offsets.
        contract: How the features were made that the head was trained on.
        cache: Where features are looked up; the folder need not exist.
        folder: The bundle's folder.
    """

    head: Head
    description: Description
    contract: Contract
    cache: Path
    folder: Path

    @property
    def classes(self) -> list[Label]:
        """The classes, in the order of the head's logits."""
        return list(self.description.classes)

    @property
    def view(self) -> list[tuple[int, str]]:
        """Layers and poolings whose states stand side by side in the head's inputs."""
        return list(product(self.description.layers, self.description.pooling))

    def predict(
        self,
        texts: Sequence[str],
        *,
        backbone: str | os.PathLike[str] | None = None,
        device: str = "auto",
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """Predict the label and the probabilities of each text.

        The label is that of the highest logit after the bundle's offsets are added, if it has some;
        with offsets it need not be the class of the highest probability.

        Args:
            texts: N texts as the backbone takes them: rendered, if the bundle has a template.
            backbone: The model's folder, if it is not where the bundle remembers it.
            device: Where the backbone runs: "auto", "cpu", "cuda" or "mps".
            allow_pickle: Whether weights may be pickles, which can run code when loaded.
            trust_remote_code: Whether Python code in the model's folder may run.
            progress: Where progress is shown; by default nowhere.

        Returns:
            N predictions, in the order of the texts.

        Raises:
            BackboneError: A text is not in the cache, and the backbone is not there.
            ContractError: The model is not the one that the head was trained on.
        """
        predictions = predict_all(
            [self],
            texts,
            cache=self.cache,
            backbone=backbone,
            device=device,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        return predictions[self.description.label]

    def label(self, features: NDArray[np.float32]) -> list[Prediction]:
        """Predict the label and the probabilities of each row of the head's inputs.

        Args:
            features: The states of the head's view side by side, (N, inputs of the head).

        Returns:
            N predictions, in the order of the rows.

        Raises:
            BundleError: The head takes another number of inputs.
        """
        if features.shape[1] != self.head.n_inputs:
            msg = (
                f"the head of {self.folder} takes {self.head.n_inputs:,} numbers, "
                f"and its view gives {features.shape[1]:,}"
            )
            raise BundleError(msg, cure="Fit the head again; its cache makes that quick.")
        logits = self.head.logits(features).astype(np.float64)
        classes = self.classes
        task = SingleLabel(tuple(classes))
        chosen = task.decide(logits, self.description.offsets)
        probabilities = task.probabilities(logits, self.description.temperature)
        predictions = []
        for number, row in zip(chosen, probabilities, strict=True):
            by_class = dict(zip(classes, map(float, row), strict=True))
            predictions.append(Prediction(classes[int(number)], by_class))
        return predictions


def load_bundle(
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    factory: Factory | None = None,
) -> Predictor:
    """Load a bundle that `fit_heads` saved; the backbone and torch are loaded when needed.

    Args:
        path: The bundle's folder.
        cache: Where features are looked up; the folder need not exist.
        factory: For a head that is code: the function `(n_inputs, n_classes) -> torch.nn.Module`
            that it was trained with.

    Returns:
        The bundle, ready to predict.

    Raises:
        BundleError: The folder is not a bundle, or the head is code and no factory is given.
    """
    head, description = read_bundle(Path(path), factory)
    try:
        contract = Contract.from_json(json.dumps(description.contract), str(path))
    except DamageError as error:
        raise BundleError(error.what, cure="Fit the head again.") from error
    return Predictor(head, description, contract, Path(cache), Path(path))


def predict_all(
    bundles: Sequence[str | os.PathLike[str] | Predictor],
    texts: Sequence[str],
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    backbone: str | os.PathLike[str] | None = None,
    device: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> dict[str, list[Prediction]]:
    """Predict with several bundles on one backbone, which runs once for all of them.

    Args:
        bundles: Their folders, or what `load_bundle` returned, which heads that are code need.
        texts: N texts as the backbone takes them: rendered, if the bundles have a template.
        cache: Where features are looked up for all bundles; the folder need not exist.
        backbone: The model's folder, if it is not where the bundles remember it.
        device: Where the backbone runs: "auto", "cpu", "cuda" or "mps".
        allow_pickle: Whether weights may be pickles, which can run code when loaded.
        trust_remote_code: Whether Python code in the model's folder may run.
        progress: Where progress is shown; by default nowhere.

    Returns:
        N predictions of each bundle, by its label column; bundles that share a column go by the end
        of their paths that tells them apart.

    Raises:
        InputError: The bundles have different backbones or templates, or one is given twice.
        BackboneError: A text is not in the cache, and the backbone is not there.
        ContractError: The model is not the one that the heads were trained on.
    """
    predictors = []
    for bundle in bundles:
        if isinstance(bundle, Predictor):
            predictors.append(replace(bundle, cache=Path(cache)))
        else:
            predictors.append(load_bundle(bundle, cache=cache))
    names = _names_of(predictors)
    _check_together(predictors)
    choice = BackboneChoice(
        _backbone_of(predictors, backbone),
        device=device,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    source = InputSource.of(
        [HeadInputs(each.contract, each.view, each.head.n_inputs) for each in predictors],
        choice,
        named=backbone is not None,
        cache=Path(cache),
        progress=progress or Silent(),
    )
    inputs = dict(zip(names, source.inputs(texts), strict=True))
    by_name = dict(zip(names, predictors, strict=True))
    return {name: by_name[name].label(inputs[name]) for name in names}


def _names_of(predictors: Sequence[Predictor]) -> list[str]:
    """Name each bundle by its label column, or by the end of its path if others share that.

    Raises InputError if a bundle is given twice, or none at all.
    """
    if not predictors:
        msg = "no bundle is given"
        raise InputError(msg, cure="Give the folder of one or more.")
    labels = [predictor.description.label for predictor in predictors]
    paths = [predictor.folder.resolve().parts for predictor in predictors]
    n_bundles = Counter(labels)
    for n_parts in range(1, max(map(len, paths)) + 1):
        names = []
        for label, path in zip(labels, paths, strict=True):
            names.append(label if n_bundles[label] == 1 else "/".join(path[-n_parts:]))
        if len(set(names)) == len(names):
            return names
    twice = next(each.folder for each in predictors if paths.count(each.folder.resolve().parts) > 1)
    raise InputError(f"the bundle {twice} is given twice", cure="Give each bundle once.")


def _check_together(predictors: Sequence[Predictor]) -> None:
    """Refuse bundles whose backbones or templates differ."""
    first = predictors[0]
    for other in predictors[1:]:
        differing = first.contract.without_views().differences(other.contract.without_views())
        if differing:
            reason = f"their backbones differ in {fields_of(differing)}"
        elif first.description.template != other.description.template:
            reason = f"their templates are {_template_of(first)} and {_template_of(other)}"
        else:
            continue
        msg = f"{first.folder} and {other.folder} cannot be used together: {reason}"
        raise InputError(msg, cure="Run featcache predict for each of them.")


def _template_of(predictor: Predictor) -> str:
    return repr(predictor.description.template or "the text as it is")


def _backbone_of(predictors: Sequence[Predictor], backbone: str | os.PathLike[str] | None) -> str:
    """Return the backbone that was named, or the first remembered one that is still there."""
    if backbone:
        return os.fspath(backbone)
    remembered = [predictor.description.backbone for predictor in predictors]
    return next((folder for folder in remembered if Path(folder).is_dir()), remembered[0])


def _json_name(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
