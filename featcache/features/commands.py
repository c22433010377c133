"""Extract commands that messages name, ready to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

DEFAULT_CACHE = "cache"


def cache_option(cache: Path) -> str:
    """The option that a pasted command needs where the cache is not the default one."""
    return "" if str(cache) == DEFAULT_CACHE else f" --cache {shlex.quote(str(cache))}"


def extract_command(cache: Path, files: Sequence[str], model: str, options: Sequence[str]) -> str:
    """The extraction to paste, with its files and options quoted."""
    return f"featcache extract {shlex.join([*files, '--backbone', model, *options])}{cache_option(cache)}"
