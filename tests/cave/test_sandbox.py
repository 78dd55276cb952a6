"""The real, unmodified caveclient against the sandbox, call by call; values are compared with the stored tables."""

import datetime
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import caveclient
import numpy as np
import pandas as pd
import pytest
import requests

from pipeline.cave import sandbox

NUCLEI = "nucleus_detection_v0"
METAMODEL = "aibs_metamodel_celltypes_v661"
SYNAPSES = "synapses_pni_2"


def assert_same_rows(got, expected, key="id"):
    """Equal values in equal columns; the server keeps no order."""
    got = got.sort_values(key, ignore_index=True)
    expected = expected.sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(got[list(expected.columns)], expected, check_dtype=False, check_index_type=False)


def test_the_client_learns_where_everything_is(client, source_dir, address, settings):
    assert client.info.image_source() == f"precomputed://file://{source_dir}/em"
    assert client.info.segmentation_source() == f"precomputed://file://{source_dir}/segmentation"
    assert client.local_server == address
    assert list(client.info.viewer_resolution()) == [4, 4, 40]
    assert client.materialize.api_version == 3
    assert client.materialize.synapse_table == SYNAPSES
    assert client.info.get_datastacks() == [settings.datastack]


def test_versions_and_their_times(client):
    assert client.materialize.get_versions() == [1300]
    assert sorted(client.materialize.get_versions(expired=True)) == [1299, 1300]
    assert client.materialize.get_timestamp(1300) == datetime.datetime(2024, 1, 1, 8, tzinfo=datetime.UTC)
    assert client.timestamp == client.materialize.get_timestamp(1300)


def test_tables_and_their_metadata(client):
    assert {NUCLEI, METAMODEL, SYNAPSES} < set(client.materialize.get_tables())
    metadata = client.materialize.get_table_metadata(METAMODEL)
    assert metadata["reference_table"] == NUCLEI
    assert metadata["voxel_resolution"] == [4, 4, 40]


def test_a_whole_table(client, tables):
    got = client.materialize.query_table(NUCLEI, split_positions=True)
    assert_same_rows(got, tables[NUCLEI])
    assert got.pt_root_id.dtype == np.int64


def test_filters_and_columns(client, tables):
    synapses = tables[SYNAPSES]
    wanted = synapses.pre_pt_root_id.unique()[3:5]
    got = client.materialize.query_table(
        SYNAPSES,
        filter_in_dict={"pre_pt_root_id": wanted},
        filter_equal_dict={"valid": True},
        select_columns=["id", "ctr_pt_position", "size"],
        split_positions=True,
    )
    expected = synapses[synapses.pre_pt_root_id.isin(wanted)]
    columns = ["id", "ctr_pt_position_x", "ctr_pt_position_y", "ctr_pt_position_z", "size"]
    assert list(got.columns) == columns
    assert_same_rows(got, expected[columns])


def test_a_box_in_space(client, tables):
    nuclei = tables[NUCLEI]
    low, high = [1000, 1000, 1000], [100_000, 150_000, 200_000]
    got = client.materialize.query_table(NUCLEI, filter_spatial_dict={"pt_position": [low, high]}, split_positions=True)
    points = nuclei[["pt_position_x", "pt_position_y", "pt_position_z"]].to_numpy()
    expected = nuclei[((points >= low) & (points <= high)).all(axis=1)]
    assert 0 < len(expected) < len(nuclei)
    assert_same_rows(got, expected)


def test_points_in_the_resolution_that_is_asked_for(client, tables):
    got = client.materialize.query_table(NUCLEI, desired_resolution=[8, 8, 40], split_positions=True)
    got = got.set_index("id").loc[tables[NUCLEI].id]
    np.testing.assert_array_equal(got.pt_position_x, tables[NUCLEI].pt_position_x / 2)
    np.testing.assert_array_equal(got.pt_position_z, tables[NUCLEI].pt_position_z)
    assert got.attrs["dataframe_resolution"] == [8, 8, 40]


def test_a_reference_table_is_joined_with_its_target(client, tables):
    got = client.materialize.query_table(METAMODEL, split_positions=True)
    cells, nuclei = tables[METAMODEL], tables[NUCLEI]
    assert len(got) == len(cells) < len(nuclei)
    for row in got.itertuples():
        cell = cells[cells.id == row.id].iloc[0]
        nucleus = nuclei[nuclei.id == cell.target_id].iloc[0]
        assert row.id_ref == nucleus.id == row.target_id
        assert row.pt_root_id == nucleus.pt_root_id
        assert row.pt_position_y == nucleus.pt_position_y
        assert row.classification_system == cell.classification_system


