"""Statistics of runs on real data, `paper/reference/<folder>.json`: no pixels, and how each came about."""

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from pipeline.artefacts import REPOSITORY, sha256
from pipeline.errors import PipelineError

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Count = pydantic.NonNegativeInt
Digest = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
Subset = Literal["all", "shaft"]


class ReferenceError(PipelineError):
    """A file of statistics that cannot be quoted; the text names the file, the key, and what to do."""


class _Entry(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Provenance(_Entry):
    """How statistics came about; `inputs` and `networks` hold SHA-256 by file and by name."""

    command: str
    commit: str
    finished: datetime.datetime
    python: str
    packages: dict[str, str]
    inputs: dict[str, Digest]
    networks: dict[str, Digest]


class Sample(_Entry):
    """Labelled synapses of a subset and their presynaptic neurons."""

    subset: Subset
    n_excitatory: Count
    n_excitatory_neurons: Count
    n_inhibitory: Count
    n_inhibitory_neurons: Count


class Score(_Entry):
    """ROC AUC of a score, with excitatory as the positive class, and its interval over neurons."""

    score: str
    kind: Literal["network", "control", "floor"]
    subset: Subset
    n: Count
    value: Share
    low: Share
    high: Share


class Direction(_Entry):
    """How many true pairs of partners a method directs correctly, with the interval over neurons.

    `in_sample` says that a network was tuned on these very synapses; `n_correct` counts pairs with their direction
    among all `n_synapses`, whose true pair was not always scored.
    """

    method: str
    in_sample: bool
    n_synapses: Count
    n_correct: Count
    n: Count
    n_right: Count
    value: Share
    low: Share
    high: Share


class Texture(_Entry):
    """See `stats.texture.summary`."""

    n_patches: Count
    patch_px: list[Count]
    voxel_nm: list[float]
    level: list[Share]
    grey_level: list[Count]
    frequency_per_um: list[float]
    power: list[float | None]


class Junctions(_Entry):
    """Columns of `extract.junction.profiles`."""

    label: list[Literal[0, 1]]
    distance_nm: list[float]
    grey: list[float]
    n_synapses: list[Count]


class Tissue(_Entry):
    """Statistics of one volume; `left_out` says what does not apply to it, and why."""

    sample: list[Sample]
    scores: list[Score]
    direction: list[Direction]
    texture: Texture
    junctions: Junctions | None
    left_out: dict[str, str]


class Quoted(_Entry):
    """A value and its text, as `glue.Value`."""

    value: Any
    text: str


class Statistics(_Entry):
    """A whole file: the tissues of a folder by name, or the results of `analysis/connectome.py`."""

    provenance: Provenance
    tissues: dict[str, Tissue] = {}
    connectivity: dict[str, Quoted] = {}


def load(path: Path, published: Iterable[str] = ()) -> Statistics:
    """Statistics of a file; ReferenceError where it is missing or malformed.

    `published` are model files of the repository, as paths in it. ReferenceError too where a tissue was measured with
    other files than these: its statistics are then not those of the networks that readers get.
    """
    again = f"run `make real` on the folder {path.stem} again"
    try:
        found = Statistics.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReferenceError(f"{path} cannot be read ({error.strerror}): {again}") from None
    except pydantic.ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or '(top)'}: {e['msg']}" for e in error.errors()]
        raise ReferenceError("\n".join([f"{path} holds no statistics of this version; {again}:", *lines])) from None
    if found.tissues:
        for file in published:
            name = Path(file).parent.name
            if found.provenance.networks.get(name) != sha256(REPOSITORY / file):
                raise ReferenceError(f"{path}, key provenance.networks.{name}: stale, not that of {file}; {again}")
    return found
