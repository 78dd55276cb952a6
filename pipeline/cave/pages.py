"""Answers of an annotation service on disk, so that a run that ends half-way loses none of them.

A page is a Parquet file with the rows of one answer as they came, and in its metadata the ids that were asked for. What
a materialization version holds never changes, so that a page is never out of date. No page holds a token.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts import atomic
from pipeline.cave import CaveError

_IDS = b"synapse-ei ids"


class Pages:
    """The pages of one query in a folder of its own below `root`; they do not overlap.

    `query` is all that an answer depends on beside the ids, as JSON: server, datastack, version, table, columns.
    """

    def __init__(self, root: Path, query: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()
        self.folder = root / f"{query['table']}-{digest[:16]}"

    def read(self) -> Iterator[tuple[list[int], pd.DataFrame]]:
        """Yield the ids and the rows of each page; no id comes twice. CaveError for a file that is no page."""
        seen: set[int] = set()
        for path in self._files():
            ids = _ids(path)
            if not ids or not seen.issuperset(ids):  # two runs at once may have asked for the same
                yield [one for one in ids if one not in seen], _readable(path, pq.read_table).to_pandas()
            seen.update(ids)

    def ids(self) -> set[int]:
        """All ids whose rows are kept."""
        return {one for path in self._files() for one in _ids(path)}

    def write(self, rows: pd.DataFrame, ids: Sequence[int] = ()) -> None:
        """Keep the rows of `ids`, or of a whole table. Raises OSError where nothing can be written."""
        table = pa.Table.from_pandas(rows, preserve_index=False)
        text = json.dumps([int(one) for one in ids])
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _IDS: text.encode()})
        with atomic(self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.parquet") as path:
            pq.write_table(table, path)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))


def _ids(path: Path) -> list[int]:
    return json.loads(_readable(path, pq.read_schema).metadata[_IDS])


def _readable(path: Path, read: Callable[[Path], Any]) -> Any:
    """What `read` reads of a page; CaveError where it cannot."""
    try:
        return read(path)
    except (pa.ArrowException, OSError) as error:
        raise CaveError(
            f"{path}, a kept answer of the service, is damaged ({error}); delete it and start again"
        ) from None
