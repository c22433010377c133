"""Reading data whole: CSV, TSV, JSONL, Parquet, folders of text files, `datasets` on disk or from
the hub.

What goes through data piece by piece asks `stream.stream`; this is all the pieces together.
"""

from __future__ import annotations

from typing import Any

from featcache.data.stream import stream
from featcache.data.table import Table, concatenate


def read(data: Any, *, encoding: str = "utf-8") -> Table:
    """A table of whatever holds the user's rows.

    data: a source (a path or the name of a data set, see `stream`); a list of sources; a list of
    texts (column `text`); a mapping of columns; a pandas data frame, Arrow table,
    `datasets.Dataset` or `IterableDataset`. A list of strings counts as sources where each one is
    an existing path or ends like a data file, otherwise as texts.
    Raises DataFileError where a source is missing, empty, malformed or not in `encoding`.
    """
    return concatenate(list(stream(data, encoding=encoding).chunks()))
