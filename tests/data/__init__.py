"""What the tests of reading share: a refusal is checked in all its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from featcache.errors import InputError


@contextmanager
def refused(kind: type[InputError], *what: object, cure: str) -> Iterator[None]:
    """Expects exactly `kind`, exit code 2, each of `what` (values, places) in what it says, and the
    cure.
    """
    with pytest.raises(InputError) as caught:
        yield
    error = caught.value
    assert type(error) is kind, repr(error)
    assert error.exit_code == 2
    for part in what:
        assert str(part) in error.what, f"{part} is not in: {error.what}"
    assert cure in error.cure, f"{cure} is not in: {error.cure}"
    assert str(error) == f"{error.what}\n{error.cure}"
