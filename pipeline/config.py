"""The typed configuration: one YAML file of `configs/` per edition of the paper.

Every default is stated once, here and in `recipes.py`; a YAML file says only where its edition differs. Unknown keys
raise, so a misspelt setting can never be silently ignored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import pydantic
import yaml

from pipeline.errors import PipelineError
from pipeline.models.names import ASSIGNERS
from pipeline.recipes import Entry, Model, PartnerNetwork, Section

CONFIG_DIR = Path(__file__).parent / "configs"

AnyEntry = TypeVar("AnyEntry", bound=Entry)


class ConfigError(PipelineError):
    """A configuration that cannot be used; the text names the file, the key and what to do."""


class Tables(Section):
    """Names of the annotation tables; the defaults are minnie65's own, which the simulation also uses."""

    synapses: str = "synapses_pni_2"
    nuclei: str = "nucleus_detection_v0"
    aibs_columns: str = "allen_v1_column_types_slanted_ref"
    aibs_metamodel: str = "aibs_metamodel_celltypes_v661"
    baylor: str = "baylor_log_reg_cell_type_coarse_v1"
    proofreading: str = "proofreading_status_and_strategy"


class Query(Section):
    """How the annotation service is asked; see `pipeline.cave.queries`."""

    timeout_s: float = pydantic.Field(60.0, gt=0)  # silence after which a request counts as lost
    attempts: int = pydantic.Field(8, ge=1)  # with their pauses, enough for an outage of two minutes
    backoff_s: float = pydantic.Field(1.0, ge=0)  # pause before the second attempt; doubles from there
    ids_per_query: int = pydantic.Field(500, ge=1)  # at most; queries begin with fewer
    row_cap: int = pydantic.Field(200_000, ge=1)  # of the server, in case its warning is lost on the way


class Simulated(Section):
    """Simulated neuropil, written to `build/<config>/source` and served by the loopback sandbox."""

    kind: Literal["simulated"]
    datastack: str = "simulated_neuropil"
    materialization_version: int = 1300
    tables: Tables = Tables()
    query: Query = Query()
    size_um: tuple[float, float, float] = (13.248, 13.248, 6.4)  # XYZ; whole blocks of 8 pixels, as JPEG has
    n_excitatory: int = pydantic.Field(90, ge=1)  # presynaptic neurons with an axon in the volume
    n_inhibitory: int = pydantic.Field(45, ge=1)
    synapses_per_neuron: int = pydantic.Field(12, ge=1)  # on average


class Cave(Section):
    """A real CAVE datastack. The token is caveclient's own (its secrets file, or CAVE_TOKEN); never a setting."""

    kind: Literal["cave"]
    server_address: str = "https://global.daf-apis.com"
    datastack: str = "minnie65_public"
    materialization_version: int = 1300
    tables: Tables = Tables()
    query: Query = Query()
    max_neurons_per_class: int | None = pydantic.Field(None, ge=1)


class Folder(Section):
    """A folder of precomputed volumes with a `synapses.csv`; which one, the command line says (`--data`)."""

    kind: Literal["folder"]


class Connectome(Section):
    """A folder with `neurons.parquet` and `connections.parquet`; which one, the command line says (`--data`)."""

    kind: Literal["connectome"]


class Cohort(Section):
    """Which synapses are used, and how neurons are split; see `pipeline.cohort`."""

    proofread_axons_only: bool = True
    max_synapses_per_neuron: int | None = pydantic.Field(None, ge=1)
    split: Literal["neurons", "all_test"] = "neurons"
    val_fraction: float = pydantic.Field(0.15, gt=0, lt=1)
    test_fraction: float = pydantic.Field(0.25, gt=0, lt=1)
    n_folds: int = pydantic.Field(5, ge=2)

    @pydantic.model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction together must stay below 1")
        return self


class Transfer(Section):
    """How volumes are read over a network; see `pipeline.extract.fetch`. No pixel depends on it."""

    requests: int = pydantic.Field(32, ge=1)  # in flight, of each worker
    timeout_s: float = pydantic.Field(15.0, gt=0)  # silence after which a request counts as lost
    backoff_s: float = pydantic.Field(0.5, ge=0)  # pause before the second attempt; doubles from there
    patience_s: float = pydantic.Field(600.0, gt=0)  # without a usable answer, after which the run ends


class Extract(Section):
    """Geometry of patches and cubes, in the model's voxels; see `pipeline.extract`."""

    voxel_nm: tuple[float, float, float] = (8.0, 8.0, 40.0)  # XYZ
    patch_px: int = pydantic.Field(256, ge=16)  # side of the square 2D patch
    cube_zyx: tuple[int, int, int] = (32, 128, 128)
    edge: Literal["reflect", "drop"] = "reflect"  # boxes beyond the volume: padded and flagged, or listed and left out
    faults: Literal["raise", "list"] = "raise"  # unreadable or blank: an error at the end, or listed and left out
    transfer: Transfer = pydantic.Field(Transfer(), exclude=True)  # not part of what results are known by


