"""A connectome on disk, checked, and the class of its presynaptic neurons predicted from connectivity alone.

A folder with two files, whose further columns are ignored:

- `neurons.parquet`: `neuron_id`; `cell_class` (excitatory, inhibitory, nonneuron, or missing where unknown);
  `soma_{x,y,z}_nm` (missing where unknown; the columns may be absent).
- `connections.parquet`: `pre_neuron_id`, `post_neuron_id`, `n_synapses` (at least 1), one row a directed pair.

A connection is scored where the class of its presynaptic neuron is excitatory or inhibitory; others have no label.
The postsynaptic cell may be of any class, or unknown.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from pipeline import artefacts
from pipeline.connectivity import ConnectivityError, features, folds, models

log = logging.getLogger("pipeline")

N_FOLDS = 5
COLUMNS = ["pre_neuron_id", "post_neuron_id", "n_synapses", "label", "fold", "p_excitatory"]

_SOMA = [f"soma_{axis}_nm" for axis in "xyz"]
_CLASSES = ("excitatory", "inhibitory", "nonneuron")


def predict(folder: Path, out: Path, seed: int = 0) -> pd.DataFrame:
    """Write one row a scored connection, with the columns COLUMNS in the order of the file, to the Parquet file `out`.

    `p_excitatory` comes from gradient boosting of all features on the other folds. Raises ConnectivityError for files
    that cannot be used and where a class has fewer than N_FOLDS presynaptic neurons. Returns the table.
    """
    links = scored(folder, seed)
    links["p_excitatory"] = models.out_of_fold(links["label"], links["fold"], tables(links), models.boosting)
    artefacts.write_parquet(out, links[COLUMNS])
    log.info("%s: %d connections of %d neurons", out, len(links), links["pre_neuron_id"].nunique())
    return links[COLUMNS]


def scored(folder: Path, seed: int = 0) -> pd.DataFrame:
    """The connections that are scored, as links of `features`, with `label` and `fold`."""
    neurons, connections = read(folder)
    pre_class = neurons.set_index("neuron_id")["cell_class"].reindex(connections["pre_neuron_id"]).to_numpy()
    known = np.isin(pre_class, _CLASSES[:2])
    if left := int((~known).sum()):
        log.warning("%d connections are not scored: no excitatory or inhibitory presynaptic neuron is known", left)
    links = connections[known].reset_index(drop=True)
    links["label"] = (pre_class[known] == "excitatory").astype(np.int64)
    links["fold"] = folds.by_neuron(links["pre_neuron_id"], links["label"], N_FOLDS, seed)
    return features.with_neurons(links, neurons)


def tables(links: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Features of the links for the model of each fold, `{fold: DataFrame}`."""
    return {fold: features.table(links, links["fold"], hidden=fold) for fold in range(N_FOLDS)}


def per_neuron(links: pd.DataFrame) -> pd.DataFrame:
    """One row a presynaptic neuron, `pre_neuron_id, label, p_excitatory`: the mean log odds of its connections.

    The mean, not the sum: the number of an axon's connections reflects how far it was proofread.
    """
    log_odds = logit(links["p_excitatory"].clip(1e-9, 1 - 1e-9)).groupby(links["pre_neuron_id"]).mean()
    label = links.groupby("pre_neuron_id")["label"].first()
    return pd.DataFrame({"label": label, "p_excitatory": expit(log_odds)}).reset_index()


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Neurons (`neuron_id`, `cell_class`, `soma_{x,y,z}_nm`) and connections of a folder, ids exact as int64.

    Raises ConnectivityError, in whose text rows are counted from 0.
    """
    neurons = _File(Path(folder) / "neurons.parquet", ["neuron_id", "cell_class"])
    identity = neurons.integers("neuron_id")
    neurons.refuse("neuron_id", identity.duplicated(), "is there twice; a neuron has one row")
    written = neurons.rows["cell_class"].astype("string").str.strip().str.lower()
    cell_class = written.mask(written == "").astype(object).where(lambda name: name.notna(), None)
    wrong = cell_class.notna() & ~cell_class.isin(_CLASSES)
    neurons.refuse("cell_class", wrong, f"is none of {', '.join(_CLASSES)} and missing (unknown)")
    somata = {name: neurons.positions(name) for name in _SOMA}

    connections = _File(Path(folder) / "connections.parquet", COLUMNS[:3])
    pairs = pd.DataFrame({name: connections.integers(name) for name in COLUMNS[:3]})
    connections.refuse("n_synapses", pairs["n_synapses"] < 1, "is no number of synapses; a connection has at least one")
    for name in COLUMNS[:2]:
        connections.refuse(name, ~pairs[name].isin(identity), f"is no neuron_id of {neurons.path}")
    twice = pairs.duplicated(COLUMNS[:2])
    connections.refuse("post_neuron_id", twice, "is paired with this pre_neuron_id twice; a directed pair has one row")
    return pd.DataFrame({"neuron_id": identity, "cell_class": cell_class, **somata}), pairs


class _File:
    """A Parquet table whose checks raise ConnectivityError and name the first bad row."""

    def __init__(self, path: Path, required: list[str]) -> None:
        self.path = path
        if not path.is_file():
            raise ConnectivityError(f"{path} does not exist; a connectome has neurons.parquet and connections.parquet")
        try:
            # Nullable integers: pandas would otherwise turn ids beside a missing one into floats, which round them.
            rows = pd.read_parquet(path, dtype_backend="numpy_nullable")
        except pyarrow.ArrowException as error:
            raise ConnectivityError(f"{path} is no readable Parquet file: {error}") from None
        if missing := [name for name in required if name not in rows]:
            raise ConnectivityError(f"{path} lacks the columns {missing}; it has {list(rows.columns)}")
        if rows.empty:
            raise ConnectivityError(f"{path} has no rows")
        self.rows = rows.reset_index(drop=True)

    def integers(self, name: str) -> pd.Series:
        """A column of whole numbers as int64; it must be stored as integers, since floats do not hold every id."""
        column = self.rows[name]
        self.refuse(name, column.isna(), "is missing")
        if not pd.api.types.is_integer_dtype(column):
            raise ConnectivityError(
                f"{self.path}, column {name} is stored as {column.dtype}; it must hold 64-bit integers"
            )
        self.refuse(name, column > np.iinfo(np.int64).max, "does not fit a signed 64-bit integer")
        return column.astype("int64")

    def positions(self, name: str) -> np.ndarray:
        """A column of nm as floats, NaN where missing; all NaN, with a warning, where there is no such column."""
        if name not in self.rows:
            log.warning("%s has no column %s: features of soma positions are unknown", self.path, name)
            return np.full(len(self.rows), np.nan)
        if not pd.api.types.is_numeric_dtype(self.rows[name]):
            raise ConnectivityError(f"{self.path}, column {name} is stored as {self.rows[name].dtype}, not as numbers")
        values = self.rows[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        self.refuse(name, np.isinf(values), "is no position")
        return values

    def refuse(self, name: str, wrong: ArrayLike, what: str) -> None:
        """Raise for the first row where `wrong` is true, with the number of others."""
        wrong = np.asarray(wrong, dtype=bool)
        if not wrong.any():
            return
        row, others = int(wrong.argmax()), int(wrong.sum()) - 1
        more = f" (and {others} more rows)" if others else ""
        raise ConnectivityError(f"{self.path}, row {row}, column {name}: {self.rows[name][row]!s} {what}{more}")