def test_columns_of_both_sides_of_a_join(client, tables):
    columns = {METAMODEL: ["classification_system"], NUCLEI: ["id", "pt_root_id"]}
    got = client.materialize.query_table(METAMODEL, select_columns=columns)
    assert set(got.columns) == {"classification_system", "id_ref", "pt_root_id"}
    expected = tables[METAMODEL].merge(tables[NUCLEI], left_on="target_id", right_on="id", suffixes=("", "_ref"))
    assert_same_rows(got, expected[["classification_system", "id_ref", "pt_root_id"]], key="id_ref")


def test_synapse_query_drops_autapses(client, tables):
    synapses = tables[SYNAPSES]
    root = synapses.pre_pt_root_id[synapses.pre_pt_root_id == synapses.post_pt_root_id].iloc[0]
    got = client.materialize.synapse_query(pre_ids=int(root), split_positions=True)
    expected = synapses[(synapses.pre_pt_root_id == root) & (synapses.post_pt_root_id != root)]
    assert_same_rows(got, expected)


def test_the_row_cap_is_announced_in_a_header_only(source_dir, settings, caplog):
    with sandbox.serve(source_dir, settings, row_cap=7) as address:
        client = caveclient.CAVEclient(settings.datastack, address, auth_token=sandbox.TOKEN, write_server_cache=False)
        client.version = settings.materialization_version
        assert len(client.materialize.query_table(SYNAPSES)) == 7
    assert "Limited query to 7 rows" in caplog.text


def test_paging_by_offset_does_not_work_as_on_the_real_server(client, tables):
    pages = [client.materialize.query_table(SYNAPSES, offset=start, limit=100) for start in range(0, 400, 100)]
    assert all(len(page) == 100 for page in pages)
    assert pd.concat(pages).id.duplicated().any()


@pytest.mark.parametrize("token", [None, "wrong-token"])
def test_without_its_token_the_server_says_nothing(address, token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for path in ("/info/version", "/info/api/v2/datastacks", "/materialize/api/versions"):
        assert requests.get(address + path, headers=headers, timeout=5).status_code == 401
    assert requests.get(address + "/info/version", cookies={"middle_auth_token": sandbox.TOKEN}, timeout=5).ok


def test_expired_versions_and_unknown_names_are_refused(client):
    for arguments, status in (
        ({"table": SYNAPSES, "materialization_version": 1299}, 410),
        ({"table": SYNAPSES, "materialization_version": 12}, 404),
        ({"table": "synapses", "merge_reference": False}, 404),
        ({"table": SYNAPSES, "filter_in_dict": {"colour": [1]}}, 400),
        ({"table": SYNAPSES, "filter_regex_dict": {"id": "1"}}, 400),
    ):
        with pytest.raises(requests.HTTPError) as caught:
            client.materialize.query_table(**arguments, metadata=False)
        assert caught.value.response.status_code == status


def test_only_loopback_is_served(address):
    """Were the server bound to all interfaces, 127.0.0.2 would reach it."""
    url = urlparse(address)
    assert url.hostname == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", url.port), timeout=5)


def test_the_server_ends_with_its_context(source_dir, settings):
    with sandbox.serve(source_dir, settings) as address:
        pass
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=5)


def test_a_source_that_was_never_simulated(tmp_path, settings):
    with pytest.raises(FileNotFoundError, match="simulate the source first"), sandbox.serve(tmp_path, settings):
        pass


def test_the_printed_instructions_work(source_dir):
    """What `run` prints is Python that connects."""
    code = (
        "import sys; from pipeline import config; from pipeline.cave import sandbox;"
        "sandbox.run(sys.argv[1], config.Simulated(kind='simulated'), 0)"
    )
    command = [sys.executable, "-c", code, str(source_dir)]
    repository = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository, env=dict(os.environ)) as server:
        try:
            lines = [server.stdout.readline() for _ in range(8)]
            script = "\n".join(line.removeprefix("  ") for line in lines if line.startswith("  "))
            scope = {}
            exec(script, scope)
            assert scope["client"].version == 1300
        finally:
            server.terminate()
