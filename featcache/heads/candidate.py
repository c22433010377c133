"""A head to be tried: its shape, what it sees, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.features.views import View
from featcache.heads.recipe import C_PATH
from featcache.heads.shape import HeadShape

if TYPE_CHECKING:
    from featcache.heads.module import Factory
    from featcache.heads.recipe import Recipe


@dataclass(frozen=True)
class Candidate:
    """A head to be tried on a view. recipe: how it is trained; None for logistic regression, which
    has a path over C.

    path: of rising C.  factory: makes the module of a custom head.
    """

    view: View
    head: HeadShape
    recipe: Recipe | None = None
    factory: Factory | None = None
    path: tuple[float, ...] = C_PATH
