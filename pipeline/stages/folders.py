"""What several stages read of a folder: anybody's volumes and synapses, and a simulated tissue's truth."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artefacts
from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.stages import StageError

if TYPE_CHECKING:
    import pandas as pd


def read_synapses(volumes: Path, csv: Path, needed: Sequence[str] = ()) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Synapses of a CSV file in the frame of `<volumes>/em` at its finest resolution, and the `volume.json` entry.

    `needed` are optional columns that this file must have.
    """
    from pipeline.cohort import folder
    from pipeline.extract.volume import Volume

    check_precomputed(volumes / "em")
    em_path = f"precomputed://file://{volumes.resolve() / 'em'}"
    finest = Volume(em_path, (0.0, 0.0, 0.0)).frame
    return folder.read(csv, finest, needed), {"kind": "folder", "em_path": em_path, "datastack": volumes.resolve().name}


def volumes(folder: Path) -> dict[str, str]:
    """Paths of the precomputed volumes of a folder: `em`, `segmentation` and, where there is one, `clefts`.

    StageError where one of the first two is missing, and for what is there but cannot be read.
    """
    folder = folder.resolve()
    names = [name for name in ("em", "segmentation", "clefts") if (folder / name).exists()]
    if missing := {"em", "segmentation"} - set(names):
        raise StageError(f"{folder} has no precomputed volume {sorted(missing)[0]}/: partners need it")
    for name in names:
        check_precomputed(folder / name)
    return {name: f"precomputed://file://{folder / name}" for name in names}


def check_precomputed(folder: Path) -> None:
    """StageError unless a folder says of itself that it is a precomputed volume."""
    try:
        described = artefacts.read_json(folder / "info")
    except OSError as error:
        raise StageError(f"no precomputed volume at {folder}: its `info` cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise StageError(f"no precomputed volume at {folder}: its `info` is not JSON ({error})") from None
    if not isinstance(described, dict) or not described.get("scales"):
        raise StageError(f"no precomputed volume at {folder}: its `info` names no scales")


def check_output(out: Path) -> None:
    """StageError where the Parquet file `out` cannot be written, found out before hours of work."""
    if out.suffix != ".parquet":
        raise StageError(f"--out {out}: a Parquet file is written; let its name end in .parquet")
    if out.is_dir():
        raise StageError(f"--out {out} is a folder; name a file")
    _check_writable(out)


def check_new_folder(out: Path) -> None:
    """StageError where the folder `out` exists, so that nothing is overwritten, or cannot be written."""
    if out.exists():
        raise StageError(f"--out {out} exists; name a new folder")
    _check_writable(out)


def _check_writable(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise StageError(f"cannot write {out}: {error.strerror}") from None


def true_clefts(source: Path) -> "pd.DataFrame":
    """Clefts of a simulated tissue with their true partners, whose segments have the ids of their neurons."""
    import pandas as pd

    table = pd.read_parquet(source / "truth" / "synapses.parquet")
    names = dict(zip(("pre_neuron_id", "post_neuron_id"), PARTNER_SEGMENTS, strict=True))
    table = table.rename(columns=names).astype(dict.fromkeys(PARTNER_SEGMENTS, "uint64"))
    return table[["synapse_id", *CENTER_NM, *PARTNER_SEGMENTS]]


def known_partners(folder: Path) -> "pd.DataFrame":
    """The synapses of a folder with their partners' segments and `z_vx`; StageError where these are not all known."""
    import numpy as np
    import pandas as pd

    from pipeline.cohort import folder as reader
    from pipeline.extract.volume import Volume

    path, frame = folder / "synapses.csv", Volume(volumes(folder)["em"], (0.0, 0.0, 0.0)).frame
    table = reader.points(path, frame)
    table["z_vx"] = frame.to_vx(table[CENTER_NM])[:, 2]
    cells = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=str.strip)
    cells = cells[cells["synapse_id"].str.strip() != ""].set_index("synapse_id")  # a line of commas is a blank one
    cells.index = cells.index.astype("int64")
    for column in PARTNER_SEGMENTS:
        if column not in cells:
            raise StageError(f"{path} has no column {column}; the true partners of its synapses must be known")
        for synapse, cell in cells[column].items():
            if not (cell.strip().isdecimal() and 0 < int(cell) < 2**64):
                raise StageError(f"{path}, synapse {synapse}, column {column}: {cell!r} is no segment's id")
        table[column] = np.array([int(cells.at[synapse, column]) for synapse in table["synapse_id"]], np.uint64)
    return table
