"""Precomputed volumes for the tests of partners."""

from cloudvolume import CloudVolume

OFFSET, RESOLUTION = (20, 40, 7), (16, 16, 40)  # XYZ


def write_volume(folder, array_zyx, kind="segmentation", resolution=RESOLUTION, offset=OFFSET):
    """Write an array [Z, Y, X] of EM (`kind` "image") or labels as a precomputed volume."""
    array = array_zyx.transpose(2, 1, 0)
    info = CloudVolume.create_new_info(
        1,
        kind,
        str(array.dtype),
        "raw" if kind == "image" else "compressed_segmentation",
        [int(nm) for nm in resolution],
        [int(vx) for vx in offset],
        array.shape,
        chunk_size=(32, 32, 8),
    )
    volume = CloudVolume(f"precomputed://file://{folder}", info=info, progress=False)
    volume.commit_info()
    volume[:] = array
