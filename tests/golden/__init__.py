"""A cache written once in format 1, for every later version to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / "format-1"
EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "format-1.json").read_text("utf-8"))
SPACE = CACHE / EXPECTED["space"]