class Partners(Section):
    """Synaptic partner assignment and cleft detection; see `pipeline.partners`.

    The edition's own tissue is for training and validation; the networks are tested on a tissue of their own, which is
    simulated from another seed and described by `test_tissue`.
    """

    networks: tuple[PartnerNetwork, ...] = ()  # none: the edition has no part on partners
    voxel_nm: tuple[float, float, float] = (16.0, 16.0, 40.0)  # XYZ
    patch_zyx: tuple[int, int, int] = (14, 48, 48)  # of the networks' input
    margin_vx: int = pydantic.Field(12, ge=0)  # stored around a patch in the plane, so that it can be moved and turned
    background: float = pydantic.Field(1.0, ge=0)  # training patches from random places for each cleft, for detection
    val_fraction: float = pydantic.Field(0.15, gt=0, lt=1)  # of the tissue, the end of its X axis
    dilation_nm: float = pydantic.Field(80.0, gt=0)  # candidates overlap the cleft grown by this, at most one section
    tuning_epochs: int = pydantic.Field(15, ge=1)  # on the few synapses of another volume, from trained weights
    tuning_rate: float = pydantic.Field(5e-4, gt=0)
    test_tissue: Simulated | None = None

    @pydantic.model_validator(mode="after")
    def _each_network_once(self) -> Self:
        _no_name_twice("networks", self.networks)
        names = {entry.name for entry in self.networks}
        missing = [name for name in ASSIGNERS if name not in names]
        if names and (missing or names <= {*ASSIGNERS}):
            wanted = f"{', '.join(ASSIGNERS)} and a detector (detect_...)"
            raise ValueError(f"networks: partner assignment is measured with {wanted}, not {sorted(names)} alone")
        return self

    def network(self, name: str) -> PartnerNetwork:
        """The entry called `name`; ConfigError lists the names there are."""
        return _by_name(name, self.networks, "partner network")

    def tuning(self, name: str) -> PartnerNetwork:
        """That entry for fine-tuning."""
        entry = self.network(name)
        recipe = entry.recipe.model_copy(update={"learning_rate": self.tuning_rate})
        return entry.model_copy(update={"epochs": self.tuning_epochs, "recipe": recipe})


def _no_name_twice(what: str, entries: Sequence[Entry]) -> None:
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError(f"{what}: two entries share a name, in {names}")


def _by_name(name: str, entries: Sequence[AnyEntry], what: str) -> AnyEntry:
    for entry in entries:
        if entry.name == name:
            return entry
    raise ConfigError(f"no {what} {name!r} in this configuration; it has {[entry.name for entry in entries]}")


class Stats(Section):
    """Resampling settings; the unit is always the presynaptic neuron."""

    n_bootstrap: int = pydantic.Field(10_000, ge=100)
    confidence: float = pydantic.Field(0.95, gt=0, lt=1)


class Compute(Section):
    """Dask workers for simulation and extraction: local processes, or an existing scheduler's address."""

    workers: int | None = pydantic.Field(None, ge=1)  # None: as cores and memory allow
    scheduler: str | None = None
    training_processes: int = pydantic.Field(1, ge=1)  # one a GPU, started by torchrun
    networks_at_once: int | None = pydantic.Field(None, ge=1)  # trained side by side; None: as the machine allows


class Config(Section):
    """A whole edition."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9_.-]+$")
    data: Path | None = None  # the source, or a folder of real data beside it; from the command line, never a setting
    seed: int = 20260
    source: Annotated[Simulated | Cave | Folder | Connectome, pydantic.Field(discriminator="kind")]
    cohort: Cohort = Cohort()
    extract: Extract = Extract()
    models: tuple[Model, ...] = ()
    partners: Partners = Partners()
    stats: Stats = Stats()
    compute: Compute = Compute()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _one_model_per_seed(cls, values: dict) -> dict:
        """An entry with `seeds: [0, 1]` stands for `<name>_seed0` and `<name>_seed1` of one family."""
        entries = []
        for entry in values.get("models", ()):
            if not isinstance(entry, dict) or "seeds" not in entry:
                entries.append(entry)
                continue
            rest = {key: value for key, value in entry.items() if key != "seeds"}
            family = entry.get("name")
            entries += [rest | {"name": f"{family}_seed{n}", "family": family, "seed": n} for n in entry["seeds"]]
        return values | {"models": entries}

    @pydantic.model_validator(mode="after")
    def _each_model_once(self) -> Self:
        _no_name_twice("models", self.models)
        return self

    @property
    def reads_folder(self) -> bool:
        """Whether the source is a folder that the command line names."""
        return self.source.kind in ("folder", "connectome")

    def model(self, name: str) -> Model:
        """The model entry called `name`; ConfigError lists the names there are."""
        return _by_name(name, self.models, "model")


def load(name: str | Path, data: Path | str | None = None) -> Config:
    """Read a configuration by its name in `configs/` or by the path of a YAML file.

    `data` is a folder of real data (the command line's `--data`): the source of a `folder` or `connectome` edition,
    whose results are then named by it too. Raises ConfigError, naming the file and each offending key.
    """
    path = Path(name) if str(name).endswith(".yaml") else CONFIG_DIR / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in CONFIG_DIR.glob("*.yaml"))
        raise ConfigError(f"no configuration {name!r}: {path} does not exist; shipped ones are {known}")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of settings")
    values.setdefault("name", path.stem)
    if data is not None:
        values["data"] = Path(data)
        source = values.get("source")
        if isinstance(source, dict) and source.get("kind") in ("folder", "connectome"):
            values["name"] += f"-{Path(data).resolve().name}"
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc']) or '(top)'}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join([f"{path} is not a valid configuration:", *lines])) from None
