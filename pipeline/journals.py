"""What is finished of a work in blocks: a line a block, in a journal of each run that takes part."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd


class Journals:
    """The journals of the task `name` in a `folder`; `run` names the one that is written here.

    Columns of tables hold numbers, booleans, texts, or lists of integers, all of which come back exactly.
    """

    def __init__(self, folder: Path, name: str, run: str):
        self.own = folder / f"{name}.{run}.jsonl"
        self._pattern = f"{name}.*.jsonl"
        self._read: dict[Path, int] = {}  # bytes of each

    @contextlib.contextmanager
    def adding(self) -> Iterator[Callable[[int, pd.DataFrame], None]]:
        """Yield the function that adds a block's table."""
        with self.own.open("a", encoding="utf-8") as file:

            def add(number: int, table: pd.DataFrame) -> None:
                columns = {name: [str(table[name].dtype), table[name].tolist()] for name in table}
                file.write(json.dumps({"number": number, "columns": columns}) + "\n")
                file.flush()

            yield add

    def of_others(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """(number, table) of each block that was not told before."""
        for path in set(self.own.parent.glob(self._pattern)) - {self.own}:
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):  # it is being written, or a kill cut it short
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    block = json.loads(line)
                    columns = {k: pd.Series(v, dtype=dtype) for k, (dtype, v) in block["columns"].items()}
                    yield block["number"], pd.DataFrame(columns)
