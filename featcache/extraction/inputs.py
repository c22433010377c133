"""Inputs of trained heads for new texts: cached rows from the cache, the others computed now.

Several heads on one backbone share one pass. The backbone is loaded only where a text is in no
space, and only after its files were found to be those that the heads were trained on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.device import resolve_device
from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.contract import POOLINGS, Contract
from featcache.cache.folder import contracts_in
from featcache.cache.memo import Memo
from featcache.cache.numbers import narrow
from featcache.cache.space import Space
from featcache.data.keys import first_of_each, row_keys
from featcache.data.texts import TextOptions
from featcache.errors import BackboneError, ContractError, MachineError
from featcache.extraction.compute import states_of
from featcache.extraction.job import prepare
from featcache.extraction.model import PassOptions
from featcache.extraction.run import run_job
from featcache.features.request import BackboneChoice
from featcache.features.serving import widest
from featcache.progress import Progress

_WRITE_FROM = 64
"""The number of new texts from which on they are worth a shard. Fewer are computed and forgotten:
a shard for each single text sent to a service would fill the cache with thousands of files.
"""


@dataclass(frozen=True)
class HeadInputs:
    """What one head takes.

    Attributes:
        contract: How the features were made that the head was trained on.
        view: Layers and poolings whose states stand side by side.
        n_inputs: How many numbers these are in each row.
    """

    contract: Contract
    view: Sequence[tuple[int, str]]
    n_inputs: int


@dataclass(frozen=True)
class _Places:
    """Where the states of some texts are.

    Attributes:
        spaces: For each head the space that is read, or None.
        positions: For each head the positions of all texts in its space, (N,); -1 if not there.
        missing: Row numbers of texts that some head's space lacks, each text once.
    """

    spaces: Sequence[Space | None]
    positions: Sequence[NDArray[np.int64]]
    missing: NDArray[np.int64]

    @classmethod
    def find(
        cls, spaces: Sequence[Space | None], keys: NDArray[np.uint8], first: NDArray[np.int64]
    ) -> _Places:
        """Look keys (N, 16) up in each space; `first` has the row where each text comes first."""
        opened = {space.path: space for space in spaces if space is not None}
        found = {path: space.find(keys) for path, space in opened.items()}
        nowhere = np.full(len(keys), -1, dtype=np.int64)
        positions = [nowhere if space is None else found[space.path] for space in spaces]
        is_missing = np.any(np.stack(positions) < 0, axis=0)
        return cls(spaces, positions, first[is_missing[first]])


@dataclass(frozen=True)
class InputSource:
    """Where the inputs of some heads come from: the cache, or else their common backbone.

    Attributes:
        heads: What each head takes.
        contract: The contract with the layers and poolings of all heads.
        choice: The backbone, and how it is run.
        named: Whether the user named the backbone, which is then checked even if it is not needed.
        cache: The cache folder, which need not exist.
        progress: Where progress is shown.
    """

    heads: Sequence[HeadInputs]
    contract: Contract
    choice: BackboneChoice
    named: bool
    cache: Path
    progress: Progress

    @classmethod
    def of(
        cls,
        heads: Sequence[HeadInputs],
        choice: BackboneChoice,
        *,
        named: bool,
        cache: Path,
        progress: Progress,
    ) -> InputSource:
        """Let heads whose contracts differ only in layers and poolings share one source.

        Args:
            heads: What each head takes.
            choice: The backbone and the device; the rest is taken from the contracts.
            named: Whether the user named the backbone.
            cache: The cache folder, which need not exist.
            progress: Where progress is shown.

        Returns:
            The source.
        """
        contract = _union([head.contract for head in heads])
        choice = replace(
            choice,
            layers=contract.layers,
            pooling=contract.poolings,
            max_length=contract.max_length,
            dtype=contract.dtype,
        )
        return cls(heads, contract, choice, named, cache, progress)

    def inputs(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Make each head's inputs, reading cached rows and computing the others in one pass.

        Many new texts are added to the cache, if a space of it holds what all heads need.

        Args:
            texts: N texts, as the backbone is given them.

        Returns:
            For each head its inputs, float32 (N, its number of inputs).

        Raises:
            BackboneError: The backbone is needed and not there, or cannot be run.
            ContractError: The backbone is not the one that the heads were trained on.
        """
        keys = row_keys(texts)
        if self.named:
            self._check_backbone()
        first, group = first_of_each(keys)
        places, shared = self._look_up(keys, first)
        if shared is not None and len(places.missing) >= _WRITE_FROM:
            places = self._add_missing(places, shared, texts, keys, first)
        computed: Mapping[tuple[int, str], NDArray[np.float32]] = {}
        if len(places.missing):
            self._check_backbone()
            computed = self._compute([texts[row] for row in places.missing])
        # Row numbers in `computed`: of each different text first, then of each text.
        computed_rows = np.full(len(first), -1)
        computed_rows[group[places.missing]] = np.arange(len(places.missing))
        computed_rows = computed_rows[group]
        return [
            _inputs_of(head, space, positions, computed, computed_rows)
            for head, space, positions in zip(
                self.heads, places.spaces, places.positions, strict=True
            )
        ]

    def _look_up(
        self, keys: NDArray[np.uint8], first: NDArray[np.int64]
    ) -> tuple[_Places, Space | None]:
        """Find texts in the heads' own spaces, or in a common one if it lacks no more of them.

        The common space is returned too, if it is the one that is used.
        """
        own, shared = self._spaces()
        places = _Places.find(own, keys, first)
        if shared is None or not len(places.missing):
            return places, None
        in_shared = _Places.find([shared] * len(own), keys, first)
        if len(in_shared.missing) <= len(places.missing):
            return in_shared, shared
        return places, None

    def _spaces(self) -> tuple[list[Space | None], Space | None]:
        """Open the space of each head's contract, and the one that holds what all heads need."""
        contracts = contracts_in(self.cache)
        needed = [self.contract, *(head.contract for head in self.heads)]
        paths = [widest(contracts, contract) for contract in needed]
        opened = {path: Space.open(path) for path in paths if path is not None}
        shared, *own = [None if path is None else opened[path] for path in paths]
        return own, shared

    def _check_backbone(self) -> None:
        """Refuse a backbone whose files are not those of the contract."""
        memo, folder = Memo.load(self.cache), self.choice.backbone
        try:
            place = find_backbone(folder, allow_pickle=True)
        except BackboneError as error:
            cure = "Say where it is now: --backbone FOLDER. Only texts in the cache need none."
            raise BackboneError(error.what, cure=cure) from error
        fingerprints = fingerprint(place, memo, allow_pickle=True, trust_remote_code=True)
        memo.save(self.cache)
        differing = [
            name
            for name in ("weights", "config", "tokenizer", "code")
            if getattr(fingerprints, name) != getattr(self.contract, name)
        ]
        if differing:
            msg = (
                f"the backbone {folder} is not the one this head was trained on: "
                f"its {' and '.join(differing)} differ"
            )
            cure = "Name the right folder with --backbone, or fit a head for this backbone."
            raise ContractError(msg, cure=cure)

    def _add_missing(
        self,
        places: _Places,
        shared: Space,
        texts: Sequence[str],
        keys: NDArray[np.uint8],
        first: NDArray[np.int64],
    ) -> _Places:
        """Add the missing texts to the common space, and look everything up again.

        Nothing changes if the cache cannot be written: labels are worth no less without it.
        """
        if not os.access(shared.path, os.W_OK):
            return places
        self._check_backbone()
        missing = [texts[row] for row in places.missing]
        try:
            job = prepare({"text": missing}, self.choice, TextOptions(), self.cache)
            run_job(job, PassOptions(), self.progress)
        except MachineError as error:
            self.progress.note(f"not cached  {error.what}")
            return places
        return _Places.find([shared.reopened()] * len(self.heads), keys, first)

    def _compute(self, texts: list[str]) -> dict[tuple[int, str], NDArray[np.float32]]:
        """Compute states (N, H) by layer and pooling, for texts that stay out of the cache.

        They are rounded as the cache would round them; otherwise a text's probabilities would
        change a little on the day it is cached.
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
        needed = {column for head in self.heads for column in head.view}
        layers = sorted({layer for layer, _ in needed})
        poolings = sorted({pooling for _, pooling in needed}, key=POOLINGS.index)
        states = states_of(texts, model, self.contract, layers=layers, poolings=poolings)
        computed = {}
        for layer, pooling in needed:
            column = states[:, layers.index(layer), poolings.index(pooling)]
            computed[layer, pooling] = narrow(column).astype(np.float32)
        return computed


def _inputs_of(
    head: HeadInputs,
    space: Space | None,
    positions: NDArray[np.int64],
    computed: Mapping[tuple[int, str], NDArray[np.float32]],
    computed_rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Put one head's inputs together: from its space if the text is there, else from `computed`."""
    inputs = np.empty((len(positions), head.n_inputs), dtype=np.float32)
    cached, others = np.flatnonzero(positions >= 0), np.flatnonzero(positions < 0)
    if space is not None and len(cached):
        rows = positions[cached]
        states = [space.gather(rows, layer=layer, pooling=pooling) for layer, pooling in head.view]
        inputs[cached] = np.concatenate(states, axis=1)
    if len(others):
        rows = computed_rows[others]
        states = [computed[column][rows] for column in head.view]
        inputs[others] = np.concatenate(states, axis=1)
    return inputs


def _union(contracts: Sequence[Contract]) -> Contract:
    """Return the contract with the layers and poolings of all; they agree in everything else."""
    layers: set[int] = set()
    poolings: set[str] = set()
    for contract in contracts:
        layers.update(contract.layers)
        poolings.update(contract.poolings)
    in_order = sorted(poolings, key=POOLINGS.index)
    return replace(contracts[0], layers=tuple(sorted(layers)), poolings=tuple(in_order))
