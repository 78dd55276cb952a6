"""Answers kept on disk: what was answered before a run ended is never lost, and never asked for again."""

import json

import pandas as pd
import pytest
import requests

from pipeline.cave import CaveError, pages, queries, sandbox
from pipeline.cave.failures import Failure

NUCLEI = "nucleus_detection_v0"
METAMODEL = "aibs_metamodel_celltypes_v661"
SYNAPSES = "synapses_pni_2"
SECRET = sandbox.TOKEN


@pytest.fixture
def asked(monkeypatch):
    """The bodies of the queries that are sent, as they are sent."""
    bodies, send = [], requests.Session.send

    def recording(session, request, **options):
        if request.method == "POST":
            bodies.append(json.loads(request.body))
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", recording)
    return bodies


def ids_of(body):
    return body["filter_in_dict"][SYNAPSES]["pre_pt_root_id"]


def one_by_one(settings, n=1):
    """Settings under which each query asks for n ids, so that a run has many."""
    return settings.model_copy(update={"query": settings.query.model_copy(update={"ids_per_query": n})})


def synapses(settings, address, folder, tables):
    return queries.Annotations(settings, address, sandbox.TOKEN, folder).synapses(tables[NUCLEI].pt_root_id)


@pytest.fixture
def whole(settings, address, tables):
    return queries.Annotations(settings, address, sandbox.TOKEN).synapses(tables[NUCLEI].pt_root_id)


INTERRUPTIONS = {
    "token": ("401", "no longer accepts the CAVE token .not shown., which it accepted before: it has expired"),
    "version": ("expire", r"materialization version 1300 .* has expired; available: \[\]"),
    "server": ("503", "failed 3 times, last: the server answered 503"),
}


@pytest.mark.parametrize("what", INTERRUPTIONS)
def test_a_run_that_ends_half_way_names_the_reason_and_goes_on(
    source_dir, settings, tables, whole, tmp_path, asked, what
):
    failure, message = INTERRUPTIONS[what]
    settings = one_by_one(settings)
    with sandbox.serve(source_dir, settings) as address:
        port = int(address.rpartition(":")[2])
    fails = [Failure("/query", "delay 0", times=10), Failure("/query", failure, times=3)]
    kept = rf"rows of 10 of 24 ids are kept in {tmp_path}.*start again"
    with sandbox.serve(source_dir, settings, port, fails), pytest.raises(CaveError, match=f"{message}.*{kept}"):
        synapses(settings, address, tmp_path, tables)
    asked.clear()
    with sandbox.serve(source_dir, settings, port) as address:
        got = synapses(settings, address, tmp_path, tables)
    pd.testing.assert_frame_equal(got, whole)
    assert len(asked) == 14
    asked.clear()
    with sandbox.serve(source_dir, settings, port) as address:
        pd.testing.assert_frame_equal(synapses(settings, address, tmp_path, tables), whole)
    assert not asked


