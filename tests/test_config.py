"""Configurations: every shipped one loads, and every mistake is named."""

import pytest

from pipeline import config


@pytest.mark.parametrize("path", sorted(config.CONFIG_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_load(path):
    edition = config.load(path.stem)
    assert edition.name == path.stem


def _write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: {kind: simulated, sise_um: [1, 1, 1]}", r"mine\.yaml.*\n.*source\.simulated\.sise_um: Extra inputs"),
        ("source: {kind: simulated}\nepochs: 3", r"epochs: Extra inputs"),
        ("source: {kind: minnie}", r"source: Input tag 'minnie'.*'simulated', 'cave', 'folder'"),
        ("cohort: {}", r"source: Field required"),
        ("source: {kind: simulated}\nextract: {patch_px: big}", r"extract\.patch_px: Input should be a valid integer"),
        ("source: [", r"mine\.yaml is not valid YAML"),
        ("- 1", r"mine\.yaml must hold a mapping"),
        (
            "source: {kind: simulated}\nmodels: [{name: a, network: resnet18}, {name: a, network: unet3d}]",
            r"two entries share a name",
        ),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path, text, message):
    with pytest.raises(config.ConfigError, match=f"(?s){message}"):
        config.load(_write(tmp_path, text))


def test_unknown_name_lists_the_shipped_ones():
    with pytest.raises(config.ConfigError, match=r"no configuration 'dmeo'.*'demo'"):
        config.load("dmeo")


def test_unknown_model_lists_the_edition_s_models(tmp_path):
    edition = config.load(_write(tmp_path, "source: {kind: simulated}\nmodels: [{name: a, network: resnet18}]"))
    with pytest.raises(config.ConfigError, match=r"no model 'b'.*\['a'\]"):
        edition.model("b")


def test_results_of_a_folder_are_named_by_the_folder(tmp_path):
    assert config.load("kasthuri", data=tmp_path / "ac3").name == "kasthuri-ac3"
    assert config.load("demo", data=tmp_path / "ac3").name == "demo"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{name: a, network: unet3d, crop: [64, 64]}", r"crop: unet3d needs 3 positive sizes"),
        ("{name: a, network: unet3d, sections: 5}", r"sections: unet3d reads cubes"),
        ("{name: a, network: cnn, pretrained: true}", r"no published weights of cnn"),
        ("{name: a, network: resnet50, pretrained: true, norm: group}", r"belong to batch normalisation"),
        ("{name: a, preset: team}", r"no 'team'; there are \['massoudi2026', 'team-3d', 'team-cnn', 'team-resnet'\]"),
        ("{name: a, network: cnn, epochs: 3, recipe: {head_epochs: 3}}", r"at least one epoch must train the whole"),
        ("{name: a, network: vit}", r"network: Input should be 'cnn', 'resnet18'"),
    ],
)
def test_models_that_cannot_be_are_named(tmp_path, entry, message):
    with pytest.raises(config.ConfigError, match=rf"models\.0.*{message}"):
        config.load(_write(tmp_path, f"source: {{kind: simulated}}\nmodels: [{entry}]"))


def test_presets_hold_the_published_recipes_and_yield_to_the_entry():
    """Numbers of the prior work, as its authors report them."""
    massoudi = config.Model(name="m", preset="massoudi2026")
    recipe = massoudi.recipe
    assert (massoudi.network, massoudi.pretrained, massoudi.crop, massoudi.epochs) == ("resnet50", True, (224, 224), 18)
    assert (recipe.optimizer, recipe.head_epochs, recipe.learning_rate) == ("adamw", 3, 3e-4)
    assert (recipe.encoder_learning_rate, recipe.weight_decay, recipe.patience) == (8e-5, 1e-4, 6)
    assert (recipe.label_smoothing, massoudi.augmentation.mixup_alpha) == (0.05, 0.2)
    assert (massoudi.augmentation.rotation_degrees, massoudi.augmentation.right_angles) == (15, False)
    resnet = config.Model(name="r", preset="team-resnet")
    assert (resnet.crop, resnet.epochs, resnet.batch_size, resnet.seed) == ((256, 256), 30, 32, 42)
    assert (resnet.recipe.optimizer, resnet.recipe.learning_rate, resnet.recipe.schedule) == ("adam", 5e-4, "cosine")
    cnn = config.Model(name="c", preset="team-cnn")
    assert (cnn.network, cnn.recipe.learning_rate, cnn.recipe.schedule, cnn.batch_size) == (
        "cnn",
        2.5e-4,
        "constant",
        32,
    )
    cube = config.Model(name="u", preset="team-3d")
    assert (cube.network, cube.crop, cube.norm) == ("unet3d", (24, 128, 128), "group")
    assert (cube.recipe.learning_rate, cube.recipe.weight_decay, cube.recipe.warmup_epochs) == (3e-4, 1e-4, 2)
    other = config.Model(name="f", preset="team-3d", network="r2plus1d_18", recipe={"loss": "focal"})
    assert (other.network, other.recipe.loss, other.recipe.focal_gamma, other.recipe.focal_alpha) == (
        "r2plus1d_18",
        "focal",
        2.0,
        0.25,
    )
    assert other.recipe.learning_rate == 3e-4  # the rest of the preset's recipe stays


def test_an_entry_with_seeds_is_one_model_a_seed(tmp_path):
    text = "source: {kind: simulated}\nmodels: [{name: a, network: cnn, seeds: [0, 7]}, {name: b, network: cnn}]"
    models = config.load(_write(tmp_path, text)).models
    assert [(model.name, model.family, model.seed) for model in models] == [
        ("a_seed0", "a", 0),
        ("a_seed7", "a", 7),
        ("b", None, 0),
    ]
