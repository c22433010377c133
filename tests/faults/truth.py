"""What the rows of a cache have to be: the rows of an undisturbed run, compared by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import spaces_in
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.durable import TEMPORARY

# The float16 of storage (values up to 4), and products whose order depends on the batch.
_TOLERANCE = 2e-3


@dataclass(frozen=True)
class Findings:
    """held: whether each row of the truth is found, (N,).  wrong: rows of other values.  problems:
    in words.
    """

    held: NDArray[np.bool_]
    wrong: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """Rows that were computed in peace. keys: (N, 16); states: (N, views, hidden); n_tokens: (N,).

    tolerance: relative and absolute; 0 for rows that were never computed twice.
    """

    keys: NDArray[np.uint8]
    states: NDArray[np.float32]
    n_tokens: NDArray[np.int64]
    tolerance: float = _TOLERANCE

    @classmethod
    def of(cls, cache: Path, texts: Sequence[str]) -> Truth:
        """The rows of the only space of a cache."""
        (space,), _ = spaces_in(cache)
        keys = row_keys(texts)
        positions = space.find(keys)
        assert (positions >= 0).all()
        return cls(keys, states_in(space, positions), space.token_counts(positions)[0])

    def places(self, keys: Iterable[bytes]) -> NDArray[np.int64]:
        """Row numbers of keys."""
        numbers = {key.tobytes(): number for number, key in enumerate(self.keys)}
        return np.array(sorted(numbers[key] for key in keys), dtype=np.int64)

    def check(self, cache: Path) -> Findings:
        """Look up every row in the spaces of a cache folder, and compare what is found."""
        nothing = np.zeros(len(self.keys), dtype=np.bool_)
        try:
            spaces, damaged = spaces_in(cache)
            problems = [error.what for error in damaged]
            if len(spaces) > 1:
                problems.append(f"{len(spaces)} spaces instead of one")
            if not spaces:
                return Findings(nothing, 0, tuple(problems))
            positions = spaces[0].find(self.keys)
            held = positions >= 0
            return Findings(held, self.differing(spaces[0], held), tuple(problems))
        except Exception as error:  # noqa: BLE001 - whatever a reader meets counts, and the campaign goes on
            return Findings(nothing, 0, (f"reading raises {error!r}",))

    def differing(self, space: Space, held: NDArray[np.bool_]) -> int:
        """The number of rows in a space that differ from the truth."""
        positions = space.find(self.keys)[held]
        close = np.isclose(
            states_in(space, positions), self.states[held], rtol=self.tolerance, atol=self.tolerance
        )
        same = close.all(axis=(1, 2)) & (space.token_counts(positions)[0] == self.n_tokens[held])
        return int((~same).sum())


def states_in(space: Space, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """All views of rows, (M, views, hidden)."""
    views = [
        (layer, pooling) for layer in space.contract.layers for pooling in space.contract.poolings
    ]
    return np.stack(
        [space.gather(positions, layer=layer, pooling=pooling) for layer, pooling in views], axis=1
    )


def temporaries(cache: Path) -> list[str]:
    """Files that a finished write would not have left."""
    return [
        str(path.relative_to(cache)) for path in cache.rglob("*") if path.name.endswith(TEMPORARY)
    ]
