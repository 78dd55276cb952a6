"""The floors on a volume whose greys are known, against a loop over voxels, and on real synapses."""

import numpy as np
import pandas as pd
import pytest
from cloudvolume import CloudVolume
from extract_volumes import texture, write_volume
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from pipeline.extract import floors
from pipeline.extract.volume import ExtractionError

SIZE, OFFSET, RESOLUTION = (120, 110, 40), (10, 20, 5), (10, 10, 40)
PRE, POST = 7, 9


def write_segmentation(folder, labels_xyz, resolution=RESOLUTION):
    path = f"precomputed://file://{folder}"
    info = CloudVolume.create_new_info(
        1,
        "segmentation",
        "uint32",
        "compressed_segmentation",
        resolution,
        OFFSET,
        labels_xyz.shape,
        chunk_size=(64,) * 3,
    )
    volume = CloudVolume(path, info=info, progress=False)
    volume.commit_info()
    volume[:] = labels_xyz
    return path


def synapse(center_vx, pre=PRE, post=POST):
    center = dict(zip(("center_x_nm", "center_y_nm", "center_z_nm"), np.array(center_vx) * RESOLUTION, strict=True))
    return {"synapse_id": 1, **center, "pre_segment_id": pre, "post_segment_id": post}


@pytest.fixture
def halves(tmp_path):
    """Labels [X, Y, Z]: presynaptic below voxel x = 60 of the array, postsynaptic from x = 63 on, membrane between."""
    x = np.indices(SIZE)[0]
    labels = np.where(x < 60, PRE, np.where(x >= 63, POST, 0)).astype(np.uint32)
    return labels, write_segmentation(tmp_path / "segmentation", labels)


def test_known_greys_around_a_point(tmp_path, halves):
    """Flat halves: the postsynaptic grey is that of its half, and a flat bouton has no texture."""
    labels, segmentation = halves
    grey = np.select([labels == PRE, labels == POST], [200, 90], 30).astype(np.uint8)
    grey[:30] = np.where(np.indices(SIZE)[1][:30] % 2, 180, 220)  # stripes of 20 about 200, beyond the Gaussian's reach
    em = write_volume(tmp_path / "em", grey, RESOLUTION, OFFSET, encoding="raw")
    at_border, in_stripes = (np.array(OFFSET) + point for point in ((61, 55, 20), (10, 55, 20)))
    rows = pd.DataFrame([synapse(at_border), synapse(in_stripes) | {"synapse_id": 2}])
    found = floors.measure(rows, em, segmentation).set_index("synapse_id")
    assert found.loc[1, "grey_post"] == pytest.approx(90)
    assert np.isnan(found.loc[2, "grey_post"]), "no postsynaptic voxel within 100 nm"
    alone = floors.measure(pd.DataFrame([synapse(np.array(OFFSET) + (42, 55, 20))]), em, segmentation)
    assert 0 < alone["texture_pre"].item() < found.loc[2, "texture_pre"]
    assert found.loc[2, "texture_pre"] == pytest.approx(20**2, rel=0.2), "stripes deviate by 20"


@pytest.mark.parametrize("point", [(61, 55, 20), (62, 3, 38)])
def test_a_loop_over_all_voxels_agrees(tmp_path, halves, point):
    labels, segmentation = halves
    grey = texture(SIZE)
    em = write_volume(tmp_path / "em", grey, RESOLUTION, OFFSET, encoding="raw")
    found = floors.measure(pd.DataFrame([synapse(np.array(OFFSET) + point)]), em, segmentation).iloc[0]
    smooth = gaussian_filter(grey.astype(float), (4, 4, 0))  # 40 nm of 10 nm voxels, over the whole volume
    near_post, near_pre = [], []
    for voxel in np.ndindex(*SIZE):
        distance = sum(((a - b) * nm) ** 2 for a, b, nm in zip(voxel, point, RESOLUTION, strict=True)) ** 0.5
        if distance <= 100 and labels[voxel] == POST:
            near_post.append(float(grey[voxel]))
        if distance <= 300 and labels[voxel] == PRE:
            near_pre.append((grey[voxel] - smooth[voxel]) ** 2)
    assert found["grey_post"] == pytest.approx(np.mean(near_post))
    assert found["texture_pre"] == pytest.approx(np.mean(near_pre), rel=1e-6)


def test_volumes_that_do_not_match_are_refused(tmp_path, halves):
    labels, segmentation = halves
    em = write_volume(tmp_path / "em", texture(SIZE), RESOLUTION, OFFSET, encoding="raw")
    other = write_segmentation(tmp_path / "coarse", labels, (20, 20, 40))
    inside = pd.DataFrame([synapse(np.array(OFFSET) + (61, 55, 20))])
    with pytest.raises(
        ExtractionError, match=r"(?s)coarse has voxels of \(20.0, 20.0, 40.0\).*must lie on the same voxels"
    ):
        floors.measure(inside, em, other)
    with pytest.raises(ExtractionError, match="holds 1 channel.* of uint8; it must be one channel of uint32 or uint64"):
        floors.measure(inside, em, em)
    with pytest.raises(ExtractionError, match="synapse 1 at voxel .* is outside of"):
        floors.measure(pd.DataFrame([synapse((5, 55, 20))]), em, segmentation)


def test_real_synapses_are_partly_told_apart_by_the_floors(real_data):
    """Kasthuri AC3. Measured once by another code: AUC .81 (dark postsynaptic side), .75 (smooth bouton)."""
    folder = real_data / "kasthuri_ac3"
    rows = pd.read_csv(folder / "synapses.csv")
    rows[["center_x_nm", "center_y_nm", "center_z_nm"]] = rows[["x_vx", "y_vx", "z_vx"]] * [6.0, 6.0, 30.0]
    path = f"precomputed://file://{folder.resolve()}"
    found = floors.measure(rows, f"{path}/em", f"{path}/segmentation")
    excitatory = rows["cell_type"] == "excitatory"
    for name, published in (("grey_post", 0.81), ("texture_pre", 0.75)):
        known = found[name].notna()
        assert known.sum() >= 70
        assert roc_auc_score(excitatory[known], -found.loc[known, name]) == pytest.approx(published, abs=0.04)
