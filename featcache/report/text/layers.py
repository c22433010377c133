"""The heat map of the terminal: the best validation score on each layer and pooling alone."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style
from rich.text import Text

from featcache.console import INDENT, Console
from featcache.report.charts import range_of
from featcache.report.text.numbers import short
from featcache.runs.result import FitResult

_LAYERS_A_LINE = 17  # of the heat map, 6 characters each
# From low to high, dark to light, as colour-blind safe as one hue is; written on in white or black.
_RAMP = (
    (31, 45, 61),
    (31, 67, 102),
    (42, 106, 163),
    (75, 148, 210),
    (140, 192, 238),
    (217, 235, 255),
)


def print_layers(result: FitResult, console: Console) -> None:
    """Print the map; the deeper the colour, the lower the score."""
    best = _best_scores(result)
    if len(best) < 2:
        return
    layers = sorted({layer for layer, _ in best})
    poolings = list(dict.fromkeys(pooling for _, pooling in best))
    low, high = range_of(list(best.values()))
    for start in range(0, len(layers), _LAYERS_A_LINE):
        shown = layers[start : start + _LAYERS_A_LINE]
        line = Text("layers".ljust(INDENT), style="bold")
        line.append("".join(f"{layer:>4}  " for layer in shown), style="not bold")
        console.print(line)
        for pooling in poolings:
            line = Text(f"  {pooling}".ljust(INDENT))
            for layer in shown:
                score = best.get((layer, pooling))
                if score is None:
                    line.append(f"{'·':>5} ")
                else:
                    line.append(f"{short(score):>5} ", style=_shade(score, low, high))
            console.print(line)
    console.print()


def _best_scores(result: FitResult) -> dict[tuple[int, str], float]:
    """Return the best validation score by (layer, pooling), of heads that read that alone."""
    best: dict[tuple[int, str], float] = {}
    for trial in result.trials:
        if trial.view.single:
            place = trial.view.layers[0], trial.view.poolings[0]
            best[place] = max(best.get(place, -1.0), trial.validation[result.metric])
    return best


def _shade(score: float, low: float, high: float) -> Style:
    """Return the colours of a cell: a shade of the ramp, with black or white on it."""
    share = min(1.0, max(0.0, (score - low) / (high - low)))
    red, green, blue = _RAMP[round(share * (len(_RAMP) - 1))]
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128
    ink = 255 if dark else 0  # by its number: what a terminal calls white and black may be greys
    return Style(color=Color.from_rgb(ink, ink, ink), bgcolor=Color.from_rgb(red, green, blue))
