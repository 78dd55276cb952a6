"""What every script of `analysis/`, `figures/` and `tables/` shares: its inputs, its outputs, how numbers are written.

    study = glue.study("figures/performance.py")

opens the edition that the environment names (SYNAPSE_EI_CONFIG, SYNAPSE_EI_DATA and SYNAPSE_EI_BUILD; by default the
demo under `build/`), so that a reviewer can run any script by itself. Outputs carry the name of their script; those of
an earlier run are removed when the study is opened, so that a script that fails leaves no stale result behind.

The build reads from a script's source which analyses it needs: `values`, `values_if_any` and `rows` take literal names.
"""

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline import artefacts
from pipeline.config import Config, load
from pipeline.errors import PipelineError

CLASSES = {1: "excitatory", 0: "inhibitory"}

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "f1": "F1",
}

pd.options.display.float_format = lambda number: f"{number:,.4g}" if abs(number) < 1e4 else f"{number:,.0f}"

ESTIMATE = ["value", "low", "high"]  #: columns of an estimate and its interval


class StudyError(PipelineError):
    """An input that is missing or does not fit, or a claim that does not hold."""


class Value(NamedTuple):
    """A result: the raw value and the text that the manuscript shows."""

    value: Any
    text: str


# --- One way to write numbers ---------------------------------------------------------------------------------------


def _signed(number: float, digits: int) -> str:
    """Fixed decimals, a true minus sign, and no minus before a zero."""
    text = f"{_finite(number):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise StudyError(f"{number} is no result that can be reported")
    return float(number)


def count(n: int) -> Value:
    """`1,234`"""
    return Value(int(n), f"{int(n):,}")


def number(value: float, digits: int = 2) -> Value:
    """`0.87`"""
    return Value(_finite(value), _signed(value, digits))


def significant(value: float, digits: int = 2) -> Value:
    """`0.0077`, or `7.7 × 10⁻⁵` below a thousandth: a number of any size to `digits` significant digits."""
    magnitude = math.floor(math.log10(abs(_finite(value)))) if value else 0
    if magnitude >= -3:
        return Value(float(value), _signed(value, max(0, digits - 1 - magnitude)))
    power = str(magnitude).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return Value(float(value), f"{_signed(value / 10.0**magnitude, digits - 1)} × 10{power}")


def percent(fraction: float, digits: int = 0) -> Value:
    """`12%`"""
    return Value(_finite(fraction), _signed(100 * fraction, digits) + "%")


def estimate(value: float, low: float, high: float, digits: int = 2) -> Value:
    """`0.87 [0.82, 0.91]`: an estimate with its interval; the raw value is the estimate."""
    return Value(_finite(value), f"{_signed(value, digits)} [{_signed(low, digits)}, {_signed(high, digits)}]")


def estimate_of(row: Any, digits: int = 2) -> Value:
    """`estimate` of a row (a Series or a named tuple) with the columns ESTIMATE."""
    return estimate(row.value, row.low, row.high, digits)


def resolved(difference: Any) -> bool:
    """Whether the interval of a difference, a row with `low` and `high`, excludes zero."""
    return bool(difference.low > 0 or difference.high < 0)


def share(fraction: float, low: float, high: float, digits: int = 1) -> Value:
    """`99.4% [96.8%, 100.0%]`: a share with its interval; the raw value is the share."""
    brackets = (percent(part, digits).text for part in (low, high))
    return Value(_finite(fraction), f"{percent(fraction, digits).text} [{', '.join(brackets)}]")


def p_value(p: float) -> Value:
    """`p = 0.023`, or `p < 0.001`."""
    if not 0 <= p <= 1:
        raise StudyError(f"{p} is no p-value")
    return Value(float(p), "p < 0.001" if p < 0.001 else f"p = {p:.3f}")


def p_cell(value: Value | None) -> str:
    """A p-value for a column that is headed p: `0.023` or `< 0.001`; a dash where there is none."""
    return "–" if value is None else value.text.removeprefix("p ").removeprefix("= ")


def text(words: str) -> Value:
    """Words, such as a model's name."""
    return Value(str(words), str(words))


def sentence_case(words: str) -> str:
    """The same words with a capital first letter, the others left as they are."""
    return words[0].upper() + words[1:]


