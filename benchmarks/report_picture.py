"""Draws the top of a run's report page as a picture, for the README.

    featcache demo
    python benchmarks/report_picture.py demo/kind --out docs/report.png

Needs Chromium or Chrome on the PATH, and Pillow.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
COLOURS = 128  # of the picture's palette: text on white needs no more
# Where packages are installed on this machine is nobody's business: paths begin at the package.
SHORTEN_PATHS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, at = node.textContent.indexOf("site-packages/");
    if (node.textContent.trim().startsWith("/") && at >= 0)
      node.textContent = node.textContent.slice(at + "site-packages/".length);
  }
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, with its report.html")
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    parser.add_argument("--width", type=int, default=1100, help="of the page, in CSS pixels")
    parser.add_argument("--height", type=int, default=805)
    arguments = parser.parse_args()
    picture = photographed(arguments.run / "report.html", arguments.width, arguments.height)
    arguments.out.write_bytes(shrunk(picture))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


def photographed(page: Path, width: int, height: int) -> bytes:
    """The top of a page with its charts drawn, in the light palette, as PNG."""
    from playwright.sync_api import sync_playwright

    browser_path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser_path is None:
        raise SystemExit(f"no browser on the PATH (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="light"
        )
        tab = context.new_page()
        tab.goto(page.absolute().as_uri())
        tab.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        tab.evaluate(SHORTEN_PATHS)
        picture = tab.screenshot()
        chromium.close()
    return bytes(picture)


def shrunk(picture: bytes) -> bytes:
    """The same picture with a palette, which takes a third of the bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(
        stream, "PNG", optimize=True
    )
    return stream.getvalue()


if __name__ == "__main__":
    main()
