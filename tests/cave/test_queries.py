"""The query layer on the real client: whole results or a clear error, and never a token in any text."""

import logging
import time
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests

from pipeline import space
from pipeline.cave import CaveError, queries, sandbox
from pipeline.cave.failures import Failure

NUCLEI = "nucleus_detection_v0"
METAMODEL = "aibs_metamodel_celltypes_v661"
SYNAPSES = "synapses_pni_2"
SYNAPSES_EACH = 20
POINT = ["pt_root_id", "pt_position"]
TYPE, OF_NUCLEUS = ["target_id", "classification_system", "cell_type", "valid"], POINT
SECRET = "0123456789abcdef-a-real-users-token"


def with_query(settings, **changes):
    return settings.model_copy(update={"query": settings.query.model_copy(update=changes)})


def pending(failures):
    """How often the sandbox is still to fail."""
    return sum(failure.times for failure in failures)


def expected_synapses(tables):
    """All stored synapses as `synapses` promises them, converted here by hand (4x4x40 nm)."""
    stored = tables[SYNAPSES].sort_values("id", ignore_index=True)
    return pd.DataFrame(
        {
            "id": stored.id,
            "pre_pt_root_id": stored.pre_pt_root_id,
            "post_pt_root_id": stored.post_pt_root_id,
            "ctr_pt_x_nm": stored.ctr_pt_position_x * 4.0,
            "ctr_pt_y_nm": stored.ctr_pt_position_y * 4.0,
            "ctr_pt_z_nm": stored.ctr_pt_position_z * 40.0,
            "size": stored["size"],
        }
    )


def count_queries(monkeypatch):
    """A list that grows by one with every query that is sent."""
    sent, send = [], requests.Session.send

    def counting(session, request, **options):
        if request.method == "POST":
            sent.append(request.url)
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", counting)
    return sent


# What comes back


def test_synapses_equal_the_stored_ones_exactly(annotations, tables):
    got = annotations.synapses(tables[SYNAPSES].pre_pt_root_id)
    pd.testing.assert_frame_equal(got[list(expected_synapses(tables))], expected_synapses(tables))
    assert got.id.min() > 2**53
    assert (got.pre_pt_root_id % 2 == 1).all()  # a float would have rounded them to even


def test_the_microns_position_in_nanometres_and_in_em_voxels(annotations, tables):
    """(240640, 207872, 21360) in voxels of 4x4x40 nm is EM voxel (120320, 103936, 21360) of 8x8x40 nm."""
    synapse = tables[SYNAPSES].iloc[0]
    got = annotations.synapses([synapse.pre_pt_root_id]).set_index("id").loc[synapse.id]
    nm = got[["ctr_pt_x_nm", "ctr_pt_y_nm", "ctr_pt_z_nm"]].to_numpy(dtype=float)
    np.testing.assert_array_equal(nm, [962_560, 831_488, 854_400])
    np.testing.assert_array_equal(space.EM.to_vx(nm), [120_320, 103_936, 21_360])


def test_a_reference_table_comes_with_root_ids_and_positions(annotations, tables):
    got = annotations.table(METAMODEL, TYPE, OF_NUCLEUS)
    nuclei = tables[NUCLEI].set_index("id").loc[got.target_id]
    assert got.id.tolist() == sorted(tables[METAMODEL].id)
    np.testing.assert_array_equal(got.pt_root_id, nuclei.pt_root_id)
    np.testing.assert_array_equal(got.pt_z_nm, nuclei.pt_position_z * 40.0)
    assert got.cell_type.isna().all()
    assert got.valid.unique().tolist() == ["t"]


