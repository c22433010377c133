"""Verb: labels and probabilities for texts, from one bundle or several, through the cache.

Texts that are cached cost no forward pass, and no torch is imported for them. For the others the
backbone is loaded, after its files were found to be the ones that the bundle was trained on, and
run once for all bundles.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.device import resolve_device
from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.bundles.bundle import read_bundle
from featcache.bundles.description import Description
from featcache.cache.contract import POOLINGS, Contract
from featcache.cache.folder import contracts_in
from featcache.cache.memo import Memo
from featcache.cache.numbers import narrow
from featcache.cache.space import Space
from featcache.data.keys import first_of_each, row_keys
from featcache.data.labels import Label
from featcache.data.texts import TextOptions
from featcache.errors import (
    BackboneError,
    BundleError,
    ContractError,
    DamageError,
    InputError,
    MachineError,
)
from featcache.extraction.compute import states_of
from featcache.extraction.job import prepare
from featcache.extraction.model import PassOptions
from featcache.extraction.run import run_job
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.misses import fields_of
from featcache.features.request import BackboneChoice
from featcache.features.serving import widest
from featcache.heads.network import Head
from featcache.progress import Progress, Silent
from featcache.tasks.single_label import SingleLabel

if TYPE_CHECKING:
    from featcache.heads.module import Factory

_WRITE_FROM = 64
"""New texts from which on they are worth a shard. Fewer are computed and forgotten: a shard for
each single text asked of a service would fill the cache with thousands of files.
"""


@dataclass(frozen=True)
class Prediction:
    """label: in its own type. probabilities: of every class, adding up to 1.

    They are calibrated where the bundle has a temperature. Where it has offsets (tuned thresholds)
    the label need not be the class of the highest probability.
    """

    label: Label
    probabilities: dict[Label, float]

    def to_json(self) -> dict[str, Any]:
        """JSON has string keys only, so the classes of the probabilities are written as strings."""
        return {
            "label": self.label,
            "probabilities": {
                _json_name(name): round(value, 6) for name, value in self.probabilities.items()
            },
        }


@dataclass(frozen=True)
class Predictor:
    """A bundle, loaded. folder: where it was.  cache: where features are looked up; it need not
    exist.
    """

    head: Head
    description: Description
    contract: Contract
    cache: Path
    folder: Path

    @property
    def classes(self) -> list[Label]:
        return list(self.description.classes)

    @property
    def view(self) -> list[tuple[int, str]]:
        """Layers and poolings whose states stand side by side in the head's inputs."""
        return [
            (layer, pooling)
            for layer in self.description.layers
            for pooling in self.description.pooling
        ]

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
        """Label and probabilities of each text, in order.

        texts: as the backbone is to see them (rendered, where the bundle has a template).
        backbone: the model folder, where it is not where the bundle remembers it. The label is that
        of the highest logit after the bundle's offsets, where it has some; with them it need not be
        the class of the highest probability.
        Raises ContractError where that model is not the one the head was trained on.
        """
        source = _Source.of([self], backbone, device, allow_pickle, trust_remote_code, progress)
        (features,) = source.inputs(texts)
        return self.label(features)

    def label(self, features: NDArray[np.float32]) -> list[Prediction]:
        """Label and probabilities of each row of the head's inputs (N, inputs)."""
        if features.shape[1] != self.head.n_inputs:
            msg = f"the head of {self.folder} takes {self.head.n_inputs:,} numbers, and its view gives {features.shape[1]:,}"
            raise BundleError(msg, cure="Fit the head again; its cache makes that quick.")
        logits = self.head.logits(features).astype(np.float64)
        classes = self.classes
        task = SingleLabel(tuple(classes))
        chosen = task.decide(logits, self.description.offsets)
        probabilities = task.probabilities(logits, self.description.temperature)
        return [
            Prediction(classes[int(place)], dict(zip(classes, map(float, row), strict=True)))
            for place, row in zip(chosen, probabilities, strict=True)
        ]