def test_pages_never_hold_the_token(settings, address, tables, tmp_path):
    service = queries.Annotations(settings, address, sandbox.TOKEN, tmp_path)
    service.synapses(tables[NUCLEI].pt_root_id)
    service.table(METAMODEL, ["target_id"], of_target=["pt_root_id"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes() or SECRET in str(path)]


def test_other_ids_columns_and_versions_have_pages_of_their_own(settings, address, tables, tmp_path, asked):
    roots = tables[NUCLEI].pt_root_id
    service = queries.Annotations(settings, address, sandbox.TOKEN, tmp_path)
    service.synapses(roots[:4])
    service.synapses(roots[2:8])
    assert [ids_of(body) for body in asked] == [roots[:4].tolist(), roots[4:8].tolist()]
    asked.clear()
    service.table(NUCLEI, ["pt_root_id"])
    service.table(NUCLEI, ["pt_root_id", "volume"])
    service.table(NUCLEI, ["pt_root_id"])
    assert len(asked) == 2


def test_only_needed_columns_are_asked_for(annotations, tables, asked):
    annotations.table(NUCLEI, ["pt_root_id"])
    annotations.table(METAMODEL, ["target_id"], of_target=["pt_root_id"])
    annotations.synapses(tables[NUCLEI].pt_root_id[:1])
    assert asked[0]["select_columns"] == ["id", "pt_root_id"]
    assert asked[1]["select_column_map"] == {METAMODEL: ["id", "target_id"], NUCLEI: ["pt_root_id"]}
    assert asked[2]["select_columns"] == queries.SYNAPSE_COLUMNS


def test_a_damaged_page_is_named(settings, address, tables, tmp_path):
    synapses(settings, address, tmp_path, tables)
    page = next(tmp_path.rglob("*.parquet"))
    page.write_bytes(page.read_bytes()[:100])
    with pytest.raises(CaveError, match=f"{page}.* is damaged .*delete it and start again"):
        synapses(settings, address, tmp_path, tables)


@pytest.mark.parametrize("failure", ["413", "500", "502", "504", "truncated", "delay 1"])
def test_what_is_too_much_for_the_server_is_asked_for_in_halves(
    settings, address, failures, tables, whole, asked, failure
):
    """A server that fails on more than three ids at once, for as long as it is asked."""
    query = settings.query.model_copy(update={"timeout_s": 0.5 if "delay" in failure else 5})
    failures += [Failure("/query", failure, times=1000, above_ids=3)]
    service = queries.Annotations(settings.model_copy(update={"query": query}), address, sandbox.TOKEN)
    pd.testing.assert_frame_equal(service.synapses(tables[NUCLEI].pt_root_id), whole)
    assert len(asked) < 30


def test_questions_start_small_and_grow(settings, address, tables, asked):
    service = queries.Annotations(settings, address, sandbox.TOKEN)
    service.synapses(range(1, 2000))
    assert [len(ids_of(body)) for body in asked] == [8, 16, 32, 64, 128, 256, 500, 500, 495]


@pytest.mark.parametrize("column", ["pre_pt_root_id", "post_pt_root_id"])
def test_ids_that_are_missing_name_their_rows(source_of, settings, tables, column):
    stored = tables[SYNAPSES].astype({column: "Int64"})
    stored.loc[[3, 7], column] = pd.NA
    with sandbox.serve(source_of({SYNAPSES: stored}), settings) as address:
        service = queries.Annotations(settings, address, sandbox.TOKEN)
        with pytest.raises(CaveError, match=f"{column} has no value in 2 of {len(stored)} rows") as caught:
            service.table(SYNAPSES, queries.SYNAPSE_COLUMNS)
    assert all(str(number) in str(caught.value) for number in stored.id[[3, 7]])


def test_two_runs_at_once_leave_every_row_once(settings, address, tables, whole, tmp_path, monkeypatch):
    """Neither sees the other's pages when it begins, and they ask for the same ids in different portions."""
    roots = tables[NUCLEI].pt_root_id
    with monkeypatch.context() as patched:
        patched.setattr(pages.Pages, "ids", lambda self: set())
        for n in (5, 7):
            queries.Annotations(one_by_one(settings, n), address, sandbox.TOKEN, tmp_path).synapses(roots)
    assert len(list(tmp_path.rglob("*.parquet"))) == 9
    pd.testing.assert_frame_equal(synapses(settings, address, tmp_path, tables), whole)


def test_a_server_that_keeps_failing_in_every_way_costs_time_alone(source_dir, settings, tables, whole, tmp_path):
    """Every second query meets another failure; the result is that of a server without any."""
    settings = settings.model_copy(update={"query": settings.query.model_copy(update={"timeout_s": 2})})
    ways = ["500", "502", "503", "504", "429", "413", "drop", "hang", "truncated", "short", "empty", "delay 3"]
    scripted = [one for way in ways for one in (Failure("/query", "delay 0"), Failure("/query", way))]
    with sandbox.serve(source_dir, settings, scripted=scripted) as address:
        got = synapses(one_by_one(settings, 2), address, tmp_path, tables)
    pd.testing.assert_frame_equal(got, whole)
    assert not sum(failure.times for failure in scripted)
