"""Extract commands that messages name, ready to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

DEFAULT_CACHE = "cache"


def cache_option(cache: Path) -> str:
    """The option, with a space before it, that a command needs unless the cache is the default."""
    return "" if str(cache) == DEFAULT_CACHE else f" --cache {shlex.quote(str(cache))}"


def extract_command(cache: Path, files: Sequence[str], model: str, options: Sequence[str]) -> str:
    """Write out an extraction to be pasted.

    Args:
        cache: The cache folder.
        files: The data.
        model: The backbone: its folder or hub id.
        options: Options and their values, one after the other.

    Returns:
        The command, quoted for a shell.
    """
    arguments = shlex.join([*files, "--backbone", model, *options])
    return f"featcache extract {arguments}{cache_option(cache)}"
