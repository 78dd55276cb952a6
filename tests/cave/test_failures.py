"""What the sandbox does when told to fail, seen by plain HTTP requests rather than by the client that must bear it."""

import json
import time

import pyarrow as pa
import pytest
import requests

from pipeline.cave import sandbox
from pipeline.cave.failures import KINDS, Failure

SYNAPSES = "synapses_pni_2"


@pytest.fixture
def ask(address, settings):
    """A function that asks for the synapses of some neurons; returns the response."""
    place = f"datastack/{settings.datastack}/version/{settings.materialization_version}/table/{SYNAPSES}/query"

    def ask(ids=(), timeout=5):
        body = {"filter_in_dict": {SYNAPSES: {"pre_pt_root_id": list(ids)}}} if ids else {}
        headers = {"Authorization": f"Bearer {sandbox.TOKEN}"}
        url = f"{address}/materialize/api/v3/{place}"
        return requests.post(url, data=json.dumps(body), headers=headers, timeout=timeout)

    return ask


def n_rows(response):
    return len(pa.ipc.open_stream(response.content).read_pandas())


@pytest.fixture
def n_all(ask):
    return n_rows(ask())


def test_a_status_with_and_without_the_time_to_wait(ask, failures, n_all):
    failures += [Failure("/query", "503"), Failure("/query", "429 7")]
    first, second = ask(), ask()
    assert (first.status_code, first.headers.get("Retry-After")) == (503, None)
    assert (second.status_code, second.headers["Retry-After"]) == (429, "7")
    assert n_rows(ask()) == n_all


def test_terms(ask, failures):
    failures += [Failure("/query", "terms")]
    assert ask().json()["error"] == "missing_tos"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("drop", requests.ConnectionError),
        ("hang", requests.Timeout),
        ("delay 0.6", requests.Timeout),
        ("truncated", requests.exceptions.ChunkedEncodingError),
    ],
)
def test_answers_that_never_come_whole(ask, failures, n_all, what, error):
    failures += [Failure("/query", what)]
    with pytest.raises(error):
        ask(timeout=0.3)
    assert n_rows(ask()) == n_all


def test_a_delay_is_as_long_as_it_says(ask, failures, n_all):
    failures += [Failure("/query", "delay 0.4")]
    started = time.monotonic()
    assert n_rows(ask()) == n_all
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize(("what", "share"), [("short", 0.5), ("empty", 0)])
def test_bodies_that_pass_for_whole(ask, failures, what, share):
    whole = len(ask().content)
    failures += [Failure("/query", what)]
    assert len(ask().content) == int(share * whole)


def test_caps_on_rows(ask, failures):
    failures += [Failure("/query", "cap 7"), Failure("/query", "silent cap 5")]
    announced, silent = ask(), ask()
    assert (n_rows(announced), n_rows(silent)) == (7, 5)
    assert "Limited query to 7 rows" in announced.headers["Warning"]
    assert "Warning" not in silent.headers


def test_rows_nobody_asked_for(ask, failures, tables, n_all):
    failures += [Failure("/query", "unfiltered")]
    one = [int(tables[SYNAPSES].pre_pt_root_id[0])]
    assert n_rows(ask(one)) == n_all
    assert n_rows(ask(one)) < n_all


def test_a_version_that_expires_stays_expired(source_dir, settings):
    with sandbox.serve(source_dir, settings, scripted=[Failure("/query", "expire")]) as address:
        headers = {"Authorization": f"Bearer {sandbox.TOKEN}"}
        base = f"{address}/materialize/api/v3/datastack/{settings.datastack}"
        url = f"{base}/version/{settings.materialization_version}/table/{SYNAPSES}/query"
        states = [requests.post(url, data="{}", headers=headers, timeout=5).status_code for _ in range(2)]
        assert states == [410, 410]
        assert requests.get(f"{base}/versions", headers=headers, timeout=5).json() == []


def test_failures_come_in_their_order_as_often_as_told_and_where_they_apply(ask, failures):
    failures += [Failure("/metadata", "500"), Failure("/query", "502", 2), Failure("/query", "413", 9, above_ids=3)]
    few, many = [1, 2, 3], [1, 2, 3, 4]
    assert [ask(ids).status_code for ids in (few, many, few, many, many)] == [502, 502, 200, 413, 413]


@pytest.mark.parametrize("what", ["explode", "", "5", "delay", "delay x", "cap", "cap -1"])
def test_what_is_no_failure_is_refused(what):
    with pytest.raises(ValueError, match=f"no failure '{what}'; there are: <status>, terms, delay <s>"):
        Failure("/query", what)


def test_every_kind_can_be_made():
    for kind in KINDS:
        Failure("/query", kind.replace("<status>", "503").replace("<s>", "1.5").replace("<n>", "10"))
