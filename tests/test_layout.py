"""The layout rules of the design: imports point one way, nouns do not know one another, `--help` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featcache

PACKAGE = Path(featcache.__file__).parent

# Each room may import the rooms of lower rank; rooms of one rank do not import one another.
RANK = {
    "errors": 0,
    "files": 1,
    "data": 2,
    "cache": 2,
    "backbone": 2,
    "heads": 2,
    "select": 3,
    "report": 4,
    "spaces": 5,
    "states": 5,
    "pipeline": 6,
    "models": 6,
    "check": 7,
    "extract": 7,
    "explain": 7,
    "task": 6,
    "diagnose": 7,
    "fit": 7,
    "upkeep": 7,
    "curves": 8,
    "plan": 8,
    "predict": 8,  # texts that are not cached yet go through `extract`
    "demo": 9,
    "cli": 10,
    "__main__": 11,
}
HEAVY = {
    "cleanlab",
    "datasets",
    "datasketch",
    "ftfy",
    "huggingface_hub",
    "jinja2",
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
            found += [(name, node.lineno) for name in submodules] if module == "featcache" else [(module, node.lineno)]
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
            assert room == "cli", f"{path}:{line} goes through the package's front door"
            continue
        assert other == room or RANK[other] < RANK[room], f"{path}:{line}: {room} imports {other}"


@pytest.mark.parametrize("room", FREE_OF_TORCH)
def test_data_and_cache_never_import_torch_or_transformers(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for module, line in _imports(path):
            assert module.split(".")[0] not in {"torch", "transformers"}, f"{path}:{line}"


def test_every_room_has_a_rank() -> None:
    assert {_room(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_file_is_one_idea(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 600
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "every module opens with what it is for"


@pytest.mark.parametrize(
    "code",
    [
        "import featcache",
        "import featcache.fit, featcache.diagnose, featcache.curves, featcache.check, featcache.report.page",
        "import sys; from featcache.cli import main; sys.argv = ['featcache', '--help']; main()",
        "import sys; from featcache.cli import main; sys.argv = ['featcache', 'extract', '--help']; main()",
        "import sys; from featcache.cli import main; sys.argv = ['featcache', 'fit-heads', '--help']; main()",
        "import sys; from featcache.cli import main; sys.argv = ['featcache', 'check', '--help']; main()",
        "import sys; from featcache.cli import main; sys.argv = ['featcache', 'ls', '--cache', 'none']; main()",
    ],
    ids=["import", "verbs", "--help", "extract --help", "fit-heads --help", "check --help", "ls"],
)
def test_light_commands_import_nothing_heavy(code: str) -> None:
    report = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
    done = subprocess.run([sys.executable, "-c", report + code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in done.stderr.split()}
    assert "featcache" in imported
    assert not imported & HEAVY


def test_every_public_name_is_there() -> None:
    for name in featcache.__all__:
        assert getattr(featcache, name) is not None
    assert sorted(featcache._HOMES) == featcache.__all__
    with pytest.raises(AttributeError, match="no attribute 'fit_head'"):
        _ = featcache.fit_head


def test_extract_is_the_function_even_after_its_module_was_imported() -> None:
    code = "import featcache.extract, featcache; assert callable(featcache.extract), featcache.extract"
    subprocess.run([sys.executable, "-c", code], check=True)
