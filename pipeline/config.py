"""The typed configuration: one YAML file of `configs/` per edition of the paper.

Every default is stated here once; a YAML file says only where its edition differs. Unknown keys raise, so a
misspelt setting can never be silently ignored.
"""

from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

CONFIG_DIR = Path(__file__).parent / "configs"


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names the file, the key and what to do."""


class Section(pydantic.BaseModel):
    """Base of every section: immutable, and closed to unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


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
    attempts: int = pydantic.Field(5, ge=1)
    backoff_s: float = pydantic.Field(1.0, ge=0)  # pause before the second attempt; doubles from there
    ids_per_query: int = pydantic.Field(500, ge=1)
    row_cap: int = pydantic.Field(200_000, ge=1)  # of the server, in case its warning is lost on the way


class Simulated(Section):
    """Simulated neuropil, written to `build/<config>/source` and served by the loopback sandbox."""

    kind: Literal["simulated"]
    datastack: str = "simulated_neuropil"
    materialization_version: int = 1300
    tables: Tables = Tables()
    query: Query = Query()
    size_um: tuple[float, float, float] = (12.032, 12.032, 6.4)  # XYZ; whole blocks of 8 pixels, as JPEG has
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
    """A folder of precomputed volumes with a `synapses.csv`; its path comes from the command line (`--data`)."""

    kind: Literal["folder"]
    path: Path | None = None


class Cohort(Section):
    """Which synapses are used, and how neurons are split; see `pipeline.cohort`."""

    proofread_axons_only: bool = True
    max_synapses_per_neuron: int | None = pydantic.Field(None, ge=1)
    split: Literal["neurons", "all_test"] = "neurons"
    val_fraction: float = pydantic.Field(0.15, gt=0, lt=1)
    test_fraction: float = pydantic.Field(0.25, gt=0, lt=1)
    n_folds: int = pydantic.Field(5, ge=2)

    @pydantic.model_validator(mode="after")
    def _something_to_train_on(self):
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction together must stay below 1")
        return self


class Extract(Section):
    """Geometry of patches and cubes, in the model's voxels; see `pipeline.extract`."""

    voxel_nm: tuple[float, float, float] = (8.0, 8.0, 40.0)  # XYZ
    patch_px: int = pydantic.Field(256, ge=16)  # side of the square 2D patch
    cube_zyx: tuple[int, int, int] = (32, 128, 128)
    edge: Literal["reflect", "drop"] = "reflect"  # boxes beyond the volume: padded and flagged, or listed and left out
    faults: Literal["raise", "list"] = "raise"  # unreadable or blank: an error at the end, or listed and left out


class Recipe(Section):
    """How a network is optimised; see `pipeline.learn.loop`."""

    learning_rate: float = pydantic.Field(1e-3, gt=0)  # peak, after the warm-up
    weight_decay: float = pydantic.Field(1e-2, ge=0)
    warmup_epochs: int = pydantic.Field(2, ge=1)
    label_smoothing: float = pydantic.Field(0.05, ge=0, lt=1)
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)
    gradient_norm: float = pydantic.Field(1.0, gt=0)  # clipped to this
    ema_decay: float = pydantic.Field(0.99, ge=0, lt=1)  # of the weights, per step, reached gradually
    patience: int = pydantic.Field(10, ge=1)  # epochs without a better validation score before stopping
    threads: int = pydantic.Field(2, ge=1)  # CPU threads of torch; fixed, since sums depend on their number


class Augmentation(Section):
    """How far training images are changed; see `pipeline.learn.augment`. Probabilities are per image."""

    shift_vx: int = pydantic.Field(4, ge=0)  # largest in-plane offset of the centre
    misalignment_vx: int = pydantic.Field(2, ge=0)  # largest offset of one section
    rotation: float = pydantic.Field(0.5, ge=0, le=1)  # probability of any angle, beside right angles for all
    scale: float = pydantic.Field(0.1, ge=0, lt=1)  # relative change of size, where rotated
    gamma: float = pydantic.Field(0.3, ge=0)  # largest absolute log2 of the exponent
    brightness: float = pydantic.Field(0.05, ge=0)  # offset per section and ramp over the field, of full scale
    contrast: float = pydantic.Field(0.1, ge=0, lt=1)  # relative, per section
    bad_section: float = pydantic.Field(0.1, ge=0, le=1)  # probability of one missing or bright section
    blur: float = pydantic.Field(0.2, ge=0, le=1)
    noise: float = pydantic.Field(0.04, ge=0)  # largest standard deviation, of full scale
    cutout: float = pydantic.Field(0.3, ge=0, le=1)


class Model(Section):
    """One entry of the list of models to train; see `pipeline.learn`."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
    network: Literal["resnet18", "unet3d"]
    trained: bool = True  # False: the control, random weights under a logistic head
    pretrained: bool = False  # start from ImageNet weights (resnet18)
    crop: tuple[int, ...] | None = None  # centre of the patch (Y, X) or cube (Z, Y, X) the network sees; None: all
    seed: int = 0
    epochs: int = pydantic.Field(30, ge=1)
    batch_size: int = pydantic.Field(32, ge=2)
    recipe: Recipe = Recipe()
    augmentation: Augmentation = Augmentation()

    @pydantic.model_validator(mode="after")
    def _network_can_do_it(self):
        axes = {"resnet18": ("Y", "X"), "unet3d": ("Z", "Y", "X")}[self.network]
        if self.crop is not None and (len(self.crop) != len(axes) or min(self.crop) < 1):
            raise ValueError(f"crop: {self.network} needs {len(axes)} positive sizes {axes}, not {self.crop}")
        if self.pretrained and self.network != "resnet18":
            raise ValueError(f"pretrained: there are no ImageNet weights of {self.network}")
        if self.pretrained and not self.trained:
            raise ValueError("pretrained: the untrained control has random weights")
        return self


class Stats(Section):
    """Resampling settings; the unit is always the presynaptic neuron."""

    n_bootstrap: int = pydantic.Field(10_000, ge=100)
    confidence: float = pydantic.Field(0.95, gt=0, lt=1)


class Compute(Section):
    """Dask workers for simulation and extraction: local processes, or an existing scheduler's address."""

    workers: int = pydantic.Field(2, ge=1)
    scheduler: str | None = None


class Config(Section):
    """A whole edition."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
    seed: int = 20260
    source: Annotated[Simulated | Cave | Folder, pydantic.Field(discriminator="kind")]
    cohort: Cohort = Cohort()
    extract: Extract = Extract()
    models: tuple[Model, ...] = ()
    stats: Stats = Stats()
    compute: Compute = Compute()

    @pydantic.model_validator(mode="after")
    def _unique_model_names(self):
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: two entries share a name, in {names}")
        return self

    def model(self, name):
        """The model entry called `name`; ConfigError lists the names there are."""
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigError(f"no model {name!r} in config {self.name!r}; it has {[m.name for m in self.models]}")


def load(name, data=None):
    """Read a configuration by its name in `configs/` or by the path of a YAML file.

    `data` is the folder of a `folder` source (the command line's `--data`). Raises ConfigError, naming the file
    and each offending key.
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
    if data is not None and isinstance(values.get("source"), dict):
        if values["source"].get("kind") != "folder":
            raise ConfigError(f"{path}: a data folder was given, but the source of this edition is not `folder`")
        values["source"]["path"] = Path(data)
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc']) or '(top)'}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join([f"{path} is not a valid configuration:", *lines])) from None
