"""The page in a real headless Chromium: drawn whole, in both palettes, on a phone and a desk,
without a network.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featcache.report.page import write_page
from featcache.verbs.report import write_report
from tests.report.example import enrich, write_made

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTHS = {"phone": 390, "desk": 1280}

# Lines of text with too little contrast (WCAG 2.2, 1.4.3: 4.5:1, or 3:1 from 24 px or bold 18.66 px
# on), as "text: colour on colour". What is below a text is found by looking through the page at the
# middle of its box; text in charts is painted by `fill`.
CONTRAST = """() => {
  const style = document.createElement("style");
  style.textContent = "* { pointer-events: auto !important; }";
  document.head.append(style);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = (c) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const painted = (element) => {
    const css = getComputedStyle(element);
    const inside = element instanceof SVGElement && element.tagName !== "svg";
    let colour = inside ? css.fill : css.backgroundColor;
    const clear = colour === "none" || ["text", "tspan", "g"].includes(element.tagName);
    if (inside && clear) colour = "transparent";
    const found = parse(colour);
    if (inside) found[3] *= Number(css.opacity) * Number(css.fillOpacity);
    return found;
  };
  const low = [], seen = new Set();
  let checked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, style, noscript, .skip")) continue;
    const range = document.createRange(); range.selectNodeContents(node);
    const box = [...range.getClientRects()].find((one) => one.width > 0 && one.height > 0);
    if (!box) continue;
    const css = getComputedStyle(element), drawn = element instanceof SVGElement;
    let y = box.top + box.height / 2, x = box.left + box.width / 2;
    const stack = document.elementsFromPoint(x, y);
    if (!stack.includes(element) && !drawn) continue;  // scrolled out of its own box
    const start = stack.indexOf(element);
    let below = [255, 255, 255, 1];
    for (const one of stack.slice(Math.max(0, start)).reverse()) below = over(painted(one), below);
    const colour = over(parse(drawn ? css.fill : css.color), below);
    const [bright, dark] = [luminance(colour), luminance(below)].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dark + 0.05);
    const size = parseFloat(css.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(css.fontWeight) >= 700);
    checked += 1;
    const name = node.textContent.trim().slice(0, 30);
    const [shown, on] = [colour.map(Math.round), below.map(Math.round)];
    const line = `${name}: ${shown} on ${on}, ${ratio.toFixed(2)}`;
    if (ratio < (large ? 3 : 4.5) && !seen.has(line)) { seen.add(line); low.push(line); }
  }
  style.remove();
  return { checked, low };
}"""
# Of each figure: how many shapes are drawn in it, and whether it has its text alternative and its
# table.
FIGURES = """() => [...document.querySelectorAll("figure")].map((figure) => ({
  key: figure.dataset.figure,
  marks: figure.querySelectorAll(
    ["symbol path", "rect path", "line path", "rule line"].map((mark) => `svg .mark-${mark}`).join()
  ).length,
  size: figure.querySelector(".chart svg")?.getBoundingClientRect().toJSON() ?? null,
  says: figure.querySelector("[role=img]").getAttribute("aria-label"),
  rows: figure.querySelectorAll("details tbody tr").length,
}))"""


class Browser:
    """One Chromium. Whatever a page says on its console, and whatever it asks of a network, is
    kept.
    """

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self.said: list[str] = []
        self.asked: list[str] = []

    def open(self, path: Path, *, width: int = 1280, scheme: str = "light") -> Any:
        """A page with all its charts drawn."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        page = context.new_page()
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(path.absolute().as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=20_000)
        return page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on the PATH (looked for {', '.join(BROWSERS)})")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Browser]:
    opened = Browser(chromium)
    yield opened
    for context in chromium.contexts:
        context.close()
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("file://")] == []
    assert len(opened.asked) == len({url for url in opened.asked if url.endswith(".html")})


@pytest.fixture(scope="module")
def page_of_full(full: Path) -> Path:
    return write_page(full)