def test_a_table_with_voxels_of_its_own(source_of, settings, tables):
    """Nanometres follow the table's own voxel size, not minnie65's."""
    folder = source_of({NUCLEI: tables[NUCLEI]}, voxel_resolution=(8, 6, 30))
    with sandbox.serve(folder, settings) as address:
        got = queries.Annotations(settings, address, sandbox.TOKEN).table(NUCLEI, POINT)
    stored = tables[NUCLEI].sort_values("id", ignore_index=True)
    np.testing.assert_array_equal(got.pt_x_nm, stored.pt_position_x * 8.0)
    np.testing.assert_array_equal(got.pt_y_nm, stored.pt_position_y * 6.0)
    np.testing.assert_array_equal(got.pt_z_nm, stored.pt_position_z * 30.0)


def test_what_the_provenance_needs(annotations, source_dir):
    assert annotations.materialization_version == 1300
    assert annotations.timestamp == "2024-01-01T08:00:00+00:00"
    assert annotations.image_source == f"precomputed://file://{source_dir}/em"
    assert annotations.segmentation_source == f"precomputed://file://{source_dir}/segmentation"


# The row cap


@pytest.mark.parametrize("announced", [True, False])
def test_everything_comes_back_although_the_server_cuts_answers(source_dir, settings, tables, announced):
    """20 synapses per neuron and a cap of 50 rows: two neurons fit in an answer, five do not."""
    failures = [Failure("/query", "cap 50" if announced else "silent cap 50", times=1000)]
    settings = with_query(settings, ids_per_query=5, row_cap=200_000 if announced else 50)
    with sandbox.serve(source_dir, settings, scripted=failures) as address:
        annotations = queries.Annotations(settings, address, sandbox.TOKEN)
        got = annotations.synapses(tables[SYNAPSES].pre_pt_root_id)
    pd.testing.assert_frame_equal(got[list(expected_synapses(tables))], expected_synapses(tables))


def test_pages_grow_again_after_a_dense_stretch(source_of, settings, tables, monkeypatch):
    """One neuron with many synapses must not leave a thousand others to be asked for one by one."""
    dense, *others = tables[NUCLEI].pt_root_id
    synapses = tables[SYNAPSES]
    one_each = synapses[synapses.pre_pt_root_id != dense].drop_duplicates("pre_pt_root_id")
    folder = source_of({SYNAPSES: pd.concat([synapses[synapses.pre_pt_root_id == dense], one_each])})
    settings = with_query(settings, ids_per_query=16)
    with sandbox.serve(folder, settings, row_cap=21) as address:
        annotations = queries.Annotations(settings, address, sandbox.TOKEN)
        sent = count_queries(monkeypatch)
        got = annotations.synapses([dense, *others])
    assert len(got) == SYNAPSES_EACH + len(others)
    assert len(sent) < 12  # one by one they would be 24


def test_one_neuron_above_the_cap_is_named(source_dir, settings, tables):
    root = int(tables[SYNAPSES].pre_pt_root_id.iloc[0])
    with sandbox.serve(source_dir, settings, row_cap=10) as address:
        annotations = queries.Annotations(settings, address, sandbox.TOKEN)
        with pytest.raises(CaveError, match=f"pre_pt_root_id {root} alone has more than 10 rows"):
            annotations.synapses([root])
        with pytest.raises(CaveError, match=f"{NUCLEI} has more than 10 rows.*larger limit"):
            annotations.table(NUCLEI, POINT)


# A server that misbehaves


@pytest.mark.parametrize("mode", ["500", "503", "429", "truncated", "short", "empty", "drop"])
@pytest.mark.parametrize("path", [f"{SYNAPSES}/query", "/metadata"])
def test_a_passing_failure_is_outlived(annotations, failures, tables, mode, path):
    failures += [Failure(path, mode), Failure(path, mode)]
    got = annotations.synapses(tables[SYNAPSES].pre_pt_root_id)
    assert not pending(failures)
    assert len(got) == len(tables[SYNAPSES])


@pytest.mark.parametrize("path", ["/info/version", "/datastack/full", "/materialize/version", "/versions", "/tables"])
def test_a_passing_failure_while_connecting_is_outlived(settings, address, failures, path):
    failures += [Failure(path, "500"), Failure(path, "drop")]
    assert SYNAPSES in queries.Annotations(settings, address, sandbox.TOKEN).names
    assert not pending(failures)


