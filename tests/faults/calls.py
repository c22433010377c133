"""The calls of the operating system by which a cache is written, seen one by one.

featcache writes only through `os.<name>`, so these attributes are replaced, for files below one
folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

ON_HANDLES = ("write", "pwrite", "ftruncate", "posix_fallocate", "fsync", "close")
ON_PATHS = ("open", "rename", "replace", "unlink", "mkdir", "rmdir")


@dataclass(frozen=True)
class Call:
    """One call below the folder. path: relative to it; for a handle, the path that it was opened
    by.
    """

    name: str
    path: str
    arguments: tuple[Any, ...]

    @property
    def writes(self) -> bool:
        """False for opening a file or folder that is only read."""
        return self.name != "open" or bool(
            self.arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )


class Watcher(Protocol):
    """Is given each call and `go`, which makes it; returns or raises in its stead."""

    def __call__(self, call: Call, go: Callable[[], Any]) -> Any: ...


@dataclass
class _Watch:
    """Replacements of the calls; all but those below `root` go through unseen."""

    root: str
    watcher: Watcher
    opened: dict[int, str] = field(default_factory=dict)

    def below(self, path: Any) -> str | None:
        absolute = os.path.abspath(os.fspath(path))  # noqa: PTH100 - pathlib itself calls what is replaced here
        inside = absolute == self.root or absolute.startswith(self.root + os.sep)
        return os.path.relpath(absolute, self.root) if inside else None

    def on_path(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **named: Any) -> Any:
            where = (
                None
                if isinstance(path, int) or named.get("dir_fd") is not None
                else self.below(path)
            )
            if where is None:
                return real(path, *rest, **named)
            result = self.watcher(
                Call(name, where, (path, *rest)), lambda: real(path, *rest, **named)
            )
            if name == "open":
                self.opened[result] = where
            return result

        return call

    def on_handle(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(handle: int, *rest: Any) -> Any:
            if handle not in self.opened:
                return real(handle, *rest)
            path = self.opened.pop(handle) if name == "close" else self.opened[handle]
            return self.watcher(Call(name, path, (handle, *rest)), lambda: real(handle, *rest))

        return call


@contextlib.contextmanager
def watched(folder: Path, watcher: Watcher) -> Iterator[None]:
    """Give the calls that concern files below `folder`, which may not exist yet, to a watcher."""
    watch = _Watch(os.path.realpath(folder), watcher)
    with contextlib.ExitStack() as replaced:
        for names, replacing in ((ON_PATHS, watch.on_path), (ON_HANDLES, watch.on_handle)):
            for name in names:
                if hasattr(os, name):  # posix_fallocate is not everywhere
                    replaced.enter_context(
                        mock.patch.object(os, name, replacing(name, getattr(os, name)))
                    )
        yield
