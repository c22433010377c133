"""Files that are whole or not there, and survive a power cut once the call has returned.

A new file goes to a temporary name, is fsynced, renamed, and its folder fsynced. Everything that
has to last goes through this module, which calls the operating system only as `os.<name>`: the
fault campaigns record these calls, fail them one by one, and replay every prefix of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from featcache.errors import MachineError

TEMPORARY = ".partial"
SMALL_BYTES = 16 << 20  # no JSON file of a cache comes near this
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL}
_KEPT = (
    "What was finished before is kept. Free space or mend the disk, "
    "then run the same command again."
)
_NO_RESERVE = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


class NotAFileError(ValueError):
    """Something else stands where a small file is expected."""


@dataclass(frozen=True)
class NewFile:
    """A file being written, under its temporary name."""

    _handle: int

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data` at a byte offset; what is never written reads as zero."""
        view = memoryview(data).cast("B")
        while view:
            n_written = os.pwrite(self._handle, view, offset)
            view, offset = view[n_written:], offset + n_written


@contextlib.contextmanager
def new_file(folder: Path, name: str, n_bytes: int) -> Iterator[NewFile]:
    """Write a file that gets its name, durably, only when the `with` body is done.

    The disk space is reserved first, so that a full disk is noticed before the first byte. The
    temporary file is removed when the body raises, also on Ctrl-C.

    Args:
        folder: The folder that gets the file.
        name: The file's final name.
        n_bytes: Its size in bytes.

    Yields:
        NewFile: The file, to be written to.

    Raises:
        MachineError: The file system refuses.
    """
    temporary = folder / f"{name}-{uuid.uuid4().hex}{TEMPORARY}"
    final = folder / name
    try:
        # O_EXCL: never a file that somebody else has open, nor through a planted link.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            reserve(handle, n_bytes)
            yield NewFile(handle)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(temporary, final)
        sync_folder(folder)
    except OSError as error:
        _drop(temporary)
        raise _refused(final, error) from error
    except BaseException:
        _drop(temporary)
        raise


def write_durably(folder: Path, name: str, data: bytes | memoryview) -> Path:
    """Write a small file at once; see `new_file`."""
    with new_file(folder, name, len(data)) as file:
        file.write_at(0, data)
    return folder / name


def make_folder(folder: Path, option: str = "--cache") -> None:
    """Make a folder and its missing parents, whose names then survive a power cut.

    Args:
        folder: The folder; nothing happens if it exists.
        option: The command line's option that names the folder, for the message.

    Raises:
        MachineError: The file system refuses, or something else has the name.
    """
    missing = []
    try:
        for parent in (folder, *folder.parents):
            if parent.is_dir():
                break
            missing.append(parent)
        for parent in reversed(missing):
            try:
                os.mkdir(parent)
            except FileExistsError:
                if not parent.is_dir():  # a file; else another process was quicker
                    raise
            sync_folder(parent.parent)
    except OSError as error:
        msg = f"The folder {folder} cannot be made: {error.strerror}."
        cure = f"Choose a folder that can be written: {option} DIR."
        raise MachineError(msg, cure=cure) from error


def settle(folder: Path) -> None:
    """Make a folder and the files that others have put into it survive a power cut.

    A process that is killed between naming a file and the fsync leaves a name that is visible but
    not safe yet. A folder that is read-only is left as it is.

    Args:
        folder: The folder.

    Raises:
        MachineError: The disk fails.
    """
    for path in (folder, folder.parent, folder.absolute().parent.parent):
        try:
            sync_folder(path)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise _refused(folder, error) from error


def remove(paths: Iterable[Path]) -> None:
    """Remove files, durably; a file that is gone already is no error.

    Args:
        paths: The files.

    Raises:
        MachineError: That is refused.
    """
    folders = set()
    try:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)
    except OSError as error:
        msg = f"{error.filename or 'a file'} could not be removed: {error.strerror}"
        raise MachineError(msg, cure="Check the permissions of its folder.") from error


def move(path: Path, new: Path) -> None:
    """Give a file of a folder another name in it, durably.

    Args:
        path: The file.
        new: Its new path, in the same folder.

    Raises:
        MachineError: That is refused.
    """
    try:
        os.rename(path, new)
        sync_folder(new.parent)
    except OSError as error:
        msg = f"{path} could not be renamed: {error.strerror}"
        raise MachineError(msg, cure="Check the permissions of its folder.") from error


@contextlib.contextmanager
def open_regular(path: Path, *, follow: bool = False) -> Iterator[tuple[int, int]]:
    """Open a regular file for reading; never a folder, a device, or a pipe that would block.

    Args:
        path: The file.
        follow: Whether a symbolic link may stand for it.

    Yields:
        tuple[int, int]: Its handle, and its size in bytes.

    Raises:
        NotAFileError: Something else has this name.
        OSError: It cannot be read, or is not there.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK
    try:
        handle = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            msg = "it is a symbolic link"
            raise NotAFileError(msg) from error
        if error.errno == errno.ENXIO:  # a socket
            msg = "it is not a file"
            raise NotAFileError(msg) from error
        raise
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            msg = "it is not a file"
            raise NotAFileError(msg)
        yield handle, facts.st_size
    finally:
        os.close(handle)


def read_small(path: Path, largest: int = SMALL_BYTES, *, follow: bool = False) -> bytes:
    """Read a regular file of limited size.

    Args:
        path: The file.
        largest: The most bytes that it may have.
        follow: Whether a symbolic link may stand for it.

    Returns:
        The bytes of the file.

    Raises:
        NotAFileError: Something else is there, or the file is larger.
        OSError: It cannot be read or is not there.
    """
    with open_regular(path, follow=follow) as (handle, size):
        if size > largest:
            msg = f"it has {size:,} bytes, and {largest:,} are the most that it may have"
            raise NotAFileError(msg)
        data = b""
        while len(data) < size:
            piece = os.read(handle, size - len(data))
            if not piece:
                break
            data += piece
        return data


def free_bytes(folder: Path) -> int:
    """Count the bytes that may be written below a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    facts = os.statvfs(existing)
    return facts.f_bavail * facts.f_frsize


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reserve(handle: int, n_bytes: int) -> None:
    """Give the file its size, with its blocks taken where the file system can do that."""
    if hasattr(os, "posix_fallocate") and n_bytes:
        try:
            os.posix_fallocate(handle, 0, n_bytes)
        except OSError as error:
            if error.errno not in _NO_RESERVE:
                raise
        else:
            return
    os.ftruncate(handle, n_bytes)


def _drop(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _refused(final: Path, error: OSError) -> MachineError:
    return MachineError(
        f"{final} could not be written: {os.strerror(error.errno or 0)}", cure=_KEPT
    )
