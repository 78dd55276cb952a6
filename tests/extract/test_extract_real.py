"""Real electron microscopy (Kasthuri AC3, 6x6x30 nm) to the model's 8x8x40 nm: every patch is on its synapse."""

import numpy as np
import pandas as pd
import pytest
import zarr
from cloudvolume import CloudVolume

from pipeline import config
from pipeline.columns import CENTER_NM as CENTER
from pipeline.extract.patches import extract


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory, client):
    """(synapses.csv with nm, folder of patches, EM [X, Y, Z], segmentation [X, Y, Z])."""
    folder = real_data / "kasthuri_ac3"
    synapses = pd.read_csv(folder / "synapses.csv")
    synapses[CENTER] = synapses[["x_vx", "y_vx", "z_vx"]].to_numpy() * [6.0, 6.0, 30.0]
    out = tmp_path_factory.mktemp("real") / "patches"
    path = f"precomputed://file://{folder.resolve()}"
    extract(synapses, f"{path}/em", config.Extract(), out, client)
    em, segmentation = (CloudVolume(f"{path}/{v}", progress=False)[:][..., 0] for v in ("em", "segmentation"))
    return synapses.set_index("synapse_id"), out, em, segmentation


def test_all_are_there_and_none_is_faulty(real):
    synapses, out, _, _ = real
    quality = pd.read_parquet(out / "quality.parquet")
    assert sorted(quality["synapse_id"]) == sorted(synapses.index)
    assert len(quality) == 71
    assert quality["center_offset_vx"].max() <= 0.5
    assert quality["patch_std"].min() > 20
    assert (quality["cube_blank_sections"] == 0).all()
    assert 0 < (quality["cube_padded"] > 0).sum() < 71


def test_pixels_are_centred_on_the_synapse(real):
    """Against the stored voxels nearest to each physical position, no shift fits better than none (to one voxel)."""
    synapses, out, em, _ = real
    group, index = zarr.open_group(out / "images.zarr", mode="r"), pd.read_parquet(out / "index.parquet")
    reach, margin = 24, 3
    for row, synapse_id in enumerate(index["synapse_id"]):
        s = synapses.loc[synapse_id]
        step = np.arange(-reach, reach) * 8
        x, y = s.x_vx + np.rint(step / 6).astype(int), s.y_vx + np.rint(step / 6).astype(int)
        inside_x, inside_y = (x >= 0) & (x < 1024), (y >= 0) & (y < 1024)
        stored = em[np.ix_(x[inside_x], y[inside_y], [s.z_vx - 30])][:, :, 0].T
        for image in (group["patch"][row].astype(float), group["cube"][row][16].astype(float)):
            c = len(image) // 2
            fit = {}
            for dy in range(-margin, margin + 1):
                for dx in range(-margin, margin + 1):
                    window = image[c - reach + dy : c + reach + dy, c - reach + dx : c + reach + dx]
                    window = window[np.ix_(inside_y, inside_x)]
                    fit[dy, dx] = np.corrcoef(window.ravel(), stored.ravel())[0, 1]
            best = max(fit, key=fit.get)
            assert max(map(abs, best)) <= 1, (synapse_id, best)
            assert fit[best] > 0.9, (synapse_id, fit[best])
        depth = {}
        for z in range(max(s.z_vx - 30 - 3, 0), min(s.z_vx - 30 + 4, 120)):
            section = em[np.ix_(x[inside_x], y[inside_y], [z])][:, :, 0].T
            center = image[c - reach : c + reach, c - reach : c + reach][np.ix_(inside_y, inside_x)]
            depth[z - (s.z_vx - 30)] = np.corrcoef(center.ravel(), section.ravel())[0, 1]
        assert max(depth, key=depth.get) == 0, (synapse_id, depth)


def test_both_partners_meet_at_the_centre(real):
    """The segments registered as presynaptic and postsynaptic both come within 200 nm of the extracted centre."""
    synapses, _, _, segmentation = real
    for synapse_id, s in synapses.iterrows():
        low = np.maximum([s.x_vx - 36, s.y_vx - 36, s.z_vx - 30 - 7], 0)
        box = segmentation[tuple(slice(a, a + n) for a, n in zip(low, (73, 73, 15), strict=True))]
        for segment in (s.pre_segment_id, s.post_segment_id):
            at = np.argwhere(box == segment) + low
            nm = (at - [s.x_vx, s.y_vx, s.z_vx - 30]) * [6, 6, 30]
            assert np.sqrt((nm**2).sum(axis=1)).min(initial=np.inf) <= 200, (synapse_id, segment)
