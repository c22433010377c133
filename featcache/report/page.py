"""The report: one HTML file of one run or of several, with everything in it, which asks nothing of
the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.durable import write_durably
from featcache.report.charts import points, span
from featcache.report.content import content_of
from featcache.report.sentences import as_sentence
from featcache.runs.compare import compare
from featcache.runs.folder import REPORT
from featcache.runs.run import Run, read_run

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_WHOLE = (
    10  # runs that are on one page with all of their figures; of more, each has its verdict
)
_LONGEST, _LONGEST_OF_MANY = (
    4000,
    1000,
)  # characters of a text that are put into a page of one run, of several


def write_page(folder: Path) -> Path:
    """Write the page of one run into its own folder, and return its place."""
    return write_report_page([read_run(folder)], folder / REPORT)


def write_report_page(runs: Sequence[Run], place: Path) -> Path:
    """Write the page of these runs to a file. Returns its place.

    Raises MachineError where the disk refuses; nothing is written then.
    """
    # What HTML and UTF-8 cannot hold, in a text of the user: a NUL, half of a pair of surrogates.
    page = render(runs).replace("\0", "\ufffd").encode("utf-8", "replace")
    return write_durably(place.parent, place.name, page)


def render(runs: Sequence[Run]) -> str:
    """The page of these runs as HTML."""
    pairs, unpaired = compare(runs) if len(runs) > 1 else ([], [])
    library, script = _library(), _asset("page.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            contents=[
                content_of(run, number, name)
                for number, (run, name) in enumerate(zip(runs, _titles(runs), strict=True), start=1)
            ],
            whole=len(runs) <= MOST_WHOLE,
            longest=_LONGEST if len(runs) == 1 else _LONGEST_OF_MANY,
            pairs=pairs,
            unpaired=unpaired,
            style=_asset("page.css"),
            library=library,
            script=script,
            version=version("featcache"),
            hashes=" ".join(_hash(one) for one in (library, script)),
        )
        .lstrip()
    )


def _titles(runs: Sequence[Run]) -> list[str]:
    """Names of the folders; their paths where two are called the same."""
    names = [run.folder.absolute().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("featcache.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "json_data": _json_data,
        "points": points,
        "clip": _clip,
        "sentence": as_sentence,
        "shell": _shell,
    }
    environment.globals |= {"span": span}
    return environment


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, as the installed vl-convert carries them."""
    import vl_convert

    return (
        str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )


def _asset(name: str) -> str:
    return (files("featcache.report") / "assets" / name).read_text("utf-8")


def _hash(script: str) -> str:
    """What the page's own policy allows to run: this script, and no other that a text might smuggle
    in.
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json_data(value: Any) -> Any:
    """JSON that may stand in a script element: no character that could end it."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - nothing that HTML would read is left in it


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _shell(path: Path) -> str:
    return shlex.quote(str(path))
