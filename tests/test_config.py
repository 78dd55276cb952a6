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


def test_a_data_folder_is_refused_where_the_source_is_not_a_folder(tmp_path):
    with pytest.raises(config.ConfigError, match="a data folder was given"):
        config.load("demo", data=tmp_path)
