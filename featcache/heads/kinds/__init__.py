"""The kinds of heads, one file each. Only this registry and the files beside it know
them by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.heads.kinds.custom import Custom
from featcache.heads.kinds.linear import Linear
from featcache.heads.kinds.logreg import LogReg
from featcache.heads.kinds.mlp import Mlp

if TYPE_CHECKING:
    from featcache.features.folds import Fold
    from featcache.features.matrices import FoldFeatures
    from featcache.heads.kind import HeadKind, Numbered, Runner
    from featcache.heads.setup import TrainingSetup
    from featcache.heads.shape import HeadShape

LINEAR, MLP, LOGREG, CUSTOM = Linear(), Mlp(), LogReg(), Custom()
KINDS: tuple[HeadKind, ...] = (LINEAR, MLP, LOGREG, CUSTOM)
OFFERED = (LINEAR.name, MLP.name, LOGREG.name)  # what users choose of by name


def kind_of(head: HeadShape) -> HeadKind:
    """Find the kind of a head."""
    return next(kind for kind in KINDS if kind.name == head.kind)


def runners_of(
    candidates: Numbered, setup: TrainingSetup, fold: Fold, features: FoldFeatures
) -> list[Runner]:
    """Make what trains some candidates on one fold.

    The stack with the quickest result comes first, so that there is soon something to show; then
    the longest, so that threads end together.
    """
    stacks: list[Runner] = []
    others: list[Runner] = []
    for kind in KINDS:
        own = [(number, one) for number, one in candidates if one.head.kind == kind.name]
        if own:
            made = kind.runners(own, setup, fold, features)
            (stacks if kind.stacked else others).extend(made)
    return [*stacks[:1], *reversed(stacks[1:]), *others]
