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

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = pydantic.Field(1e-3, gt=0)  # peak
    encoder_learning_rate: float | None = pydantic.Field(None, gt=0)  # peak below the head; None: the same
    head_epochs: int = pydantic.Field(0, ge=0)  # first epochs, in which the encoder is frozen
    schedule: Literal["cosine", "constant"] = "cosine"  # after the warm-up, per step
    warmup_epochs: int = pydantic.Field(2, ge=0)
    weight_decay: float = pydantic.Field(1e-2, ge=0)
    loss: Literal["cross_entropy", "balanced_bce", "focal"] = "cross_entropy"
    focal_gamma: float = pydantic.Field(2.0, ge=0)  # Lin et al. 2017; so is alpha
    focal_alpha: float | None = pydantic.Field(0.25, gt=0, lt=1)  # weight of excitatory examples; None: no weights
    label_smoothing: float = pydantic.Field(0.05, ge=0, lt=1)
    sampling: Literal["balanced", "uniform"] = "balanced"  # by class and neuron, or every synapse once an epoch
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)
    gradient_norm: float | None = pydantic.Field(1.0, gt=0)  # clipped to this
    ema_decay: float = pydantic.Field(0.99, ge=0, lt=1)  # of the weights, per step, reached gradually; 0: no average
    patience: int = pydantic.Field(10, ge=1)  # epochs without a better validation score before stopping
    threads: int = pydantic.Field(1, ge=1)  # CPU threads of torch; fixed, since sums depend on their number
    compile: bool = False  # torch.compile: minutes at the start, faster steps on a GPU
    channels_last_3d: bool = False  # memory layout of cubes


class Augmentation(Section):
    """How far training images are changed; see `pipeline.learn.augment`. Probabilities are per image."""

    shift_vx: int = pydantic.Field(4, ge=0)  # largest in-plane offset of the centre
    misalignment_vx: int = pydantic.Field(2, ge=0)  # largest offset of one section
    right_angles: bool = True  # turns by right angles and mirrorings; False: mirrorings only
    rotation: float = pydantic.Field(0.5, ge=0, le=1)  # probability of any angle
    rotation_degrees: float = pydantic.Field(180.0, ge=0, le=180)  # largest angle
    scale: float = pydantic.Field(0.1, ge=0, lt=1)  # relative change of size, where rotated
    elastic: float = pydantic.Field(0.2, ge=0, le=1)  # probability of a smooth warp along the section plane
    gamma: float = pydantic.Field(0.3, ge=0)  # largest absolute log2 of the exponent
    brightness: float = pydantic.Field(0.05, ge=0)  # offset per section and ramp over the field, of full scale
    contrast: float = pydantic.Field(0.1, ge=0, lt=1)  # relative, per section
    bad_section: float = pydantic.Field(0.1, ge=0, le=1)  # probability of one missing or bright section
    blur: float = pydantic.Field(0.2, ge=0, le=1)
    noise: float = pydantic.Field(0.04, ge=0)  # largest standard deviation, of full scale
    cutout: float = pydantic.Field(0.3, ge=0, le=1)
    mixup_alpha: float = pydantic.Field(0.0, ge=0)  # of the Beta distribution (Zhang et al. 2018); 0: off
    cutmix_alpha: float = pydantic.Field(0.0, ge=0)  # likewise (Yun et al. 2019); with both, each batch draws one


#: Axes of a network's images: 2D networks read sections as channels, 3D networks read cubes.
DIMENSIONS = {"cnn": 2, "resnet18": 2, "resnet50": 2, "unet3d": 3, "r3d_18": 3, "mc3_18": 3, "r2plus1d_18": 3}

PRESET_DIR = CONFIG_DIR / "presets"


