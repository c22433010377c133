"""Views: what a head sees of the cached states. Single layers, and what can be made of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

VIEWS = ("single", "layers", "poolings", "mix")
_WIDEST = 8192  # inputs of layers side by side: 16,000 rows of it are half a GiB
# Side by side they were the best features of BERT (Devlin et al. 2019, arXiv 1810.04805, table 7)
_LAST_FOUR = 4


@dataclass(frozen=True)
class View:
    """Layers and poolings whose states stand side by side, layer by layer; mixed: their mean by
    learned weights.

    scaled: whether heads see it standardised. Only the subject of a diagnosis may be of another
    mind.
    """

    layers: tuple[int, ...]
    poolings: tuple[str, ...]
    mixed: bool = False
    scaled: bool = True

    def __str__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        numbers = (
            f"{first}–{last}"
            if self.layers == tuple(range(first, last + 1))
            else ",".join(map(str, self.layers))
        )
        where = f"layer {first}" if first == last else f"layers {numbers}"
        named = f"{'mix of ' if self.mixed else ''}{where} {'+'.join(self.poolings)}"
        return named if self.scaled else f"{named}, not standardised"

    @property
    def single(self) -> bool:
        """Whether it is one pooling of one layer."""
        return len(self.layers) == len(self.poolings) == 1

    def parts(self) -> list[View]:
        """The single views that it is made of, in order, as they are cached."""
        return [View((layer,), (pooling,)) for layer in self.layers for pooling in self.poolings]

    def standardised(self, scaled: bool = True) -> View:  # noqa: FBT001, FBT002 - says itself what it is
        """The same states, standardised or not."""
        return replace(self, scaled=scaled)


def views_of(
    layers: Sequence[int], poolings: Sequence[str], width: int, kinds: Sequence[str] = VIEWS
) -> list[View]:
    """Every view of the kinds asked for. width: of one layer's states.

    single: each (layer, pooling).  layers: all layers side by side, and the last four.  poolings:
    all poolings of the last layer.  mix: one weighted mean of all layers. What stands for all
    layers is their mean, or the first pooling where no mean is cached. Of all layers so many as
    8,192 numbers hold are taken, evenly spaced; the last four and the poolings are left out where
    they are more.
    """
    pooling, most = (reference_pooling(poolings),), max(2, _WIDEST // width)
    found: list[View] = []
    if "single" in kinds:
        found += [View((layer,), (one,)) for one in poolings for layer in layers]
    if "layers" in kinds and len(layers) > 1:
        found.append(View(_spread(layers, most), pooling))
        if len(layers) > _LAST_FOUR + 1 and most >= _LAST_FOUR:
            found.append(View(tuple(layers[-_LAST_FOUR:]), pooling))
    if "poolings" in kinds and 1 < len(poolings) <= most:
        found.append(View((layers[-1],), tuple(poolings)))
    if "mix" in kinds and len(layers) > 1:
        found.append(View(_spread(layers, most), pooling, mixed=True))
    return list(dict.fromkeys(found))


def reference_view(layers: Sequence[int], poolings: Sequence[str]) -> View:
    """What everyone does: the last layer's mean."""
    return View((max(layers),), (reference_pooling(poolings),))


def reference_pooling(poolings: Sequence[str]) -> str:
    """The mean, or the first pooling where no mean is cached."""
    return "mean" if "mean" in poolings else poolings[0]


def _spread(layers: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of the layers, evenly spaced, the last always in."""
    if len(layers) <= count:
        return tuple(layers)
    step = (len(layers) - 1) / (count - 1)
    return tuple(layers[round(place * step)] for place in range(count))
