"""How long the page of a run takes to be made and to be drawn, and how large it is.

    python benchmarks/report_speed.py RUN... [--repeats 5] [--json]

Made: reading the run's folder and writing the page, in a process that has done nothing before, and
once more in the same process (the charts' script is put together once a process). Drawn: from the
moment headless Chromium is given the file until all charts that are not folded away are there, each
time in a new browser context; `all` with everything unfolded. Checked before any time is printed:
every chart has marks, and the page asked for nothing but itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from common import machine, machine_line, median, plain_table, run

import featcache

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAKE = """
import sys, time
started = time.perf_counter()
import featcache
seconds = []
for _ in range(2):
    featcache.write_report(sys.argv[2:], out=sys.argv[1])
    seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
print(*seconds)
"""
_UNFOLD = "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"
_ALL_DRAWN = """() => document.documentElement.dataset.drawn ===
    String(document.querySelectorAll('.chart').length)"""
_EMPTY = """() => [...document.querySelectorAll('.chart')].filter((chart) => !chart.querySelector(
    'svg .mark-symbol path, svg .mark-rect path, svg .mark-line path')).length"""


def made(page: Path, runs: list[Path], repeats: int) -> tuple[float, float]:
    """Median seconds to make the page in a new process, and to make it again in the same."""
    told = [
        subprocess.run(
            [sys.executable, "-c", _MAKE, page, *runs], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(repeats)
    ]
    first, again = zip(*([float(one) for one in line.split()] for line in told), strict=True)
    return median(list(first)), median(list(again))


def drawn(browser: Any, page: Path, *, unfold: bool) -> tuple[float, int]:
    """Seconds until the charts are there, and how many there are."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab, asked = context.new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    started = time.perf_counter()
    tab.goto(page.as_uri(), wait_until="commit")
    tab.wait_for_selector("html[data-drawn]", state="attached")
    if unfold:
        tab.evaluate(_UNFOLD)
        tab.wait_for_function(_ALL_DRAWN)
    seconds = time.perf_counter() - started
    n_charts = int(tab.get_attribute("html", "data-drawn"))
    assert asked == [page.as_uri()], asked
    if unfold:
        assert tab.evaluate(_EMPTY) == 0
    context.close()
    return seconds, n_charts


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--repeats", default=5, show_default=True, help="Measurements of each figure.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, the table on stderr."
)
def main(*, runs: tuple[Path, ...], repeats: int, as_json: bool) -> None:
    """Measure the page of each of RUN, and of all of them together where there are several."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        message = f"no browser on the PATH (looked for {', '.join(_BROWSERS)})"
        raise click.ClickException(message)
    groups = [[one] for one in runs] + ([list(runs)] if len(runs) > 1 else [])
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for number, group in enumerate(groups):
            page = Path(folder) / f"{number}.html"
            n_bytes = featcache.write_report(group, out=page).stat().st_size
            first, again = made(page, group, repeats)
            shown = [drawn(browser, page, unfold=False) for _ in range(repeats)]
            everything = [drawn(browser, page, unfold=True) for _ in range(repeats)]
            name = group[0].name if len(group) == 1 else f"all {len(group)}"
            figures.append(
                {
                    "run": name,
                    "bytes": n_bytes,
                    "made": first,
                    "made_again": again,
                    "drawn": median([one for one, _ in shown]),
                    "charts": shown[0][1],
                    "all_drawn": median([one for one, _ in everything]),
                    "all_charts": everything[0][1],
                }
            )
        browser.close()
    report = plain_table(
        ["run", "MB", "made", "again", "drawn", "charts", "all drawn", "charts"],
        [
            [
                one["run"],
                f"{one['bytes'] / 1e6:.2f}",
                f"{one['made']:.2f} s",
                f"{one['made_again']:.2f} s",
                f"{one['drawn']:.2f} s",
                str(one["charts"]),
                f"{one['all_drawn']:.2f} s",
                str(one["all_charts"]),
            ]
            for one in figures
        ],
    )
    click.echo(f"{report}\n\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(json.dumps({"machine": machine(), "repeats": repeats, "pages": figures}))


if __name__ == "__main__":
    run(main)