class Model(Section):
    """One entry of the list of models to train; see `pipeline.learn`.

    `preset` names a file of `configs/presets`, whose settings hold wherever the entry does not give its own.
    """

    name: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
    preset: str | None = None
    family: str | None = None  # the entry that this is one seed of
    network: Literal[tuple(DIMENSIONS)]
    trained: bool = True  # False: the control, random weights under a logistic head
    pretrained: bool = False  # start from ImageNet (2D) or Kinetics-400 (r3d_18, mc3_18, r2plus1d_18) weights
    norm: Literal["batch", "group"] | None = None  # None: the network's own
    sections: int = pydantic.Field(1, ge=1)  # 2D networks: neighbouring sections, as channels ("2.5D" where several)
    crop: tuple[int, ...] | None = None  # centre (Y, X), or (Z, Y, X) in 3D, that the network sees; None: all
    attention: bool = False  # AVAN's presynaptic mask as one more channel: attention in place of a bare image
    train_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the training neurons of each class: a learning curve
    folds: bool = False  # a network per fold, each neuron predicted by the one that never saw it
    seed: int = 0
    epochs: int = pydantic.Field(30, ge=1)
    batch_size: int = pydantic.Field(32, ge=2)
    recipe: Recipe = Recipe()
    augmentation: Augmentation = Augmentation()

    @property
    def images(self):
        """Which of the stored images the network reads: `patch`, or `cube` where it needs several sections."""
        flat = DIMENSIONS[self.network] == 2 and self.sections == 1 and not self.attention  # masks are kept as cubes
        return "patch" if flat else "cube"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values):
        if not isinstance(values, dict) or values.get("preset") is None:
            return values
        path = PRESET_DIR / f"{values['preset']}.yaml"
        if not path.is_file():
            known = sorted(known.stem for known in PRESET_DIR.glob("*.yaml"))
            raise ValueError(f"preset: no {values['preset']!r}; there are {known}")
        preset = yaml.safe_load(path.read_text())
        for section in ("recipe", "augmentation"):
            preset[section] = preset.get(section, {}) | dict(values.get(section, {}))
        return preset | {key: value for key, value in values.items() if key not in ("recipe", "augmentation")}

    @pydantic.model_validator(mode="after")
    def _network_can_do_it(self):
        flat = DIMENSIONS[self.network] == 2
        axes = ("Y", "X") if flat else ("Z", "Y", "X")
        if self.crop is not None and (len(self.crop) != len(axes) or min(self.crop) < 1):
            raise ValueError(f"crop: {self.network} needs {len(axes)} positive sizes {axes}, not {self.crop}")
        if self.sections > 1 and not flat:
            raise ValueError(f"sections: {self.network} reads cubes; their depth is the first size of `crop`")
        if self.pretrained and self.network in ("cnn", "unet3d"):
            raise ValueError(f"pretrained: there are no published weights of {self.network}")
        if self.pretrained and self.norm == "group":
            raise ValueError("pretrained: the published weights belong to batch normalisation")
        if self.pretrained and not self.trained:
            raise ValueError("pretrained: the untrained control has random weights")
        if self.attention and (self.network not in ("cnn", "unet3d", "resnet18", "resnet50") or self.pretrained):
            raise ValueError("attention: only cnn, resnet18, resnet50 and unet3d read a mask, and from random weights")
        if self.attention and (self.augmentation.mixup_alpha or self.augmentation.cutmix_alpha):
            raise ValueError("attention: MixUp and CutMix mix images alone; set their alpha to 0")
        if self.train_share < 1 and self.folds:
            raise ValueError("train_share: a cross-validated model trains on all neurons of the other folds")
        if self.recipe.head_epochs >= self.epochs:
            raise ValueError("recipe.head_epochs: at least one epoch must train the whole network")
        return self


#: What a network of `pipeline.partners` reads and tells; see `pipeline.partners.targets`.
PARTNER_NETWORKS = ("avan", "mask_pruner", "proximity_pruner", "detect_mask", "detect_stdt", "detect_proximity")


class Partners(Section):
    """Synaptic partner assignment and cleft detection; see `pipeline.partners`.

    The edition's own tissue is for training and validation; the networks are tested on a tissue of their own, which is
    simulated from another seed and described by `test_tissue`.
    """

    networks: tuple[Literal[PARTNER_NETWORKS], ...] = ()  # none: the edition has no part on partners
    voxel_nm: tuple[float, float, float] = (16.0, 16.0, 40.0)  # XYZ
    patch_zyx: tuple[int, int, int] = (14, 48, 48)  # of the networks' input
    margin_vx: int = pydantic.Field(12, ge=0)  # stored around a patch in the plane, so that it can be moved and turned
    n_background: int = pydantic.Field(200, ge=0)  # training patches anywhere, for detection
    val_fraction: float = pydantic.Field(0.15, gt=0, lt=1)  # of the tissue, the end of its X axis
    dilation_nm: float = pydantic.Field(80.0, gt=0)  # candidates overlap the cleft grown by this, at most one section
    width: int = pydantic.Field(12, ge=4)  # channels of the networks' first level; doubles with each
    epochs: int = pydantic.Field(6, ge=1)
    epochs_of: dict[
        Literal[PARTNER_NETWORKS], Annotated[int, pydantic.Field(ge=1)]
    ] = {}  # networks with another number
    batch_size: int = pydantic.Field(8, ge=1)
    learning_rate: float = pydantic.Field(2e-3, gt=0)  # Adam; halved before each of the last two fifths
    tuning_epochs: int = pydantic.Field(15, ge=1)  # on the few synapses of another volume, from trained weights
    tuning_rate: float = pydantic.Field(5e-4, gt=0)
    threads: int = pydantic.Field(1, ge=1)
    augmentation: Augmentation = Augmentation()
    test_tissue: Simulated | None = None


class Stats(Section):
    """Resampling settings; the unit is always the presynaptic neuron."""

    n_bootstrap: int = pydantic.Field(10_000, ge=100)
    confidence: float = pydantic.Field(0.95, gt=0, lt=1)


class Compute(Section):
    """Dask workers for simulation and extraction: local processes, or an existing scheduler's address."""

    workers: int = pydantic.Field(2, ge=1)
    scheduler: str | None = None
    training_processes: int = pydantic.Field(1, ge=1)  # one a GPU, started by torchrun
    networks_at_once: int = pydantic.Field(1, ge=1)  # trained side by side; on a CPU, one a core wastes least


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
    def _one_model_per_seed(cls, values):
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
    def _unique_model_names(self):
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: two entries share a name, in {names}")
        return self

    @property
    def reads_folder(self):
        """Whether the source is a folder that the command line names."""
        return self.source.kind in ("folder", "connectome")

    def model(self, name):
        """The model entry called `name`; ConfigError lists the names there are."""
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigError(f"no model {name!r} in config {self.name!r}; it has {[m.name for m in self.models]}")


def load(name, data=None):
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
