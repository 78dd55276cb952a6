"""The simulated volumes against their own truth, read back through cloud-volume."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from cloudvolume import CloudVolume
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from tiny_tissue import SEED, TINY, generate

from pipeline import artefacts, config, space
from pipeline.simulate import neuropil, tissue
from pipeline.simulate.scene import build_scene


@pytest.fixture(scope="module")
def volumes(tiny_truth):
    """EM, segmentation, clefts and structures `[Z, Y, X]`, and the voxel (XYZ) of their first element."""
    arrays = {}
    for name in ("em", "segmentation", "clefts", "structures"):
        volume = CloudVolume(f"file://{tiny_truth / name}", progress=False)
        arrays[name] = np.asarray(volume[volume.bounds])[..., 0].transpose(2, 1, 0)
        arrays["offset"] = np.array(volume.voxel_offset)
    return arrays


@pytest.fixture(scope="module")
def synapses(tiny_truth):
    return pd.read_parquet(tiny_truth / "truth" / "synapses.parquet")


@pytest.fixture(scope="module")
def neurons(tiny_truth):
    return pd.read_parquet(tiny_truth / "truth" / "neurons.parquet")


def zyx_of(synapses, point, offset):
    position = synapses[[f"{point}_{axis}_nm" for axis in "xyz"]].to_numpy()
    return space.zyx(space.EM.to_vx(position) - offset)


def test_same_seed_gives_the_same_bytes_with_other_workers_and_over_leftovers(tiny_truth, tmp_path):
    (tmp_path / "em" / "8_8_40").mkdir(parents=True)
    (tmp_path / "em" / "8_8_40" / "stray-chunk").write_bytes(b"of an interrupted run")
    (tmp_path / "scene-killed").write_bytes(b"of a killed run")
    assert artefacts.sha256(generate(tmp_path, workers=2)) == artefacts.sha256(tiny_truth)


def test_another_seed_gives_another_tissue(tiny_truth, neurons, tmp_path):
    other = generate(tmp_path / "other", seed=SEED + 1)
    assert artefacts.sha256(other / "em") != artefacts.sha256(tiny_truth / "em")
    assert not set(pd.read_parquet(other / "truth" / "neurons.parquet").neuron_id) & set(neurons.neuron_id)


def test_every_centre_lies_on_its_own_cleft(volumes, synapses):
    centre = zyx_of(synapses, "center", volumes["offset"])
    assert (volumes["clefts"][tuple(centre.T)] == synapses.synapse_id).all()


def test_cleft_volume_holds_exactly_the_synapses_of_the_table(volumes, synapses):
    ids, counts = np.unique(volumes["clefts"][volumes["clefts"] > 0], return_counts=True)
    assert dict(zip(ids, counts, strict=True)) == dict(zip(synapses.synapse_id, synapses["size"], strict=True))


@pytest.mark.parametrize("side", ["pre", "post"])
def test_partner_points_lie_in_their_partners(volumes, synapses, side):
    point = zyx_of(synapses, side, volumes["offset"])
    assert (volumes["segmentation"][tuple(point.T)] == synapses[f"{side}_neuron_id"].astype(np.uint64)).all()


def test_partners_touch_within_the_cleft(volumes, synapses):
    for row in synapses.itertuples():
        cleft = volumes["clefts"] == row.synapse_id
        box = ndimage.find_objects(cleft.astype(np.uint8))[0]
        inside = np.unique(volumes["segmentation"][box][cleft[box]])
        assert {row.pre_neuron_id, row.post_neuron_id} == set(inside.tolist())
        pre = cleft[box] & (volumes["segmentation"][box] == row.pre_neuron_id)
        post = cleft[box] & (volumes["segmentation"][box] == row.post_neuron_id)
        assert (ndimage.binary_dilation(pre) & post).any()


def test_the_manifest_tells_other_volumes_apart(tiny_truth):
    """By a digest over names and contents, computed here from the files."""
    manifest = artefacts.read_json(tiny_truth / "manifest.json")
    for name in ("em", "segmentation", "clefts", "structures"):
        digest = hashlib.sha256()
        for path in sorted(path for path in (tiny_truth / name).rglob("*") if path.is_file()):
            digest.update(str(path.relative_to(tiny_truth / name)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        assert manifest["sha256"][name] == digest.hexdigest()


def test_missing_section_is_black_and_holds_no_synapse(tiny_truth, volumes, synapses):
    missing = artefacts.read_json(tiny_truth / "manifest.json")["missing_section"] - volumes["offset"][2]
    black = volumes["em"].max(axis=(1, 2)) < 16  # JPEG rings a little
    assert np.flatnonzero(black).tolist() == [missing]
    assert not volumes["clefts"][missing].any()
    assert missing not in zyx_of(synapses, "center", volumes["offset"])[:, 0]


@pytest.fixture(scope="module")
def shown(tiny_truth, volumes):
    """For each structure that the manifest names, the mask `[Z, Y, X]` of its voxels."""
    names = artefacts.read_json(tiny_truth / "manifest.json")["structures"]
    return {name: volumes["structures"] == label for name, label in names.items()}


def test_structures_show_every_cleft_and_no_more_than_was_too_small_to_count(tiny_truth, volumes, shown):
    assert shown["cleft"][volumes["clefts"] > 0].all()
    ignored = artefacts.read_json(tiny_truth / "manifest.json")["junctions_too_small"]
    assert (shown["cleft"] & (volumes["clefts"] == 0)).sum() < max(ignored * neuropil.MIN_CLEFT_VX, 1)


def test_missing_section_shows_no_structure(tiny_truth, volumes):
    missing = artefacts.read_json(tiny_truth / "manifest.json")["missing_section"] - volumes["offset"][2]
    empty = ~volumes["structures"].any(axis=(1, 2))
    assert np.flatnonzero(empty).tolist() == [missing]


def test_vesicles_lie_in_boutons(volumes, synapses, shown):
    """Every vesicle is in an axon; within 150 nm of a cleft it is in the axon of one that close."""
    assert set(volumes["segmentation"][shown["vesicle"]].tolist()) <= set(synapses.pre_neuron_id)
    distance, nearest = ndimage.distance_transform_edt(
        volumes["clefts"] == 0, sampling=space.EM.resolution_nm[::-1], return_indices=True
    )
    near = shown["vesicle"] & (distance < 150)
    assert near.sum() > 20 * len(synapses)
    pre_of = synapses.set_index("synapse_id").pre_neuron_id
    cleft = volumes["clefts"][tuple(nearest[:, near])]
    own = pre_of[cleft].to_numpy() == volumes["segmentation"][near].astype(np.int64)
    assert own.mean() > 0.95  # the rest lies in an axon beside the synapse


def test_densities_line_the_cleft_more_on_the_postsynaptic_side_of_excitatory_synapses(volumes, synapses, shown):
    distance, nearest = ndimage.distance_transform_edt(
        ~shown["cleft"], sampling=space.EM.resolution_nm[::-1], return_indices=True
    )
    assert np.quantile(distance[shown["density"]], 0.99) < 80
    truth = synapses.set_index("synapse_id")
    cleft = volumes["clefts"][tuple(nearest[:, shown["density"]])]
    segment = volumes["segmentation"][shown["density"]].astype(np.int64)
    rows = truth.loc[cleft[cleft > 0]]
    side = np.where(segment[cleft > 0] == rows.post_neuron_id, "post", "pre")
    per_synapse = pd.crosstab(cleft[cleft > 0], side).reindex(truth.index, fill_value=0)
    per_cleft = per_synapse.div(truth["size"], axis=0).groupby(truth.label).mean()
    assert per_cleft.post[1] > 2 * per_cleft.pre[1]  # asymmetric: a thick density behind the postsynaptic membrane
    assert per_cleft.post[1] > 3 * per_cleft.post[0]  # and a thin one at symmetric junctions


@pytest.fixture(scope="module")
def away_from_membranes(volumes):
    """Voxels whose neighbourhood of 7 pixels in their section lies in one segment; membranes are dark too."""
    segments = volumes["segmentation"]
    return ndimage.minimum_filter(segments, (1, 7, 7)) == ndimage.maximum_filter(segments, (1, 7, 7))


@pytest.mark.parametrize("name", ["mitochondrion", "vesicle", "density"])
def test_structures_are_as_dark_as_they_are_drawn(volumes, shown, away_from_membranes, name):
    """Mitochondria, the outlines of vesicles and densities are darker than the cytoplasm of the same cells nearby."""
    mask = shown[name]
    beside = ndimage.binary_dilation(mask, np.ones((1, 11, 11))) & (volumes["structures"] == 0)
    assert volumes["em"][mask].mean() < volumes["em"][beside & away_from_membranes].mean() - 10


def test_ids_are_as_large_as_real_ones_and_labels_follow_the_presynaptic_neuron(synapses, neurons):
    assert (neurons.neuron_id > 2**53).all()
    assert neurons.neuron_id.is_unique
    assert neurons.nucleus_id.is_unique
    assert synapses.synapse_id.is_unique
    assert (neurons.neuron_id.astype(str).str.len() == 18).all()
    label = neurons.set_index("neuron_id").label
    assert (synapses.label.to_numpy() == label[synapses.pre_neuron_id].to_numpy()).all()
    assert set(neurons.neuron_id[neurons.presynaptic]) == set(synapses.pre_neuron_id)
    assert set(synapses.post_neuron_id) <= set(neurons.neuron_id)


def test_drawn_vesicles_have_the_sizes_of_the_truth(synapses):
    """The ellipsoids that are drawn, measured without the planner: volume-equivalent diameter and count."""
    _, scene = build_scene(TINY, SEED)
    along, across = scene.vesicles.half_axes.T.astype(float)
    drawn = pd.DataFrame({"junction": scene.vesicles.junction, "diameter": 2 * np.cbrt(along * across**2)})
    by_synapse = drawn.groupby("junction").diameter.agg(["mean", "size"])
    by_synapse = by_synapse.loc[synapses.synapse_id - neuropil.FIRST_SYNAPSE_ID]
    assert (by_synapse["size"].to_numpy() == synapses.n_vesicles).all()
    assert by_synapse["mean"].to_numpy() == pytest.approx(synapses.vesicle_diameter_nm, abs=1.5)
    means = synapses.groupby("label").vesicle_diameter_nm.mean()
    assert means[1] == pytest.approx(40, abs=1.5)  # round vesicles of about 40 nm (Harris & Weinberg 2012)
    assert means[0] < means[1] - 2


def test_share_of_spine_synapses_is_that_of_real_cortex():
    """AC3 (Kasthuri et al. 2015): 85 of 96 excitatory synapses on spines, none of 10 inhibitory ones."""
    settings = config.Simulated(
        kind="simulated", size_um=(7, 7, 4), n_excitatory=18, n_inhibitory=9, synapses_per_neuron=10
    )
    junctions = tissue.plan(settings, np.random.default_rng(1)).junctions
    share = junctions.groupby("label").on_spine.agg(["mean", "size"])
    for label, expected in ((1, 85 / 96), (0, 0.03)):
        error = np.sqrt(expected * (1 - expected) / share["size"][label])
        assert abs(share["mean"][label] - expected) < 3.5 * error


def test_class_shows_in_the_pixels_as_an_asymmetric_density(volumes, synapses):
    """Behind the postsynaptic membrane it is darker than before the presynaptic one, more so where excitatory."""
    difference = []
    missing = volumes["em"].max(axis=(1, 2)) < 16
    for row in synapses.itertuples():
        cleft = volumes["clefts"] == row.synapse_id
        cleft[missing] = False
        box = tuple(
            slice(max(part.start - margin, 0), part.stop + margin)
            for part, margin in zip(ndimage.find_objects(cleft.astype(np.uint8))[0], (0, 10, 10), strict=True)
        )
        distance = ndimage.distance_transform_edt(~cleft[box], sampling=(1e6, 8, 8))  # within sections only
        band = (distance > 12) & (distance < 36)
        segment, em = volumes["segmentation"][box], volumes["em"][box].astype(float)
        pre, post = (em[band & (segment == side)] for side in (row.pre_neuron_id, row.post_neuron_id))
        difference.append(np.mean(pre) - np.mean(post))
    assert roc_auc_score(synapses.label, difference) > 0.7


def test_too_many_synapses_for_the_box_are_refused():
    settings = TINY.model_copy(update={"synapses_per_neuron": 40})
    with pytest.raises(tissue.SimulationError, match=r"do not fit.*enlarge size_um, or lower synapses_per_neuron"):
        tissue.plan(settings, np.random.default_rng(0))


def test_too_small_a_box_is_refused(tmp_path):
    settings = TINY.model_copy(update={"size_um": (1.0, 4.0, 2.0)})
    with pytest.raises(tissue.SimulationError, match=r"size_um .* is too small"):
        neuropil.generate(settings, 0, tmp_path, client=None)
