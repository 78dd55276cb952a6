"""What a machine does at once, and which GPU a process takes."""

from types import SimpleNamespace

import joblib
import pytest
import torch

from pipeline.learn import device


@pytest.mark.parametrize(
    ("cores", "gpus", "gib", "expected"),
    [
        (2, 0, 0, 2),  # a laptop: one network a core
        (16, 1, 139, 5),  # one large GPU: as many as its cores can feed
        (64, 1, 139, 5),  # or as its memory holds
        (16, 1, 16, 1),
        (64, 4, 80, 12),
        (4, 8, 80, 8),  # never less than one a GPU
    ],
)
def test_networks_at_once_follow_the_machine(monkeypatch, cores, gpus, gib, expected):
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=gib * 2**30))
    assert device.networks_at_once() == expected


@pytest.mark.parametrize(("deterministic", "gpus"), [(False, 0), (True, 0), (False, 2), (True, 2)])
def test_a_gpu_is_repeatable_where_asked_for_and_a_cpu_always(monkeypatch, deterministic, gpus):
    taken, before = [], torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # put back at the end
    monkeypatch.setenv("LOCAL_RANK", "3")
    try:
        place = device.prepare(torch.get_num_threads(), deterministic)
        repeatable = torch.are_deterministic_algorithms_enabled()
        assert repeatable == (deterministic or not gpus)
        assert torch.backends.cudnn.benchmark == (not repeatable)
        assert place == (torch.device("cuda", 1) if gpus else torch.device("cpu"))  # the fourth process on two GPUs
        assert taken == [place] * (gpus > 0)
    finally:
        torch.use_deterministic_algorithms(before)
