"""`make bench`: speed of the hot paths relative to a plain implementation, each ratio measured within one run."""

import collections
import contextlib
import functools
import importlib.util
import itertools
import json
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cloudvolume
import cloudvolume.chunks
import image_server
import numpy as np
import pandas as pd
import torch
import zarr
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from pipeline import artefacts, combined, compute, config, shards
from pipeline.columns import CENTER_NM
from pipeline.extract import patches
from pipeline.extract.volume import Volume
from pipeline.learn import ahead, checkpoint, classification, data, device, engine
from pipeline.models.names import ASSIGNERS
from pipeline.partners import candidates, model, predict, tiles
from pipeline.space import EM
from pipeline.stats import bootstrap

WIDTH = 12  # of the partner networks


def _seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def bench_bootstrap(n_models=10, n_synapses=10_000, n_neurons=100, n_replicates=10_000, n_loop=20):
    """Clustered bootstrap of all metrics on one core, relative to a loop over scikit-learn per model and replicate."""
    rng = np.random.default_rng(0)
    neuron = np.sort(rng.integers(0, n_neurons, n_synapses))
    label = (neuron % 2).astype(int)
    p = np.clip(0.5 + 0.15 * (label - 0.5) + rng.normal(0, 0.2, n_synapses), 0, 1)
    rows = pd.DataFrame({"synapse_id": range(n_synapses), "pre_neuron_id": neuron, "label": label, "p_excitatory": p})

    def loop():
        members = [np.flatnonzero(neuron == one) for one in range(n_neurons)]
        for _ in range(n_loop):
            drawn = np.concatenate([members[one] for one in rng.integers(0, n_neurons, n_neurons)])
            called = p[drawn] >= 0.5
            roc_auc_score(label[drawn], p[drawn])
            average_precision_score(label[drawn], p[drawn])
            f1_score(label[drawn], called)
            balanced_accuracy_score(label[drawn], called)

    bootstrap.intervals(rows, 0.5, 100, 0.95, 0)  # compiles
    ours = _seconds(lambda: [bootstrap.intervals(rows, 0.5, n_replicates, 0.95, 0) for _ in range(n_models)])
    ratio = _seconds(loop) / n_loop / (ours / n_models / n_replicates)
    print(
        f"clustered bootstrap, {n_replicates} replicates of {n_models} models x {n_synapses} synapses of {n_neurons} "
        f"neurons: {ours:.1f} s (at most 5 wanted), {ratio:.0f} x a scikit-learn loop (at least 100 wanted)"
    )


CHUNK = (64, 64, 64)  # XYZ, as minnie65 is stored
LATENCY_S = 0.05


def _jpeg_chunk():
    """One chunk of smoothed noise as minnie65 stores it: about 70 kB."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=CHUNK).astype(np.float32), (1.3, 1.3, 0.5))
    return cloudvolume.chunks.encode((noise / noise.std() * 30 + 128).clip(1, 255).astype(np.uint8), "jpeg")


def _info(size_vx):
    return cloudvolume.CloudVolume.create_new_info(
        1, "image", "uint8", "jpeg", [8, 8, 40], [0, 0, 0], size_vx, chunk_size=CHUNK
    )


def _serve(chunk, info, connection):
    """A process that serves a virtual volume, whose chunks are all the same."""
    described = json.dumps(info).encode()

    def source(key):
        return (described, "") if key == "info" else (chunk, "") if "/" in key else None

    with image_server.serve(source, latency_s=LATENCY_S) as server:
        connection.send(server.address)
        connection.recv()


@contextlib.contextmanager
def _served(chunk, info):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(chunk, info, theirs))
    process.start()
    yield ours.recv()
    ours.send("stop")
    process.join()


def _boxes(point, settings):
    """(low, high) of a synapse's patch and cube, XYZ voxels."""
    for z, y, x in ((1, settings.patch_px, settings.patch_px), settings.cube_zyx):
        low = point - np.array([x, y, z]) // 2
        yield low, low + [x, y, z]


def _tensorstore(path, points, settings, in_flight):
    """The boxes of all points by tensorstore alone."""
    import tensorstore

    kvstore = {"driver": "http", "base_url": path} if path.startswith("http") else path + "/"
    spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore, "fill_missing_data_reads": False}
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 512 << 20}})
    volume = tensorstore.open(spec, context=context).result()
    waiting = collections.deque()
    for point in points:
        for low, high in _boxes(point, settings):
            waiting.append(volume[tuple(map(slice, low, high))].read())
        while len(waiting) > in_flight:
            waiting.popleft().result()
    for future in waiting:
        future.result()


def _cpu_s(workers=None):
    return sum(workers.run(time.process_time).values()) if workers else time.process_time()