def test_rows_that_were_not_asked_for_are_dropped(annotations, failures, tables):
    failures += [Failure("/query", "unfiltered")]
    root = tables[NUCLEI].pt_root_id.iloc[4]
    assert annotations.synapses([root]).pre_pt_root_id.unique().tolist() == [root]
    assert not pending(failures)


def test_the_pause_that_the_server_asks_for_is_kept(annotations, failures, tables):
    failures += [Failure("/query", "429 1")]
    started = time.monotonic()
    assert len(annotations.table(NUCLEI, POINT)) == len(tables[NUCLEI])
    assert time.monotonic() - started >= 1


def test_a_lasting_failure_is_an_error_that_says_so(annotations, failures, tables):
    failures += [Failure("/query", "500", times=6)]  # for 8, 4 and 2 ids, and 3 times for one
    with pytest.raises(CaveError, match=r"querying synapses_pni_2.*failed 3 times.*answered 500.*sandbox failure"):
        annotations.synapses(tables[SYNAPSES].pre_pt_root_id)
    failures += [Failure("/query", "truncated", times=3)]
    with pytest.raises(CaveError, match="cut short"):
        annotations.table(NUCLEI, POINT)


@pytest.mark.parametrize("path", ["/query", "/metadata", "/materialize/api/versions", "/info/version"])
def test_a_silent_server_meets_the_timeout(source_dir, settings, path):
    settings = with_query(settings, timeout_s=0.3, attempts=2)
    failures = [Failure(path, "hang", times=20)]
    with sandbox.serve(source_dir, settings, scripted=failures) as address:
        started = time.monotonic()
        # The list of API versions is the one request that caveclient makes outside a session and swallows errors of.
        expected = "list of API versions" if "api/versions" in path else r"no answer within 0.3 s.*timeout_s"
        with pytest.raises(CaveError, match=expected):
            queries.Annotations(settings, address, sandbox.TOKEN).table(NUCLEI, POINT)
        assert time.monotonic() - started < 5


def test_the_silent_fall_back_to_an_old_api_is_undone_or_refused(settings, address, failures):
    failures += [Failure("/materialize/api/versions", "500")]
    annotations = queries.Annotations(settings, address, sandbox.TOKEN)
    assert not pending(failures)
    assert len(annotations.table(METAMODEL, TYPE, OF_NUCLEUS))  # the old API joins in a way that the sandbox refuses
    failures += [Failure("/materialize/api/versions", "500", times=3)]
    with pytest.raises(CaveError, match="lacks version 3"):
        queries.Annotations(settings, address, sandbox.TOKEN)


