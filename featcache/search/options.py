"""What a sweep is asked for: kinds of heads and views, how they are searched and chosen; checked
before any work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featcache.errors import InputError
from featcache.features.views import VIEWS, View
from featcache.heads.kinds import kind_of
from featcache.heads.shape import ACTIVATIONS, HeadShape
from featcache.search.candidates import HEADS, MAX_DEPTH, SEARCHES, TRIALS, fits, shapes_of
from featcache.tasks.balance import BALANCES
from featcache.tasks.metrics import METRICS

if TYPE_CHECKING:
    from featcache.heads.module import Factory

_MOST_SEEDS, _FEWEST_FOLDS, _MOST_FOLDS, _LARGEST_FOCAL = 20, 2, 50, 10


@dataclass(frozen=True)
class SearchOptions:
    """What is searched, and how; checked. See `fit_heads`."""

    heads: tuple[HeadShape, ...]
    factories: tuple[Factory, ...]
    views: tuple[str, ...]
    metric: str
    search: str
    trials: int | None
    seconds: float | None
    cv: int | None
    seeds: tuple[int, ...]
    balance: str
    focal: float
    thresholds: bool

    def __post_init__(self) -> None:
        """Raises InputError for what does not exist or cannot be."""
        _check("view", self.views, VIEWS)
        _check("metric", [self.metric], METRICS)
        _check("search", [self.search], SEARCHES)
        _check("balance", [self.balance], BALANCES)
        if not self.heads and not self.factories:
            msg = "no head is left to try: mlp needs depths and widths"
            raise InputError(
                msg, cure="For example --heads logreg,mlp --depths 1,2 --widths 64,256."
            )
        cv, trials, seconds, focal = self.cv, self.trials, self.seconds, self.focal
        if self.factories and (self.balance != "none" or self.focal):
            msg = "heads of your own are trained with plain cross-entropy on the rows as they are"
            raise InputError(msg, cure="Leave out balance and focal, or the factories.")
        if self.focal and all(kind_of(head).learning_rate is None for head in self.heads):
            msg = "logreg knows no focal loss, and no other head is asked for"
            raise InputError(
                msg,
                cure="Leave out --focal, or add --heads linear,mlp; --balance weights is for all.",
            )
        for holds, what, cure in (
            (
                cv is None or _FEWEST_FOLDS <= cv <= _MOST_FOLDS,
                f"{cv} folds are not between {_FEWEST_FOLDS} and {_MOST_FOLDS}",
                "For example --cv 5.",
            ),
            (
                trials is None or trials >= 1,
                f"{trials} trials are no trial",
                f"Give --trials 1 or more [{TRIALS}].",
            ),
            (
                seconds is None or seconds > 0,
                f"{seconds} seconds are no time",
                "For example --time 60.",
            ),
            (
                0 <= focal <= _LARGEST_FOCAL,
                f"the focal exponent {focal} is not between 0 and {_LARGEST_FOCAL}",
                "2 is usual: --focal 2.",
            ),
        ):
            if not holds:
                raise InputError(what, cure=cure)

    def check_views(self, views: Sequence[View]) -> None:
        """Raises InputError where no head can be tried on any of these views."""
        custom = self.factories and any(not view.mixed for view in views)
        if not custom and not any(fits(view, head) for view in views for head in self.heads):
            msg = (
                f"nothing is left to try: these heads on the views {', '.join(self.views)} "
                "of what is cached"
            )
            raise InputError(
                msg,
                cure=f"Choose views of {', '.join(VIEWS)}; `mix` needs several layers, and "
                "no logreg.",
            )

    def told(self) -> dict[str, Any]:
        """What `result.json` says of it."""
        names = ("search", "trials", "seconds", "cv", "balance", "focal", "thresholds")
        return {**{name: getattr(self, name) for name in names}, "seeds": list(self.seeds)}


def seeds_from(seed: int, count: int) -> tuple[int, ...]:
    """`count` seeds that follow `seed`. Raises InputError for numbers that are no seed, or too
    many.
    """
    if not 0 <= seed < 2**32:
        msg = f"the seed {seed} is not between 0 and 2^32 - 1"
        raise InputError(msg, cure="Give another --seed.")
    if not 1 <= count <= _MOST_SEEDS:
        msg = f"{count} seeds are not between 1 and {_MOST_SEEDS}"
        raise InputError(msg, cure="For example --seeds 3.")
    return tuple((seed + number) % 2**32 for number in range(count))


def listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names given as "a,b" or as a sequence, each once."""
    given = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    return tuple(dict.fromkeys(given))


def heads_asked_for(
    heads: Sequence[str | Factory] | str,
    depths: Sequence[int],
    widths: Sequence[int],
    form: HeadShape,
) -> tuple[tuple[HeadShape, ...], tuple[Factory, ...]]:
    """Shapes of heads, and factories of custom ones. form: what mlps look like. Raises InputError
    for unknown ones.
    """
    given = listed(heads) if isinstance(heads, str) else tuple(heads)
    names = [one for one in given if isinstance(one, str)]
    _check("head", names or HEADS, HEADS)
    _check("activation", [form.activation], ACTIVATIONS)
    if any(not 0 <= depth <= MAX_DEPTH for depth in depths) or any(width < 1 for width in widths):
        msg = (
            f"depths {list(depths)} and widths {list(widths)}: a depth is 0 to {MAX_DEPTH}, "
            "a width 1 or more"
        )
        raise InputError(msg, cure="For example --depths 1,2 --widths 64,256.")
    factories = tuple(one for one in given if not isinstance(one, str))
    return tuple(shapes_of(names, depths, widths, form)), factories


def _check(noun: str, names: Sequence[str], known: Collection[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        msg = f"there is no {noun} {(unknown or [''])[0]!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(known)}.")
