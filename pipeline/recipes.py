"""How networks are trained: the entries of an edition's lists of classifiers and of partner networks.

Apart from `pipeline.config`, so that training does not depend on the settings of other stages.
"""

from pathlib import Path
from typing import Any, Literal, Self

import pydantic
import yaml

from pipeline.models.names import ANY_CHANNELS, DIMENSIONS, PARTNER_NETWORKS, PUBLISHED, stored_as

PRESET_DIR = Path(__file__).parent / "configs" / "presets"


class Section(pydantic.BaseModel):
    """Base of every section: immutable, and closed to unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Recipe(Section):
    """How a network is optimised; see `pipeline.learn.engine`."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = pydantic.Field(1e-3, gt=0)  # peak
    schedule: Literal["cosine", "constant", "halved"] = "cosine"  # after the warm-up, per step
    warmup_epochs: int = pydantic.Field(2, ge=0)
    weight_decay: float = pydantic.Field(1e-2, ge=0)
    gradient_norm: float | None = pydantic.Field(1.0, gt=0)  # clipped to this
    ema_decay: float = pydantic.Field(0.99, ge=0, lt=1)  # of the weights, per step, reached gradually; 0: no average
    patience: int | None = pydantic.Field(10, ge=1)  # epochs without a better validation score before stopping
    threads: int = pydantic.Field(1, ge=1)  # CPU threads of torch; fixed, since sums depend on their number
    deterministic: bool = False  # on a GPU, at a cost in speed, the same bytes every time, as on a CPU anyhow


class ClassifierRecipe(Recipe):
    """How a classifier is optimised; see `pipeline.learn.classification`."""

    encoder_learning_rate: float | None = pydantic.Field(None, gt=0)  # peak below the head; None: the same
    head_epochs: int = pydantic.Field(0, ge=0)  # first epochs, in which the encoder is frozen
    loss: Literal["cross_entropy", "balanced_bce", "focal"] = "cross_entropy"
    focal_gamma: float = pydantic.Field(2.0, ge=0)  # Lin et al. 2017; so is alpha
    focal_alpha: float | None = pydantic.Field(0.25, gt=0, lt=1)  # weight of excitatory examples; None: no weights
    label_smoothing: float = pydantic.Field(0.05, ge=0, lt=1)
    sampling: Literal["balanced", "uniform"] = "balanced"  # by class and neuron, or every synapse once an epoch
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)


class PartnerRecipe(Recipe):
    """How a partner network is optimised: Adam, at a rate that is halved twice, over all epochs."""

    optimizer: Literal["adamw", "adam"] = "adam"
    learning_rate: float = pydantic.Field(2e-3, gt=0)
    schedule: Literal["cosine", "constant", "halved"] = "halved"
    warmup_epochs: int = pydantic.Field(0, ge=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    patience: int | None = pydantic.Field(None, ge=1)


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


class Entry(Section):
    """What classifiers and partner networks have in common: an entry of a list of networks to train."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
    epochs: int = pydantic.Field(ge=1)
    batch_size: int = pydantic.Field(ge=2)
    recipe: Recipe
    augmentation: Augmentation = Augmentation()


class Model(Entry):
    """A classifier; see `pipeline.learn`.

    `preset` names a file of `configs/presets`, whose settings hold wherever the entry does not give its own.
    """

    preset: str | None = None
    family: str | None = None  # the entry that this is one seed of
    network: Literal[tuple(DIMENSIONS)]  # type: ignore[valid-type]
    trained: bool = True  # False: the control, random weights under a logistic head
    pretrained: bool = False  # start from ImageNet (2D) or Kinetics-400 (r3d_18, mc3_18, r2plus1d_18) weights
    norm: Literal["batch", "group"] | None = None  # None: the network's own
    sections: int = pydantic.Field(1, ge=1)  # 2D networks: neighbouring sections, as channels ("2.5D" where several)
    crop: tuple[int, ...] | None = None  # centre (Y, X), or (Z, Y, X) in 3D, that the network sees; None: all
    channels: tuple[Literal["em", "presynaptic"], ...] = ("em",)  # presynaptic: the mask of that partner, by AVAN
    train_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the training neurons of each class: a learning curve
    folds: bool = False  # a network per fold, each neuron predicted by the one that never saw it
    seed: int = 0
    epochs: int = pydantic.Field(30, ge=1)
    batch_size: int = pydantic.Field(32, ge=2)
    recipe: ClassifierRecipe = ClassifierRecipe()

    @property
    def dimensions(self) -> int:
        """Axes of the images: 2 or 3."""
        return DIMENSIONS[self.network]

    @property
    def reads_mask(self) -> bool:
        return len(self.channels) > 1

    @property
    def array(self) -> str:
        """The array of `patches/` that the network reads: `patch` or `cube`."""
        return stored_as(self.network, self.sections, self.channels)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
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
    def _network_can_do_it(self) -> Self:
        flat = self.dimensions == 2
        axes = ("Y", "X") if flat else ("Z", "Y", "X")
        if self.crop is not None and (len(self.crop) != len(axes) or min(self.crop) < 1):
            raise ValueError(f"crop: {self.network} needs {len(axes)} positive sizes {axes}, not {self.crop}")
        if self.sections > 1 and not flat:
            raise ValueError(f"sections: {self.network} reads cubes; their depth is the first size of `crop`")
        if self.pretrained and self.network not in PUBLISHED:
            raise ValueError(f"pretrained: there are no published weights of {self.network}")
        if self.pretrained and self.norm == "group":
            raise ValueError("pretrained: the published weights belong to batch normalisation")
        if self.pretrained and not self.trained:
            raise ValueError("pretrained: the untrained control has random weights")
        if self.channels not in (("em",), ("em", "presynaptic")):
            raise ValueError(f"channels: [em] or [em, presynaptic], not {list(self.channels)}")
        if self.reads_mask and (self.network not in ANY_CHANNELS or self.pretrained):
            raise ValueError(f"channels: only {', '.join(ANY_CHANNELS)} read a mask, and from random weights")
        if self.reads_mask and (self.augmentation.mixup_alpha or self.augmentation.cutmix_alpha):
            raise ValueError("channels: MixUp and CutMix mix images alone; set their alpha to 0")
        if self.train_share < 1 and self.folds:
            raise ValueError("train_share: a cross-validated model trains on all neurons of the other folds")
        if self.recipe.head_epochs >= self.epochs:
            raise ValueError("recipe.head_epochs: at least one epoch must train the whole network")
        return self


class PartnerNetwork(Entry):
    """A network of partner assignment or cleft detection, by its name; see `pipeline.partners.model`."""

    name: Literal[PARTNER_NETWORKS]  # type: ignore[valid-type]
    width: int = pydantic.Field(12, ge=4)  # channels of the first level; doubles with each
    epochs: int = pydantic.Field(6, ge=1)
    batch_size: int = pydantic.Field(8, ge=2)
    recipe: PartnerRecipe = PartnerRecipe()
