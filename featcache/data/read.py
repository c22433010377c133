"""Reading data whole: files, folders of texts, and `datasets` on disk or from the hub.

What goes through data piece by piece calls `stream.stream`; this is all the pieces together.
"""

from __future__ import annotations

from typing import Any

from featcache.data.stream import stream
from featcache.data.table import Table, concatenate


def read(data: Any, *, encoding: str = "utf-8") -> Table:
    """Read whatever holds the user's rows into one table.

    Args:
        data: A source (a path or the name of a data set, see `stream`); a list of sources; a list
            of texts (column `text`); a mapping of columns; a pandas data frame, Arrow table,
            `datasets.Dataset` or `IterableDataset`. A list of strings counts as sources where each
            one is an existing path or ends like a data file, otherwise as texts.
        encoding: The encoding of text files.

    Returns:
        The table.

    Raises:
        DataFileError: A source is missing, empty, malformed or not in `encoding`.
    """
    return concatenate(list(stream(data, encoding=encoding).chunks()))
