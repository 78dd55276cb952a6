"""Hand-made annotation tables whose every value is known, a sandbox that serves them, and the real client."""

import json

import caveclient
import numpy as np
import pandas as pd
import pytest

from pipeline import config
from pipeline.cave import queries, sandbox

ROOT = 864_691_135_000_000_001  # of the size of minnie65's root ids: above 2^53, odd, so that a float would change it
N_NEURONS = 24
SYNAPSES_EACH = 20
NUCLEI = "nucleus_detection_v0"
METAMODEL = "aibs_metamodel_celltypes_v661"
COLUMN = "allen_v1_column_types_slanted_ref"
BAYLOR = "baylor_log_reg_cell_type_coarse_v1"
PROOFREADING = "proofreading_status_and_strategy"
SYNAPSES = "synapses_pni_2"


@pytest.fixture(scope="session")
def tables():
    """`{name: DataFrame}` as stored; synapse 0 lies at a position whose nanometres are known from MICrONS."""
    rng = np.random.default_rng(1)
    created = pd.Timestamp("2024-01-01", tz="UTC")
    roots = ROOT + 2 * np.arange(N_NEURONS)
    nuclei = pd.DataFrame({"id": 200_000 + np.arange(N_NEURONS), "created": created, "valid": True})
    nuclei["volume"] = rng.uniform(200, 300, N_NEURONS)
    nuclei["pt_root_id"] = roots
    for axis in "xyz":
        nuclei[f"pt_position_{axis}"] = rng.integers(1000, 200_000, N_NEURONS)
    cells = pd.DataFrame({"id": 7 + np.arange(N_NEURONS - 4), "created": created, "valid": True})
    cells["target_id"] = nuclei.id.iloc[: N_NEURONS - 4]
    cells["classification_system"] = np.where(np.arange(len(cells)) % 3 == 0, "inhibitory_neuron", "excitatory_neuron")
    cells["cell_type"] = None
    column = cells[:0].astype({"cell_type": object})
    baylor = cells.assign(
        classification_system="baylor_log_reg_cell_type_coarse",
        cell_type=cells.classification_system.str.removesuffix("_neuron"),
    )
    proofreading = nuclei.drop(columns="volume").assign(status_axon="t", valid_id=roots)
    n = N_NEURONS * SYNAPSES_EACH
    synapses = pd.DataFrame({"id": 2**53 + 1 + 2 * rng.permutation(n), "created": created, "valid": True})
    synapses["pre_pt_root_id"] = np.repeat(roots, SYNAPSES_EACH)
    synapses["post_pt_root_id"] = rng.permutation(synapses.pre_pt_root_id)
    for point in ("pre_pt", "ctr_pt", "post_pt"):
        for axis in "xyz":
            synapses[f"{point}_position_{axis}"] = rng.integers(1000, 200_000, n)
    synapses.loc[0, ["ctr_pt_position_x", "ctr_pt_position_y", "ctr_pt_position_z"]] = 240_640, 207_872, 21_360
    synapses["size"] = rng.integers(50, 5000, n)
    types = {METAMODEL: cells, COLUMN: column, BAYLOR: baylor}
    return {NUCLEI: nuclei, **types, PROOFREADING: proofreading, SYNAPSES: synapses}


@pytest.fixture(scope="session")
def source_of(tmp_path_factory):
    """A function that stores `{name: DataFrame}` as a source folder for the sandbox, and returns the folder."""

    def store(tables, voxel_resolution=(4, 4, 40)):
        folder = tmp_path_factory.mktemp("source")
        (folder / "tables").mkdir()
        metadata = {}
        for name, table in tables.items():
            table.to_parquet(folder / "tables" / f"{name}.parquet", index=False)
            reference = NUCLEI if name in (METAMODEL, COLUMN, BAYLOR) else None
            metadata[name] = {"reference_table": reference, "voxel_resolution": voxel_resolution}
        (folder / "tables" / "metadata.json").write_text(json.dumps(metadata))
        return folder

    return store


@pytest.fixture(scope="session")
def source_dir(source_of, tables):
    return source_of(tables)


@pytest.fixture(scope="session")
def settings():
    """Quick to give up, so that the tests of failures take no time."""
    query = config.Query(timeout_s=5, attempts=3, backoff_s=0.001)
    return config.Simulated(kind="simulated", query=query)


@pytest.fixture(scope="session")
def running(source_dir, settings):
    """`(address, failures)` of one sandbox for all tests."""
    failures = []
    with sandbox.serve(source_dir, settings, scripted=failures) as address:
        yield address, failures


@pytest.fixture
def failures(running):
    """The sandbox's script: append `Failure`s to make it fail."""
    running[1].clear()
    return running[1]


@pytest.fixture
def address(running, failures):
    return running[0]


@pytest.fixture
def annotations(settings, address):
    return queries.Annotations(settings, address, sandbox.TOKEN)


@pytest.fixture
def client(settings, address):
    """The real client, as a user would make it."""
    client = caveclient.CAVEclient(
        settings.datastack, server_address=address, auth_token=sandbox.TOKEN, write_server_cache=False
    )
    client.version = settings.materialization_version
    return client
