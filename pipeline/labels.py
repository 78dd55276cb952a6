"""What figures and tables call the models of an edition and the methods of partner assignment."""

from pipeline.config import Config, Model

NETWORKS = {
    "cnn": "CNN",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "unet3d": "UNet3D",
    "r3d_18": "R3D-18",
    "mc3_18": "MC3-18",
    "r2plus1d_18": "R(2+1)D-18",
}

# Methods of partner assignment: networks, and rules without a network.
PARTNER_NETWORKS = {"avan": "AVAN", "mask_pruner": "Mask pruner", "proximity_pruner": "Proximity pruner"}
PARTNER_RULES = {
    "largest_overlap": "Rule: largest overlaps",
    "darker_is_pre": "Rule: nearest pair, darker is presynaptic",
    "random_direction": "Rule: nearest pair, random direction",
}

#: Dimensionality of a network's input: one section, several sections as channels of a 2D network, or a cube.
DIMENSIONALITIES = ("2D", "2.5D", "3D")


def families(config: Config) -> dict[str, list[Model]]:
    """`{family: its models}` in the order of the configuration: the seeds of one entry, or a single model."""
    found: dict[str, list[Model]] = {}
    for model in config.models:
        found.setdefault(model.family or model.name, []).append(model)
    return found


def of_families(config: Config) -> dict[str, str]:
    """`{family: label}`; all labels differ."""
    labels: dict[str, str] = {}
    for family, (model, *_) in families(config).items():
        label = _label(model, config)
        labels[family] = label if label not in labels.values() else f"{label}, {family}"
    return labels


def of_models(config: Config) -> dict[str, str]:
    """`{name: label}` of the models, in the order of the configuration."""
    labels = of_families(config)
    return {
        model.name: f"{labels[model.family]}, seed {model.seed}" if model.family else labels[model.name]
        for model in config.models
    }


def input_of(model: Model, config: Config) -> tuple[str, int]:
    """Dimensionality of a model's input, one of DIMENSIONALITIES, and its number of sections."""
    if model.dimensions == 3:
        return "3D", (model.crop or config.extract.cube_zyx)[0]
    return "2D" if model.sections == 1 else "2.5D", model.sections


def _label(model: Model, config: Config) -> str:
    """What distinguishes a model from the others, apart from its seed."""
    dimensionality, sections = input_of(model, config)
    own_norm = "group" if model.network == "unet3d" else "batch"
    parts = {
        f"{sections} sections": dimensionality == "2.5D",
        f"{str(model.norm).capitalize()}Norm": model.norm not in (None, own_norm),
        "pretrained": model.pretrained,
        "untrained": not model.trained,
        f"{model.train_share:.0%} of the training neurons": model.train_share < 1,
        f"{model.preset} recipe": model.preset is not None,
        "with presynaptic mask": model.reads_mask,
        "cross-validated": model.folds,
    }
    return ", ".join([NETWORKS[model.network], *(part for part, holds in parts.items() if holds)])
