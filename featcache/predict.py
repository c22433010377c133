"""Verb: labels and probabilities for texts, from a bundle, through the cache.

Texts that are cached cost no forward pass, and no torch is imported for them. For the others the backbone is
loaded, after its files were found to be the ones that the bundle was trained on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.device import resolve_device
from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.columns import narrow
from featcache.cache.contract import Contract
from featcache.cache.memo import Memo
from featcache.cache.space import Space, contracts_in, widest
from featcache.data.keys import first_of_each, row_keys
from featcache.data.labels import Label
from featcache.errors import BackboneError, BundleError, ContractError, DamageError, MachineError
from featcache.extract import extract
from featcache.heads.bundle import Description, read_bundle
from featcache.heads.network import Network
from featcache.report.progress import Progress, Silent
from featcache.spaces import DEFAULT_CACHE, BackboneChoice
from featcache.states import states_of

_WRITE_FROM = 64
"""New texts from which on they are worth a shard. Fewer are computed and forgotten: a shard for each single
text asked of a service would fill the cache with thousands of files."""


@dataclass(frozen=True)
class Prediction:
    """label: in its own type. probabilities: of every class, adding up to 1; not calibrated."""

    label: Label
    probabilities: dict[Label, float]

    def to_json(self) -> dict[str, Any]:
        """JSON has string keys only, so the classes of the probabilities are written as strings."""
        return {
            "label": self.label,
            "probabilities": {_json_name(name): round(value, 6) for name, value in self.probabilities.items()},
        }


@dataclass(frozen=True)
class Predictor:
    """A bundle, loaded. cache: where features are looked up; it need not exist."""

    network: Network
    description: Description
    contract: Contract
    cache: Path

    @property
    def classes(self) -> list[Label]:
        return list(self.description.classes)

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
        backbone: the model folder, where it is not where the bundle remembers it.
        Raises ContractError where that model is not the one the head was trained on.
        """
        choice = BackboneChoice(
            os.fspath(backbone or self.description.backbone),
            self.contract.layers,
            self.contract.poolings,
            self.contract.max_length,
            self.contract.dtype,
            device,
            allow_pickle,
            trust_remote_code,
        )
        features = self._features(texts, choice, progress, named=backbone is not None)
        probabilities = self.network.probabilities(features)
        return [
            Prediction(self.classes[int(row.argmax())], dict(zip(self.classes, map(float, row), strict=True)))
            for row in probabilities
        ]

    def _features(
        self, texts: Sequence[str], choice: BackboneChoice, progress: Progress | None, *, named: bool
    ) -> NDArray[np.float32]:
        """The head's inputs (N, inputs): cached rows from the cache, the others computed now.

        named: whether the user named the backbone, which is checked then even if it is not needed.
        """
        keys = row_keys(texts)
        if named:
            self._check_backbone(choice.backbone)
        space = self._space()
        positions = np.full(len(texts), -1) if space is None else space.find(keys)
        first, group = first_of_each(keys)
        new = first[positions[first] < 0]
        if space is not None and len(new) >= _WRITE_FROM and os.access(space.path, os.W_OK):
            self._check_backbone(choice.backbone)
            if self._extract([texts[row] for row in new], choice, progress):
                space = space.reopened()
                positions = space.find(keys)
                new = new[:0]
        view = [(layer, pooling) for layer in self.description.layers for pooling in self.description.pooling]
        features = np.empty((len(texts), self.network.n_inputs), dtype=np.float32)
        held = np.flatnonzero(positions >= 0)
        if space is not None and len(held):
            features[held] = np.concatenate(
                [space.gather(positions[held], layer=layer, pooling=pooling) for layer, pooling in view], axis=1
            )
        if len(new):
            self._check_backbone(choice.backbone)
            computed = self._compute([texts[row] for row in new], choice)
            place = {int(group[row]): number for number, row in enumerate(new)}
            for row in np.flatnonzero(positions < 0):
                features[row] = computed[place[int(group[row])]]
        return features

    def _space(self) -> Space | None:
        path = widest(contracts_in(self.cache), self.contract)
        return None if path is None else Space.open(path)

    def _check_backbone(self, folder: str) -> None:
        """Refuse a backbone whose files are not those of the contract."""
        memo = Memo.load(self.cache)
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
            raise ContractError(msg, cure="Name the right folder with --backbone, or fit a head for this backbone.")

    def _extract(self, texts: list[str], choice: BackboneChoice, progress: Progress | None) -> bool:
        """Add texts to the cache. Returns whether that worked: a label is not worth less for not being cached."""
        try:
            extract({"text": texts}, cache=self.cache, progress=progress, **vars(choice))
        except MachineError as error:
            (progress or Silent()).note(f"not cached  {error.what}")
            return False
        return True

    def _compute(self, texts: list[str], choice: BackboneChoice) -> NDArray[np.float32]:
        """Features of texts that stay out of the cache, rounded as it would round them.

        Otherwise a text's probabilities would change a little on the day it is cached.
        """
        from featcache.backbone.load import load_backbone

        model = load_backbone(
            find_backbone(choice.backbone, allow_pickle=choice.allow_pickle),
            dtype=choice.dtype,
            device=resolve_device(choice.device),
            truncation_side=self.contract.truncation_side,
            allow_pickle=choice.allow_pickle,
            trust_remote_code=choice.trust_remote_code,
        )
        layers, poolings = self.description.layers, self.description.pooling
        states = states_of(texts, model, self.contract, layers=layers, poolings=poolings)
        views = [narrow(states[:, i, j]) for i in range(len(layers)) for j in range(len(poolings))]
        return np.concatenate(views, axis=1).astype(np.float32)


def load_bundle(path: str | os.PathLike[str], *, cache: str | os.PathLike[str] = DEFAULT_CACHE) -> Predictor:
    """Load a bundle that `fit_heads` saved; neither the backbone nor torch is loaded before it is needed.

    Raises BundleError where the folder is not a bundle.
    """
    network, description = read_bundle(Path(path))
    try:
        contract = Contract.from_json(json.dumps(description.contract), str(path))
    except DamageError as error:
        raise BundleError(error.what, cure="Fit the head again.") from error
    return Predictor(network, description, contract, Path(cache))


def _json_name(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