def load_bundle(
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    factory: Factory | None = None,
) -> Predictor:
    """Load a bundle that `fit_heads` saved; neither the backbone nor torch is loaded before it is
    needed.

    factory: for a head that is code, the function (n_inputs, n_classes) -> module that it was
    trained with.
    Raises BundleError where the folder is not a bundle, or the head is code and no factory is
    given.
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
    """What each of several bundles says of the texts, in order; the backbone runs once for all of
    them.

    bundles: their folders, or what `load_bundle` gave (as it must be for heads that are code);
    features are looked up in `cache` for all.  texts, backbone: as for `Predictor.predict`.
    Returns predictions by the bundles' label columns; of bundles that share one, by the end of
    their paths that tells them apart.
    Raises InputError where the bundles take features of different backbones, or their templates
    differ.
    """
    place = Path(cache)
    predictors = [
        replace(one, cache=place) if isinstance(one, Predictor) else load_bundle(one, cache=place)
        for one in bundles
    ]
    names = names_of(predictors)
    source = _Source.of(predictors, backbone, device, allow_pickle, trust_remote_code, progress)
    inputs = source.inputs(texts)
    return {
        name: one.label(features)
        for name, one, features in zip(names, predictors, inputs, strict=True)
    }


def names_of(predictors: Sequence[Predictor]) -> list[str]:
    """A name for each bundle: its label column, or, where others share that, the end of its path
    that tells them apart.

    Raises InputError where a bundle is given twice.
    """
    labels = Counter(one.description.label for one in predictors)
    paths = [one.folder.resolve().parts for one in predictors]
    for n_parts in range(1, max(map(len, paths), default=0) + 1):
        names = [
            one.description.label
            if labels[one.description.label] == 1
            else "/".join(path[-n_parts:])
            for one, path in zip(predictors, paths, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    if not predictors:
        msg = "no bundle is given"
        raise InputError(msg, cure="Give the folder of one or more.")
    twice = next(one for one, path in zip(predictors, paths, strict=True) if paths.count(path) > 1)
    raise InputError(f"the bundle {twice.folder} is given twice", cure="Give each bundle once.")


@dataclass(frozen=True)
class _Source:
    """Where the inputs of some heads come from: the cache, else the backbone, which is one for all
    of them.

    contract: with the layers and poolings of all spaces that the heads were trained on.
    named: whether the user named the backbone, which is checked then even if it is not needed.
    """

    predictors: Sequence[Predictor]
    contract: Contract
    choice: BackboneChoice
    named: bool
    progress: Progress | None

    @classmethod
    def of(
        cls,
        predictors: Sequence[Predictor],
        backbone: str | os.PathLike[str] | None,
        device: str,
        allow_pickle: bool,  # noqa: FBT001 - handed on as it came
        trust_remote_code: bool,  # noqa: FBT001 - handed on as it came
        progress: Progress | None,
    ) -> _Source:
        """Raises InputError where the bundles need texts or features that differ."""
        _check_together(predictors)
        contract = _union([one.contract for one in predictors])
        remembered = [one.description.backbone for one in predictors]
        found = next((folder for folder in remembered if Path(folder).is_dir()), remembered[0])
        choice = BackboneChoice(
            backbone=os.fspath(backbone or found),
            layers=contract.layers,
            pooling=contract.poolings,
            max_length=contract.max_length,
            dtype=contract.dtype,
            device=device,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
        return cls(predictors, contract, choice, backbone is not None, progress)

    @property
    def cache(self) -> Path:
        return self.predictors[0].cache

    def inputs(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Each head's inputs, (N, its inputs): cached rows from the cache, the others computed now,
        in one pass.
        """
        keys = row_keys(texts)
        if self.named:
            self._check_backbone()
        first, group = first_of_each(keys)
        spaces, shared = self._spaces()
        positions, new = _look_up(spaces, keys, first)
        if shared is not None and len(new):
            in_shared, not_there = _look_up([shared] * len(spaces), keys, first)
            if len(not_there) <= len(new):
                spaces, positions, new = [shared] * len(spaces), in_shared, not_there
            else:
                shared = None
        if shared is not None and len(new) >= _WRITE_FROM and os.access(shared.path, os.W_OK):
            self._check_backbone()
            if self._extract([texts[row] for row in new]):
                spaces = [shared.reopened()] * len(spaces)
                positions, new = _look_up(spaces, keys, first)
        computed: dict[tuple[int, str], NDArray[np.float32]] = {}
        if len(new):
            self._check_backbone()
            computed = self._compute([texts[row] for row in new])
        place = np.full(len(first), -1)  # of each different text among the computed ones
        place[group[new]] = np.arange(len(new))
        inputs = []
        for one, space, found in zip(self.predictors, spaces, positions, strict=True):
            features = np.empty((len(texts), one.head.n_inputs), dtype=np.float32)
            held, other = np.flatnonzero(found >= 0), np.flatnonzero(found < 0)
            if space is not None and len(held):
                features[held] = np.concatenate(
                    [
                        space.gather(found[held], layer=layer, pooling=pooling)
                        for layer, pooling in one.view
                    ],
                    axis=1,
                )
            if len(other):
                rows = place[group[other]]
                features[other] = np.concatenate(
                    [computed[name][rows] for name in one.view], axis=1
                )
            inputs.append(features)
        return inputs

    def _spaces(self) -> tuple[list[Space | None], Space | None]:
        """For each head the space of its own contract; and the one that holds what any of them
        needs, for all.
        """
        contracts = contracts_in(self.cache)
        asked = [self.contract, *(one.contract for one in self.predictors)]
        paths = [widest(contracts, one) for one in asked]
        opened = {path: Space.open(path) for path in paths if path is not None}
        shared, *own = [None if path is None else opened[path] for path in paths]
        return own, shared

    def _check_backbone(self) -> None:
        """Refuse a backbone whose files are not those of the contract."""
        memo, folder = Memo.load(self.cache), self.choice.backbone
        try:
            place = find_backbone(folder, allow_pickle=True)
        except BackboneError as error:
            cure = "Say where the backbone is now: --backbone FOLDER. Only texts in the cache need none."
            raise BackboneError(error.what, cure=cure) from error
        found = fingerprint(place, memo, allow_pickle=True, trust_remote_code=True)
        memo.save(self.cache)
        expected = self.contract
        differing = [
            name
            for name in ("weights", "config", "tokenizer", "code")
            if getattr(found, name) != getattr(expected, name)
        ]
        if differing:
            msg = f"the backbone {folder} is not the one this head was trained on: its {' and '.join(differing)} differ"
            raise ContractError(
                msg, cure="Name the right folder with --backbone, or fit a head for this backbone."
            )

    def _extract(self, texts: list[str]) -> bool:
        """Add texts to the cache. Returns whether that worked: a label is not worth less for not
        being cached.
        """
        try:
            job = prepare({"text": texts}, self.choice, TextOptions(), self.cache)
            run_job(job, PassOptions(), self.progress or Silent())
        except MachineError as error:
            (self.progress or Silent()).note(f"not cached  {error.what}")
            return False
        return True

    def _compute(self, texts: list[str]) -> dict[tuple[int, str], NDArray[np.float32]]:
        """States (N, H) by layer and pooling, of texts that stay out of the cache, rounded as it
        would round them.

        Otherwise a text's probabilities would change a little on the day it is cached.
        """
        from featcache.backbone.load import load_backbone

        choice = self.choice
        model = load_backbone(
            find_backbone(choice.backbone, allow_pickle=choice.allow_pickle),
            dtype=choice.dtype,
            device=resolve_device(choice.device),
            truncation_side=self.contract.truncation_side,
            allow_pickle=choice.allow_pickle,
            trust_remote_code=choice.trust_remote_code,
        )
        needed = {name for one in self.predictors for name in one.view}
        layers = sorted({layer for layer, _ in needed})
        poolings = sorted({pooling for _, pooling in needed}, key=POOLINGS.index)
        states = states_of(texts, model, self.contract, layers=layers, poolings=poolings)
        return {
            (layer, pooling): narrow(states[:, i, j]).astype(np.float32)
            for i, layer in enumerate(layers)
            for j, pooling in enumerate(poolings)
            if (layer, pooling) in needed
        }


