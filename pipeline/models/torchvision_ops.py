"""Lets `import torchvision` succeed beside a CPU build of torch; to be imported before torchvision.

The registry's torchvision wheel is built for CUDA. Where its C++ extension cannot be loaded, torchvision stops with
`operator torchvision::nms does not exist`, although nothing here uses its operators. Their schemas are then enough.
"""

import importlib.util
from pathlib import Path

import torch


def _extension_loads() -> bool:
    """Whether torchvision's C++ extension can be loaded into this torch."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    libraries = list(Path(spec.origin).parent.glob("_C*.so")) + list(Path(spec.origin).parent.glob("_C*.pyd"))
    try:
        for library in libraries:
            torch.ops.load_library(library)
    except OSError:
        return False
    return bool(libraries)


if not _extension_loads():
    _schemas = torch.library.Library("torchvision", "DEF")  # kept: the schemas live as long as this object
    _schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