def unfold(page: Any) -> None:
    """Open everything that can be opened, and wait for what is drawn then."""
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"
    )
    page.wait_for_function(
        "() => document.documentElement.dataset.drawn === "
        "String(document.querySelectorAll('.chart').length)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_every_figure_is_drawn_fits_and_can_be_read(
    browser: Browser, page_of_full: Path, scheme: str, width: int
) -> None:
    assert " " in str(page_of_full)
    page = browser.open(page_of_full, width=width, scheme=scheme)
    unfold(page)
    figures = page.evaluate(FIGURES)
    assert {
        "scores",
        "experiments",
        "layers",
        "shapes",
        "learning",
        "confusion",
        "classes",
        "calibration",
    } <= {figure["key"] for figure in figures}
    for figure in figures:
        assert figure["marks"] >= 2, figure
        assert figure["size"]["width"] > 200, figure
        assert figure["size"]["height"] > 60, figure
        assert figure["size"]["right"] <= width, figure
        assert len(figure["says"]) > 20, figure
        assert figure["rows"] > 0, figure
    names = (
        "() => [...document.querySelectorAll('[data-figure=scores] .role-axis-label "
        "text')].map((e) => e.textContent)"
    )
    assert [name for name in page.evaluate(names) if not name[0].isdigit()][:3] == [
        "majority class",
        "TF-IDF",
        "linear head",
    ]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.set_viewport_size(
        {"width": width, "height": page.evaluate("() => document.documentElement.scrollHeight")}
    )
    contrast = page.evaluate(CONTRAST)
    assert contrast["checked"] > 200
    assert contrast["low"] == []


def test_the_palette_follows_the_system_while_the_page_is_open(
    browser: Browser, page_of_full: Path
) -> None:
    page = browser.open(page_of_full, scheme="light")
    colour = (
        "() => getComputedStyle(document.querySelector('[data-figure=scores] svg "
        ".mark-text text')).fill"
    )
    before = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => ({colour})() !== '{before}'")
    assert page.evaluate(colour) != before


def test_values_are_shown_under_the_pointer_and_texts_stay_texts(
    browser: Browser, hostile: Path
) -> None:
    page = browser.open(write_page(hostile), width=390)
    unfold(page)
    assert page.evaluate("() => window.broken") is None
    assert page.evaluate("() => document.images.length") == 0
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.locator("[data-figure=confusion] svg .mark-rect path").first.hover()
    shown = page.locator("#hint.shown")
    shown.wait_for(timeout=5_000)
    box = shown.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert "<script>window.broken = 1</script>" in shown.inner_text()
    assert page.evaluate("() => window.broken") is None


def test_many_classes_and_layers_fit_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    folder = enrich(
        write_made(tmp_path / "many", [f"intent number {n}" for n in range(150)], n_layers=33)
    )
    path = write_page(folder)
    assert path.stat().st_size <= 3e6
    page = browser.open(path, width=390)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert all(figure["marks"] for figure in page.evaluate(FIGURES) if figure["size"] is not None)
    assert page.locator("[data-figure=confusion] svg .mark-rect path").count() == 20


def test_a_run_of_an_early_version_is_drawn_without_intervals(
    browser: Browser, tmp_path: Path
) -> None:
    page = browser.open(write_page(write_made(tmp_path / "old", ["a", "b", "c"])))
    unfold(page)
    assert all(figure["marks"] for figure in page.evaluate(FIGURES))


def test_runs_are_sorted_from_the_keyboard(
    browser: Browser, full: Path, hostile: Path, tmp_path: Path
) -> None:
    made = enrich(write_made(tmp_path / "made", ["a", "b"]))
    page = browser.open(
        write_report([full, hostile, made], out=tmp_path / "all runs.html"), width=390
    )
    table = page.locator("#runs table")
    scores = (
        "() => [...document.querySelectorAll('#runs tbody tr')].map((row) => "
        "Number(row.children[1].dataset.value))"
    )
    for _ in range(20):  # the skip link, the table that scrolls, its headings
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent") == "score":
            break
    for order in ("descending", "ascending"):
        page.keyboard.press("Enter")
        assert table.locator("th", has_text="score").get_attribute("aria-sort") == order
        found = page.evaluate(scores)
        assert found == sorted(found, reverse=order == "descending")
        assert len(found) == 3
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    table.locator("a", has_text="made").click()
    page.wait_for_selector("#run-3[open]")
    page.wait_for_selector("#run-3 figure svg")
    unfold(page)
    assert all(figure["marks"] for figure in page.evaluate(FIGURES))