def require(holds: Any, claim: str) -> None:
    """Raise StudyError unless `claim`, which the script is about to show, holds."""
    if not holds:
        raise StudyError(f"the claim does not hold: {claim}. Change the text that makes it, or find out why")


# --- The study ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Study:
    """What one script sees of an edition; `script` is its path in the repository."""

    config: Config
    build: artefacts.Build
    script: Path
    edition: "Study | None" = None  # of a script about a folder of real data beside an edition

    @property
    def simulated(self) -> bool:
        return self.config.source.kind == "simulated"

    @property
    def data_phrase(self) -> str:
        """What the data are, for captions; every caption must contain it."""
        source = self.config.source
        if source.kind == "simulated":
            return "simulated neuropil"
        if source.kind == "cave":
            return f"MICrONS, {source.datastack}, materialization version {source.materialization_version}"
        data = "connectome" if source.kind == "connectome" else "electron microscopy"
        return f"{data} of the folder {self.config.data.resolve().name}" if self.config.data else data

    @property
    def interval_phrase(self) -> str:
        """What brackets and error bars show, for captions, with a link to the paper's box on statistics."""
        return f"{percent(self.config.stats.confidence).text} [intervals](#statistics) over neurons"

    @property
    def resampling(self) -> dict[str, Any]:
        """Arguments of the bootstrap: `n_replicates`, `confidence` and `seed`."""
        stats = self.config.stats
        return {"n_replicates": stats.n_bootstrap, "confidence": stats.confidence, "seed": self.config.seed}

    def read(self, path: Path | str) -> Any:
        """A JSON, CSV or Parquet file of the build. Raises StudyError where it is missing."""
        path = Path(path)
        if not path.is_file():
            raise StudyError(f"{self.script} needs {path}, which does not exist: `make` builds what a script needs")
        readers: dict[str, Any] = {".json": artefacts.read_json, ".csv": pd.read_csv, ".parquet": pd.read_parquet}
        return readers[path.suffix](path)

    def read_exact(self, path: Path, segment_columns: Iterable[str]) -> pd.DataFrame:
        """`read` of a table of segment ids, which must still be uint64: as floats they would be rounded."""
        table = self.read(path)
        for column in segment_columns:
            if table[column].dtype != np.uint64:
                raise StudyError(f"{path}: {column} is {table[column].dtype}, but ids are exact as uint64 only")
        return table

    def values(self, script: str) -> dict[str, Value]:
        """`{name: Value}` of an analysis script."""
        return {name: Value(**entry) for name, entry in self.read(self.build.analysis / f"{script}.json").items()}

    def values_if_any(self, script: str) -> dict[str, Value]:
        """`values` of an analysis that not every edition has; empty where this edition lacks it."""
        return self.values(script) if (self.build.analysis / f"{script}.json").is_file() else {}

    def rows(self, script: str, name: str) -> pd.DataFrame:
        """A table that an analysis script saved beside its values."""
        return self.read(self.build.analysis / f"{script}.{name}.parquet")

    def predictions(self, model: str) -> pd.DataFrame:
        """Predictions of a model, checked against the cohort, sorted by `synapse_id`.

        In a cross-validated model every synapse is a test synapse, whatever its split in the cohort.
        """
        path = self.build.predictions(model)
        rows = self.read(path).sort_values("synapse_id", ignore_index=True)
        crossed = any(entry.name == model and entry.folds for entry in self.config.models)
        keys = ["synapse_id", "pre_neuron_id", "label", "fold" if crossed else "split"]
        known = rows[keys].merge(self.read(self.build.synapses)[keys], on=keys)
        if len(known) != len(rows) or rows["synapse_id"].duplicated().any():
            raise StudyError(f"{path} does not fit {self.build.synapses}; train the model again")
        if not rows["p_excitatory"].between(0, 1).all():
            raise StudyError(f"{path}: p_excitatory must lie in [0, 1]; train the model again")
        return rows

    def patches(self, synapse_ids: Iterable[int], array: str = "patch", folder: Path | None = None) -> np.ndarray:
        """Images uint8 of the synapses, in their order: `patch` `[N, Y, X]` or `cube` `[N, Z, Y, X]`.

        `folder` is that of another extraction than the build's own.
        """
        from pipeline.shards import Rows  # imports Zarr, which most scripts do not need

        folder = folder or self.build.patches
        row = self.read(folder / "index.parquet").set_index("synapse_id")["row"].reindex(synapse_ids)
        if row.isna().any():
            raise StudyError(f"no {array} of synapse {row.index[row.isna()][0]} in {folder}; extract again")
        return Rows(folder / "images.zarr" / array)[row.to_numpy(dtype=np.int64)]

    def outputs(self) -> list[Path]:
        """Files that this script made, now or in an earlier run: those of its folder with its name."""
        return sorted((self.build.root / self.script.parent).glob(f"{self.script.stem}.*"))

    def save(self, values: dict[str, Value], **tables: pd.DataFrame) -> None:
        """Write the tables to `analysis/<script>.<name>.parquet`, then the values to `analysis/<script>.json`."""
        for name, table in tables.items():
            artefacts.write_parquet(self.build.analysis / f"{self.script.stem}.{name}.parquet", table)
        entries = {name: value._asdict() for name, value in values.items()}
        artefacts.write_json(self.build.analysis / f"{self.script.stem}.json", entries)

    def save_figure(self, figure: Any, caption: str) -> None:
        """Write `figures/<script>.caption.md`, `.svg`, `.webp` and `.png` of a Matplotlib figure: all of them, or none.

        The page holds the small ones: SVG without what a browser needs not, or WebP where most of it is a micrograph.
        """
        from scour import scour  # tables and analyses draw nothing

        formats = ("png", "webp", "svg", "caption.md")
        with contextlib.ExitStack() as stack:
            png, webp, svg, words = (stack.enter_context(artefacts.atomic(self._output(f))) for f in formats)
            figure.savefig(png)
            figure.savefig(webp, pil_kwargs={"quality": 75})
            drawn = io.StringIO()
            figure.savefig(drawn, format="svg", metadata={"Date": None})
            options = scour.parse_args(["--enable-id-stripping", "--shorten-ids", "--remove-metadata", "--indent=none"])
            svg.write_text(scour.scourString(drawn.getvalue(), options), encoding="utf-8")
            words.write_text(self._caption(caption), encoding="utf-8")

    def save_table(self, table: pd.DataFrame, caption: str, words: Iterable[str] = ()) -> None:
        """Write `tables/<script>.caption.md`, `.csv` and `.md` of a table of texts: all of them, or none.

        The first column and those named in `words` are aligned left, so that long texts wrap; the others right.
        """
        with contextlib.ExitStack() as stack:
            paths = [stack.enter_context(artefacts.atomic(self._output(f))) for f in ("md", "csv", "caption.md")]
            align = ["left" if n == 0 or name in words else "right" for n, name in enumerate(table.columns)]
            markdown = table.to_markdown(index=False, disable_numparse=True, colalign=align)
            paths[0].write_text(markdown + "\n", encoding="utf-8")
            table.to_csv(paths[1], index=False)
            paths[2].write_text(self._caption(caption), encoding="utf-8")

    def _output(self, suffix: str) -> Path:
        return self.build.root / self.script.parent / f"{self.script.stem}.{suffix}"

    def _caption(self, caption: str) -> str:
        """The caption on one line, with its source. Raises StudyError where it does not say what the data are."""
        caption = " ".join(caption.split())
        if self.data_phrase not in caption:
            raise StudyError(f"the caption of {self.script} does not say what the data are ({self.data_phrase})")
        return f"{caption} Source: `{self.script}`.\n"


def study(script: str, on_data: bool = False) -> Study:
    """Open the study for `script`, a path in the repository such as "figures/performance.py".

    With `on_data` the script is about a folder of real data beside the edition, whose results have their own build;
    `study.edition` is then the study of the edition itself.
    """
    config = load(os.environ.get("SYNAPSE_EI_CONFIG", "demo"), os.environ.get("SYNAPSE_EI_DATA"))
    build = artefacts.Build(config.name, os.environ.get("SYNAPSE_EI_BUILD", "build"))
    opened = edition = Study(config, build, Path(script))
    if on_data:
        if config.data is None:
            raise StudyError(f"{script} is about a folder of real data: set SYNAPSE_EI_DATA to it")
        opened = Study(config, build.on(config.data), Path(script), edition)
    for path in opened.outputs():
        path.unlink()
    return opened
