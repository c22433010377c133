"""Every error a user can cause, as one small tree.

    FeatcacheError
    ├── InputError            2   the call or its data are wrong
    │   ├── DataFileError         a file is missing, empty, malformed or in another encoding
    │   ├── ColumnError           a column or template field is not there
    │   ├── TextError             texts are empty, missing or not encodable
    │   ├── LabelError            labels are missing, or cannot make a classification task
    │   ├── SplitError            the parts asked for cannot be made, or share texts under --strict
    │   ├── LeakError             the data give labels or test rows away, under --strict
    │   ├── BackboneError         a model folder cannot be used as a frozen backbone
    │   ├── BundleError           a folder is not a bundle that this version can read
    │   └── SpaceChoiceError      several spaces, or none of that name, fit the request
    ├── CacheMissError        3   the cache lacks rows
    ├── ContractError         3   features of one contract were asked of another
    ├── FormatError           3   a file was written by a later featcache
    ├── DamageError           4   a file of the cache is not what its checksums say
    ├── MachineError          1   disk, memory or device failed; finished work is kept
    │   └── DoesNotFitError       a text alone is too much for the memory
    └── Interrupted         130   Ctrl-C; finished work is kept

Each message says what happened (with values), where (path, row, column) and the cure (a command or
an option). The exit code of the command line is the class attribute `exit_code`.
"""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """What a foreign error says, as one line; its type's name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class FeatcacheError(Exception):
    """Base of all errors that featcache raises on purpose.

    what: what happened, with the values and the place.  cure: what to do about it, best as a
    command.
    """

    exit_code = 2

    def __init__(self, what: str, *, cure: str = "") -> None:
        super().__init__(f"{what}\n{cure}" if cure else what)
        self.what = what
        self.cure = cure


class InputError(FeatcacheError):
    """The call or its data are wrong."""


class DataFileError(InputError):
    """A data file is missing, empty, malformed or in another encoding."""


class ColumnError(InputError):
    """A column or a field of the template is not in the data."""


class TextError(InputError):
    """Texts are empty, missing or cannot be encoded as UTF-8."""


class LabelError(InputError):
    """Labels are missing or cannot make a classification task."""


class SplitError(InputError):
    """The parts asked for cannot be made from these rows."""


class LeakError(InputError):
    """Under `--strict`: the data give labels or test rows away, so that a score on them would
    mislead.
    """


class BackboneError(InputError):
    """A model folder cannot be used as a frozen backbone."""


class BundleError(InputError):
    """A folder is not a bundle that this version can read."""


class SpaceChoiceError(InputError):
    """Several spaces fit the request, or none has the name that was asked for."""


class CacheMissError(FeatcacheError):
    """The cache lacks rows that were asked of it."""

    exit_code = 3


class ContractError(FeatcacheError):
    """Features made under one contract were asked of another."""

    exit_code = 3


class FormatError(FeatcacheError):
    """A file was written in a format of a later featcache: nothing is wrong with it, but it cannot
    be read here.
    """

    exit_code = 3


class DamageError(FeatcacheError):
    """A file of the cache is not what its own checksums say."""

    exit_code = 4


class MachineError(FeatcacheError):
    """The disk, the memory or the device failed; work finished before is kept."""

    exit_code = 1


class DoesNotFitError(MachineError):
    """A text alone is too much for the memory. row: its number among the texts that were given."""

    row = 0


class Interrupted(FeatcacheError):  # noqa: N818 - named for what happened, as KeyboardInterrupt is
    """The user pressed Ctrl-C; work finished before is kept."""

    exit_code = 130
