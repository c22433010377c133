"""docs/cli.md says what the commands say."""

from __future__ import annotations

from tests.cli.page import PAGE, page


def test_the_page_on_the_command_line_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python -m tests.cli.page"