def _peak_gib():
    """Peak memory of this process; `getrusage` would tell its parent's where that is higher."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def _compare_reading(name, path, points, settings, n_slow):
    """Print synapses per second of all readers, each cold; the slow ones read `n_slow` of the points."""
    table = pd.DataFrame({"synapse_id": range(len(points))})
    table[CENTER_NM] = EM.to_nm(points + 0.5)
    speed, cpu_ms = {}, {}
    uncached = cloudvolume.CloudVolume(path, progress=False)
    boxes = [tuple(_boxes(point, settings)) for point in points]

    def one_by_one(read):
        for pair in boxes[:n_slow]:
            for low, high in pair:
                read(low, high)

    def timed(reader, n, function, workers=None):
        before = _cpu_s(workers)
        speed[reader] = n / _seconds(function)
        cpu_ms[reader] = 1000 * (_cpu_s(workers) - before) / n

    timed("cloud-volume", n_slow, lambda: one_by_one(lambda low, high: uncached.download(cloudvolume.Bbox(low, high))))
    with contextlib.suppress(ImportError):
        import imageryclient

        imagery = imageryclient.ImageryClient(image_source=path, segmentation=False, resolution=(8, 8, 40))
        read = functools.partial(imagery.image_cutout, mip=0)
        timed("imageryclient", n_slow, lambda: one_by_one(lambda low, high: read((low, high))))
    for in_flight in (32, 96) if importlib.util.find_spec("tensorstore") else ():
        loop = functools.partial(_tensorstore, path, points, settings, in_flight)
        timed(f"tensorstore, {in_flight} boxes in flight", len(points), loop)
    with tempfile.TemporaryDirectory() as folder, compute.workers(config.Compute()) as client:
        out = Path(folder) / "patches"
        client.run(__import__, "pipeline.extract.patches")
        extract = functools.partial(patches.extract, table, f"precomputed://{path}", settings, out, client)
        timed("ours, 2 workers", len(points), extract, client)
        peak_gib = max(client.run(_peak_gib).values())
    volume = Volume(path, settings.voxel_nm)
    touched = {tuple(low) for pair in boxes for box in pair for low, _ in volume.chunks(*box)}
    chunk = _jpeg_chunk()
    decode = functools.partial(cloudvolume.chunks.decode, chunk, "jpeg", (*CHUNK, 1), np.uint8)
    before = _cpu_s()
    for _ in range(200):
        decode()
    decode_ms = 1000 * (_cpu_s() - before) / 200 * len(touched) / len(points)
    print(f"reading, {name}: {len(touched) / len(points):.1f} distinct chunks a synapse, {decode_ms:.1f} ms to decode")
    for reader, per_s in speed.items():
        print(
            f"  {reader}: {per_s:.1f} synapses/s, {per_s / speed['cloud-volume']:.1f} x cloud-volume's uncached loop; "
            f"CPU {cpu_ms[reader]:.1f} ms a synapse, {cpu_ms[reader] / decode_ms:.1f} x decoding"
        )
    print(f"  peak memory of our workers: {peak_gib:.2f} GiB")


def bench_reading(n_file=500, n_dense=200, n_sparse=200):
    """Reading by two workers against cloud-volume, imageryclient and tensorstore, each cold."""
    rng, settings, chunk = np.random.default_rng(0), config.Extract(), _jpeg_chunk()
    margin = np.array([128, 128, 16])

    def points(n, size_vx):
        return rng.integers(margin, np.array(size_vx) - margin, (n, 3))

    with tempfile.TemporaryDirectory() as folder:
        info = _info((1024, 1024, 384))
        scale = Path(folder) / info["scales"][0]["key"]
        artefacts.write_json(Path(folder) / "info", info)
        scale.mkdir()
        for low in itertools.product(*(range(0, n, step) for n, step in zip((1024, 1024, 384), CHUNK, strict=True))):
            name = "_".join(f"{first}-{first + step}" for first, step in zip(low, CHUNK, strict=True))
            (scale / name).write_bytes(chunk)
        _compare_reading("dense file", f"file://{folder}", points(n_file, (1024, 1024, 384)), settings, 60)
    for name, size_vx, n in (("dense", (1024, 1024, 384), n_dense), ("sparse", (200_000, 180_000, 12_800), n_sparse)):
        with _served(chunk, _info(size_vx)) as address:
            at = points(n, size_vx)
            _compare_reading(f"{name} over http with {1000 * LATENCY_S:.0f} ms", address, at, settings, 15)


def _write_store(folder, n, **shapes):
    """Images of noise in the format of `patches/`: `{array: shape of an image}`."""
    rng, group = np.random.default_rng(0), zarr.create_group(folder / "images.zarr")
    for name, shape in shapes.items():
        rows = shards.rows_per_shard(shape)
        array = shards.create(group, name, (n, *shape), rows, ("synapse", *"zyx"[3 - len(shape) :]))
        for start in range(0, n, rows):
            array[start : start + rows] = rng.integers(0, 255, (min(rows, n - start), *shape), dtype=np.uint8)
    pd.DataFrame({"synapse_id": range(n), "row": range(n)}).to_parquet(folder / "index.parquet")
    artefacts.write_json(folder / "manifest.json", {"voxel_nm": [8.0, 8.0, 40.0]})


def _read_all(folder, array, shape_zyx, n, from_disk):
    """Images per second and per second of CPU time, in random order, and by how many GiB that raised peak memory."""
    images = data.Images({"em": folder}, array, range(n))
    if from_disk:
        os.sync()
        for path in (folder / "images.zarr" / array).iterdir():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    batches = np.array_split(np.random.default_rng(0).permutation(n), n // 32)
    before, cpu_s = _peak_gib(), time.process_time()
    reading = ahead.read_ahead(lambda rows: images.read(rows, shape_zyx), batches, torch.device("cpu"))
    seconds = _seconds(lambda: collections.deque(reading, maxlen=0))
    return n / seconds, n / (time.process_time() - cpu_s), _peak_gib() - before


def bench_input(n=2048):
    """Images per second of the input path alone, as training takes them: checked, cropped, in batches, in any order."""
    with tempfile.TemporaryDirectory() as folder:
        _write_store(Path(folder), n, patch=(256, 256), cube=(32, 128, 128))
        for array, stored, crop in (("patch", (1, 256, 256), (1, 224, 224)), ("cube", (32, 128, 128), (16, 96, 96))):
            for source, from_disk in (("disk", True), ("page cache", False)):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    per_s, per_cpu_s, gib = process.submit(_read_all, Path(folder), array, crop, n, from_disk).result()
                print(
                    f"input path, {stored} cropped to {crop}, from {source}, {ahead.READERS} threads: {per_s:,.0f} "
                    f"images/s, {per_cpu_s:,.0f} a second of CPU time; "
                    f"{gib:.2f} GiB more memory for a store of {n * np.prod(stored) / 2**30:.2f}"
                )


def bench_training(network, crop, n_synapses=256, n_epochs=3):
    """Our training steps, with reading, augmentation and weight averaging, relative to bare steps on data in memory."""
    model = config.Model(name="bench", network=network, crop=crop, batch_size=16)
    place = device.prepare(model.recipe.threads)
    synapses = pd.DataFrame({"synapse_id": range(n_synapses), "pre_neuron_id": np.arange(n_synapses) // 8})
    synapses["label"] = synapses["pre_neuron_id"] % 2
    with tempfile.TemporaryDirectory() as folder:
        _write_store(Path(folder), n_synapses, patch=(192, 192), cube=(16, 96, 96))
        images = data.Images({"em": Path(folder)}, model.array, synapses["synapse_id"])
        network_of_ours = classification.build(model)[0].to(place)
        task = classification.Classification(network_of_ours, images, synapses.assign(split="train"), model, seed=0)
        training = engine._Training(task, model, seed=0)
        stored = data.centre(images.read(np.arange(n_synapses)), images.input_zyx(model))
        memory = data.normalise_em(stored.float() / 255)
        memory, target = memory.to(place), torch.tensor(synapses["label"]).to(place)
        bare = classification.build(model)[0].to(place).train()
        optimizer = torch.optim.AdamW(bare.parameters())

        def bare_epoch():
            for rows in torch.randperm(n_synapses).split(model.batch_size):
                with device.autocast(place):
                    logits = bare(data.as_input(memory[rows], bare.dimensions))
                loss = torch.nn.functional.cross_entropy(logits, target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

        bare_epoch(), training.epoch()  # both warm
        plain, ours = np.median([(_seconds(bare_epoch), _seconds(training.epoch)) for _ in range(n_epochs)], axis=0)
        waiting = training.epoch()["share_waiting"]
    print(
        f"training {network} on {crop}, batch {model.batch_size}, {device.describe(place)}: {n_synapses / ours:,.1f} "
        f"images/s, {plain / ours:.2f} x a bare loop on tensors in memory; {waiting:.1%} of the time waiting for images"
    )


def _card(network):
    settings = config.Partners()
    return model.card(network, WIDTH, settings.voxel_nm, settings.patch_zyx, settings.dilation_nm)


def _clefts(card, n_clefts, n_cells=5):
    """What `predict.decisions` reads of a sample store: clefts in the middle of a crowd of cells, in noise.

    With five cells there are some 13 ordered pairs of candidates a cleft, as in the simulated tissue.
    """
    rng = np.random.default_rng(0)
    z, y, x = places = np.indices(card.shape_zyx)
    places_nm = places.reshape(3, -1).T * card.voxel_nm[::-1]
    cells = rng.uniform(places_nm.min(axis=0), places_nm.max(axis=0), (n_clefts, n_cells, 3))
    segments = [KDTree(own).query(places_nm)[1].reshape(card.shape_zyx) + 1 for own in cells]
    middle = [size // 2 for size in card.shape_zyx]
    cleft = (abs(z - middle[0]) < 3) & (abs(y - middle[1]) < 2) & (abs(x - middle[2]) < 10)
    em = rng.integers(0, 255, (n_clefts, *card.shape_zyx), dtype=np.uint8)
    arrays = em, np.broadcast_to(cleft, em.shape), np.array(segments, np.uint16)
    return SimpleNamespace(
        folder="memory",
        voxel_nm=card.voxel_nm,
        shape_zyx=card.shape_zyx,
        index=pd.DataFrame({"fault": [""] * n_clefts, "at_edge": False}),
        read=lambda rows: [array[rows] for array in arrays],
    )


def _assign(name, n_clefts):
    """Seconds for all clefts, ordered pairs per cleft, and the peak memory of this process in GiB."""
    device.prepare(threads=1)
    card = _card(name)
    network, samples = model.build(name, WIDTH).eval(), _clefts(card, n_clefts)
    predict.decisions(network, card, samples, [0])  # warm
    seconds = _seconds(lambda: predict.decisions(network, card, samples, np.arange(n_clefts)))
    _, clefts, segments = samples.read(np.arange(n_clefts))
    near = [
        candidates.segments_near(*one, card.voxel_nm, card.decision["dilation_nm"])
        for one in zip(segments, clefts, strict=True)
    ]
    n_pairs = np.mean([len(numbers) * (len(numbers) - 1) for numbers, _ in near])
    return seconds, n_pairs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def bench_assignment(n_clefts=64):
    """Clefts per second of AVAN, one pass each, and of the pruners, one pass for each ordered pair of candidates."""
    found = {}
    for name in ASSIGNERS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            found[name] = process.submit(_assign, name, n_clefts).result()
    avan, n_pairs, _ = found["avan"]
    for name, (seconds, _, peak_gib) in found.items():
        against = "" if name == "avan" else f" (AVAN is {seconds / avan:.1f} x as fast)"
        print(f"assignment by {name}, one thread: {n_clefts / seconds:.1f} clefts/s{against}; peak {peak_gib:.2f} GiB")
    print(f"  {n_clefts} clefts with {n_pairs:.0f} ordered pairs of candidates each")


def _read(path, low_vx, high_vx):
    (x, y, z), (x_end, y_end, z_end) = low_vx, high_vx
    return zarr.open_array(path, mode="r")[z:z_end, y:y_end, x:x_end]


def bench_blocks(shape=(32, 192, 384), block=(16, 96, 192), n_repeats=3):
    """Block-wise detection of clefts by one worker and by two, the best of several repeats each."""
    card = _card("detect_mask")
    bounds = ((0, 0, 0), shape[::-1])
    with tempfile.TemporaryDirectory() as folder:
        file, em, out = (Path(folder) / name for name in ("model.safetensors", "em.zarr", "scores.zarr"))
        checkpoint.save(file, model.build(card.network, WIDTH), card)
        zarr.create_array(em, data=np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8), chunks=block)
        read, detect = functools.partial(_read, em), functools.partial(combined._tile_scores, file)
        grid = (combined.TILE, combined.OVERLAP, block, out, card.voxel_nm, "bench")
        seconds = []
        for n in (1, 2):
            with compute.workers(config.Compute(workers=n)) as client:
                client.run(detect, np.zeros(combined.TILE, np.uint8))  # warm
                infer = functools.partial(tiles.infer, read, bounds, detect, *grid, client)
                seconds.append(min(_seconds(infer) for _ in range(n_repeats)))
    alone, together = seconds
    print(
        f"detection in blocks of {block}, tiles of {combined.TILE} that overlap by {combined.OVERLAP}: "
        f"{np.prod(shape) / alone:,.0f} voxels/s by one worker, {alone / together:.2f} x that by two"
    )


if __name__ == "__main__":
    bench_assignment()  # first, since a child starts with its parent's peak memory
    bench_blocks()
    bench_bootstrap()
    bench_reading()
    bench_input()
    bench_training("resnet18", (112, 112))
    bench_training("unet3d", (12, 64, 64))