@pytest.mark.parametrize("path", ["/datastack/full", "/query"])
def test_missing_terms_of_service_open_no_browser(settings, address, failures, path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    failures += [Failure(path, "terms")]
    with pytest.raises(CaveError, match="accept the terms of service.*https://example.org/terms"):
        queries.Annotations(settings, address, sandbox.TOKEN).table(NUCLEI, POINT)
    assert not opened


def test_no_server_at_all(settings):
    with pytest.raises(CaveError, match="no connection"):
        queries.Annotations(settings, "http://127.0.0.1:9", sandbox.TOKEN)


def test_requests_are_left_as_they_were(annotations, tables):
    before = requests.Session.send
    annotations.table(NUCLEI, POINT)
    with pytest.raises(CaveError):
        annotations.table("nothing", [])
    assert requests.Session.send is before


@pytest.mark.parametrize("column", ["id", "pre_pt_root_id"])
def test_ids_that_came_as_floats_are_refused(source_of, settings, tables, column):
    folder = source_of({SYNAPSES: tables[SYNAPSES].astype({column: float})})
    with (
        sandbox.serve(folder, settings) as address,
        pytest.raises(CaveError, match=f"column {column} arrived as float64"),
    ):
        queries.Annotations(settings, address, sandbox.TOKEN).table(SYNAPSES, queries.SYNAPSE_COLUMNS)


def test_repeated_ids_are_refused(source_of, settings, tables):
    nuclei = tables[NUCLEI]
    folder = source_of({NUCLEI: pd.concat([nuclei, nuclei.iloc[[5]]])})
    with (
        sandbox.serve(folder, settings) as address,
        pytest.raises(CaveError, match=f"more than once, first {nuclei.id.iloc[5]}"),
    ):
        queries.Annotations(settings, address, sandbox.TOKEN).table(NUCLEI, POINT)


# A user who errs


def test_unknown_datastack(settings, address):
    settings = settings.model_copy(update={"datastack": "simulated_neuropill"})
    with pytest.raises(CaveError, match="unknown datastack 'simulated_neuropill'; did you mean simulated_neuropil"):
        queries.Annotations(settings, address, sandbox.TOKEN)


@pytest.mark.parametrize(("version", "state"), [(1299, "has expired"), (117, "does not exist")])
def test_version_that_is_not_to_be_had(settings, address, version, state):
    settings = settings.model_copy(update={"materialization_version": version})
    with pytest.raises(CaveError, match=rf"version {version} .*{state}; available: \[1300\]"):
        queries.Annotations(settings, address, sandbox.TOKEN)


def test_unknown_table(annotations):
    with pytest.raises(CaveError, match=f"no table 'synapses_pni2'.*did you mean {SYNAPSES}"):
        annotations.table("synapses_pni2", [])


@pytest.mark.parametrize("ids", [[], [0, 5], [1.5], ["a"]])
def test_root_ids_that_are_none(annotations, ids):
    with pytest.raises(CaveError, match="positive integers, at least one"):
        annotations.synapses(ids)


# Tokens


def test_missing_token(settings, address):
    with pytest.raises(CaveError, match="no CAVE token; get one at .*CAVE_TOKEN"):
        queries.Annotations(settings, address)


def test_token_of_the_environment(settings, address, monkeypatch):
    monkeypatch.setenv("CAVE_TOKEN", sandbox.TOKEN)
    assert queries.Annotations(settings, address).timestamp


def test_token_of_caveclients_secrets_file(settings, address, monkeypatch, tmp_path):
    secrets = tmp_path / ".cloudvolume" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "cave-secret.json").write_text(f'{{"token": "{sandbox.TOKEN}"}}')
    monkeypatch.setenv("HOME", str(tmp_path))
    assert queries.Annotations(settings, address).timestamp


@pytest.mark.parametrize("token", [SECRET, f"{SECRET}\n{SECRET}", f"{SECRET} x", f" {SECRET}\n"])
def test_a_rejected_token_is_never_shown(settings, address, token, caplog, capsys):
    with caplog.at_level(logging.DEBUG), pytest.raises(CaveError, match="not shown") as caught:
        queries.Annotations(settings, address, token)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert SECRET not in shown + "".join(capsys.readouterr())
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", ["500", "403", "400"])
def test_a_token_that_the_server_repeats_is_redacted(annotations, failures, caplog, status):
    """Error texts of the server are quoted, but not the token in them."""
    failures += [Failure("/query", status, times=3)]
    with caplog.at_level(logging.DEBUG), pytest.raises(CaveError) as caught:
        annotations.table(NUCLEI, POINT)
    assert f"answered {status} (sandbox failure for Bearer [token])" in str(caught.value)
    shown = caplog.text + "".join(traceback.format_exception(caught.value))
    shown += str(vars(annotations)) + str(vars(annotations._wire))
    assert sandbox.TOKEN not in shown
    assert ("trying again" in caplog.text) == (status == "500")


def test_nothing_is_written_to_the_users_home(settings, address, monkeypatch, tmp_path, tables):
    monkeypatch.setenv("HOME", str(tmp_path))
    annotations = queries.Annotations(settings, address, sandbox.TOKEN)
    annotations.synapses(tables[NUCLEI].pt_root_id)
    annotations.table(METAMODEL, TYPE, OF_NUCLEUS)
    assert not list(Path(tmp_path).rglob("*"))
