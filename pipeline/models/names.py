"""The networks that can be configured, by name; pure Python, so that reading a configuration needs no torch."""

#: Axes of a classifier's images: 2D networks read sections as channels, 3D networks read cubes.
DIMENSIONS = {"cnn": 2, "resnet18": 2, "resnet50": 2, "unet3d": 3, "r3d_18": 3, "mc3_18": 3, "r2plus1d_18": 3}

#: Networks whose first layer takes any number of channels, and those that have published weights.
ANY_CHANNELS = ("cnn", "resnet18", "resnet50", "unet3d")
PUBLISHED = ("resnet18", "resnet50", "r3d_18", "mc3_18", "r2plus1d_18")

#: Partner networks that assign partners to a given cleft; the others detect clefts.
PRUNERS = ("mask_pruner", "proximity_pruner")
ASSIGNERS = ("avan", *PRUNERS)
PARTNER_NETWORKS = (*ASSIGNERS, "detect_mask", "detect_stdt", "detect_proximity")


def stored_as(network: str, sections: int, channels: tuple[str, ...]) -> str:
    """The array of `patches/` that a classifier reads: `patch`, or `cube` for several sections or a mask."""
    return "patch" if DIMENSIONS[network] == 2 and sections == 1 and channels == ("em",) else "cube"
