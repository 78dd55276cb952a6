"""Reading ahead: the order of batches, how many are in memory, and errors of the threads that read."""

import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import shards
from pipeline.learn import ahead, data

CPU = torch.device("cpu")


def test_batches_come_in_their_order_whichever_is_read_first():
    pause = np.random.default_rng(0).uniform(0, 0.01, 40)

    def read(rows):
        time.sleep(pause[rows[0]])
        return torch.from_numpy(rows)

    batches = [np.arange(n, n + 3) for n in range(37)]
    found = [stored.tolist() for stored, _ in ahead.read_ahead(read, batches, CPU)]
    assert found == [rows.tolist() for rows in batches]


def test_no_more_batches_are_in_memory_than_promised():
    begun, lock = [], threading.Lock()

    def read(rows):
        with lock:
            begun.append(rows[0])
        return rows

    for n, (rows, _) in enumerate(ahead.read_ahead(read, [np.array([n]) for n in range(50)], CPU)):
        assert rows[0] == n
        assert len(begun) <= n + 1 + ahead.AHEAD
    assert sorted(begun) == list(range(50))


def test_an_error_comes_when_its_batch_is_due_and_ends_the_reading():
    begun = []

    def read(rows):
        begun.append(rows[0])
        if rows[0] == 3:
            raise shards.ShardError("c.0.0 is damaged in row 3")
        return rows

    found = []
    with pytest.raises(shards.ShardError, match="damaged in row 3"):
        for rows, _ in ahead.read_ahead(read, [np.array([n]) for n in range(1000)], CPU):
            found.append(rows[0])
    assert found == [0, 1, 2]
    assert len(begun) <= 3 + 1 + ahead.AHEAD


def test_a_reader_that_is_given_up_leaves_no_thread_behind():
    before = threading.active_count()
    reading = ahead.read_ahead(lambda rows: rows, [np.array([n]) for n in range(1000)], CPU)
    next(reading)
    reading.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("several", [False, True])
def test_tensors_for_a_gpu_are_pinned_by_the_thread_that_read_them(monkeypatch, several):
    """Without a GPU: what would be called, and in which thread."""
    calls, place = [], torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append((device, threading.get_ident())))

    def pin(tensor):
        assert calls[-1] == (place, threading.get_ident())
        return tensor + 100

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(ahead, "READERS", 1)

    def read(rows):
        return (torch.from_numpy(rows), torch.from_numpy(-rows)) if several else torch.from_numpy(rows)

    ((found, _),) = ahead.read_ahead(read, [np.array([1, 2])], place)
    assert [part.tolist() for part in found] == [[101, 102], [99, 98]] if several else found.tolist() == [101, 102]
    assert calls[0][1] != threading.get_ident()


def test_threads_read_what_one_thread_reads(cohort):
    images = data.Images(cohort[0], "cube", pd.read_parquet(cohort[1])["synapse_id"])
    batches = np.array_split(np.random.default_rng(0).permutation(len(images)), 24)
    for rows, (found, _) in zip(batches, ahead.read_ahead(images.read, batches, CPU), strict=True):
        torch.testing.assert_close(found, images.read(rows), rtol=0, atol=0)