def _look_up(
    spaces: Sequence[Space | None], keys: NDArray[np.uint8], first: NDArray[np.int64]
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Positions of keys (N, 16) in each space, -1 where a row is not there; and which of `first`
    some space lacks.
    """
    opened = {space.path: space for space in spaces if space is not None}
    places = {path: space.find(keys) for path, space in opened.items()}
    nowhere = np.full(len(keys), -1, dtype=np.int64)
    positions = [nowhere if space is None else places[space.path] for space in spaces]
    lacking = np.any([one < 0 for one in positions], axis=0)
    return positions, first[lacking[first]]


def _check_together(predictors: Sequence[Predictor]) -> None:
    one = predictors[0]
    for other in predictors[1:]:
        differing = one.contract.without_views().differences(other.contract.without_views())
        reason = f"their backbones differ in {fields_of(differing)}" if differing else ""
        if not differing and one.description.template != other.description.template:
            templates = [
                repr(each.description.template or "the text as it is") for each in (one, other)
            ]
            reason = f"their templates are {' and '.join(templates)}"
        if reason:
            msg = f"{one.folder} and {other.folder} cannot be used together: {reason}"
            raise InputError(msg, cure="Run featcache predict for each of them.")


def _union(contracts: Sequence[Contract]) -> Contract:
    """The contract with the layers and poolings of all, which are alike in everything else."""
    layers = {layer for one in contracts for layer in one.layers}
    poolings = {pooling for one in contracts for pooling in one.poolings}
    return replace(
        contracts[0],
        layers=tuple(sorted(layers)),
        poolings=tuple(sorted(poolings, key=POOLINGS.index)),
    )


def _json_name(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
