"""A run through failing requests and kills ends with the bytes of a clean one; `soak.py` runs it at full size."""

from soak import check, soak


def test_extraction_survives_failing_requests_and_kills(tmp_path):
    n_synapses = 100
    check(soak(tmp_path, n_synapses, worker_kills=2, client_kills=1), n_synapses)
