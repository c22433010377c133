"""The rules of the layout: imports point one way, verbs do not import verbs, `--help` is light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import featcache

PACKAGE = Path(featcache.__file__).parent

PAGE = PACKAGE.parent / "docs" / "architecture.md"


def _floors() -> list[set[str]]:
    """Read the rooms of each floor, the ground floor first, from the page on the architecture."""
    listed = re.search(
        r"<!-- rooms:.*?-->\n(.*?)<!-- end of rooms -->", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert listed is not None
    floors = re.split(r"^- ", listed.group(1), flags=re.MULTILINE)[1:]
    return [set(re.findall(r"`(\w+)/?`:", floor)) for floor in floors]


# Each room may import the rooms of lower rank; rooms of one rank do not import one another.
RANK = {room: number for number, floor in enumerate(_floors()) for room in floor}
HEAVY = {
    "cleanlab",
    "datasets",
    "datasketch",
    "ftfy",
    "huggingface_hub",
    "jinja2",
    "msgspec",
    "pandas",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "vl_convert",
}
FREE_OF_TORCH = ("data", "cache")


def _room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imports(path: Path) -> list[tuple[str, int]]:
    """Every imported module with its line, wherever in the file the import stands."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            submodules = [f"{module}.{name.name}" for name in node.names]
            found += (
                [(name, node.lineno) for name in submodules]
                if module == "featcache"
                else [(module, node.lineno)]
            )
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = _room(path)
    for module, line in _imports(path):
        parts = module.split(".")
        if parts[0] != "featcache" or len(parts) == 1:
            continue
        other = parts[1]
        if other not in RANK:  # a public name of the package, such as featcache.fit_heads
            pytest.fail(f"{path}:{line} goes through the package's front door")
        assert other == room or RANK[other] < RANK[room], f"{path}:{line}: {room} imports {other}"


@pytest.mark.parametrize("room", FREE_OF_TORCH)
def test_data_and_cache_never_import_torch_or_transformers(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for module, line in _imports(path):
            assert module.split(".")[0] not in {"torch", "transformers"}, f"{path}:{line}"


def test_the_page_on_the_architecture_lists_every_room_and_no_other() -> None:
    assert {_room(path) for path in FILES} == set(RANK)


NOUNS = {"__init__", "options"}  # what several verbs share and nothing below them
VERBS = sorted(path for path in (PACKAGE / "verbs").glob("*.py") if path.stem not in NOUNS)


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.stem)
def test_no_verb_imports_another(path: Path) -> None:
    for module, line in _imports(path):
        *room, name = module.split(".")
        assert room != ["featcache", "verbs"] or name in NOUNS, f"{path}:{line}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_file_is_one_idea(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 400
    assert not any("fmt: skip" in line for line in lines)  # how long lines are is ruff's business
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), (
        "every module opens with what it is for"
    )


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name for name, paths in homes.items() if len(paths) > 1}


_VERBS = ("fit", "diagnose", "curves", "check")
_MODULES = ", ".join([f"featcache.verbs.{verb}" for verb in _VERBS] + ["featcache.report.page"])
_RUN = "import sys; from featcache.cli import main; sys.argv = ['featcache', {}]; main()"


@pytest.mark.parametrize(
    "code",
    [
        "import featcache",
        f"import featcache, {_MODULES}",
        _RUN.format("'--help'"),
        _RUN.format("'extract', '--help'"),
        _RUN.format("'fit-heads', '--help'"),
        _RUN.format("'check', '--help'"),
        _RUN.format("'ls', '--cache', 'none'"),
    ],
    ids=["import", "verbs", "--help", "extract --help", "fit-heads --help", "check --help", "ls"],
)
def test_light_commands_import_nothing_heavy(code: str) -> None:
    report = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
    done = subprocess.run(
        [sys.executable, "-c", report + code], capture_output=True, text=True, check=True
    )
    imported = {name.split(".")[0] for name in done.stderr.split()}
    assert "featcache" in imported
    # Reading a cache or writing a run needs its schema; the help and `import featcache` do not.
    allowed = {"msgspec"} if "verbs" in code or "'ls'" in code else set()
    assert not imported & HEAVY - allowed


def test_every_public_name_is_there() -> None:
    for name in featcache.__all__:
        assert getattr(featcache, name) is not None
    assert sorted(featcache._HOMES) == featcache.__all__
    with pytest.raises(AttributeError, match="no attribute 'fit_head'"):
        _ = featcache.fit_head
