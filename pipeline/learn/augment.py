"""Random changes of training images: geometry, then the faults of electron microscopy.

Everything is drawn from one seeded generator, on whole batches `[N, Z, Y, X]`. Sections are the Z axis; a patch is a
single section, to which misalignment and missing neighbours do not apply. Masks and volumes of labels may come along:
geometry changes them with the images, all else does not.

Built on torch and torchvision's functional transforms, which take a whole batch on whatever device it is on. MONAI
and TorchIO change one sample at a time; Kornia takes batches, but would be one dependency more and interpolates once
for every geometric transform; none knows the faults of serial sections. On one core all of it takes 2 to 5 % of a
training step: crops and right angles move bytes, not floats; grey levels are looked up, 256 a section; rotation and
warp share one interpolation; noise comes from a pool.
"""

import math

import torch
from torch.nn import functional

from pipeline.models import torchvision_ops  # noqa: F401, isort: skip - must come before torchvision
from torchvision.transforms.v2 import functional as transforms

from pipeline.recipes import Augmentation

SYMMETRIES = 8  # of the square: four right-angle rotations, each also mirrored
ELASTIC_KNOTS_VX = 32  # about the distance between two knots of the warp, a synapse's width at 8 nm
ELASTIC_VX = 3.0  # largest displacement of a knot along an axis: strains of some 8 %, so that vesicles keep their shape
NOISE_POOL = 2**20  # places in the pool of white noise that an image's noise may start from


def symmetry(images: torch.Tensor, number: int) -> torch.Tensor:
    """One of the 8 symmetries of the square applied in the plane, the last two axes."""
    turned = torch.rot90(images, number % 4, dims=(-2, -1))
    return turned.flip(-1) if number >= 4 else turned


def inverse(number: int) -> int:
    """The symmetry that undoes a symmetry: mirrored ones undo themselves."""
    return number if number >= SYMMETRIES // 2 else -number % 4


class Augment:
    """Batches of stored uint8 images -> float batches in [0, 1] of the network's size, differently each time.

    `shape_zyx` is the network's input; `seed` starts the generator, which lives on the CPU so that a GPU draws the
    same.
    """

    def __init__(self, settings: Augmentation, shape_zyx: tuple[int, int, int], seed: int):
        self.settings = settings
        self.shape_zyx = shape_zyx
        self.random = torch.Generator().manual_seed(seed)
        self.pool = torch.randn(NOISE_POOL + math.prod(shape_zyx), generator=self.random)

    def reach_zyx(self, stored: tuple[int, int, int]) -> tuple[int, int, int]:
        """The central part of images of size `stored` that crops about their middle are taken from."""
        depth, *plane = self.shape_zyx
        margin = self.settings.shift_vx + self.settings.misalignment_vx
        height, width = (min(size + 2 * margin, have) for size, have in zip(plane, stored[1:], strict=True))
        return depth, height, width

    def __call__(self, images: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
        """Images `[N, C, Z, Y, X]`: channel 0 is EM, the others are masks, which only geometry changes."""
        em, *masks = images.to(device, non_blocking=True).unbind(dim=1)
        em, masks = self.with_labels(em, masks, device=device)
        return torch.stack([em, *(mask.float() / 255 for mask in masks)], dim=1)

    def with_labels(
        self,
        images: torch.Tensor,
        labels: list[torch.Tensor],
        centre: torch.Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Changed images `[N, Z, Y, X]`, and the `labels` after the same geometry.

        `labels` are volumes of the images' shape and any type that torch can index (not uint16), whose values are
        never mixed; what comes from beyond the border is 0. `centre` `[N, 3]` (ZYX, stored voxels) is where each crop
        has its voxel `size // 2` before it is shifted; None: the middle of the images.
        """
        volumes = [volume.to(device, non_blocking=True) for volume in (images, *labels)]
        x, *labels = self.turn(self.crop(volumes, centre))
        x, *labels = self.warp([self.intensity(x), *labels])
        x = self.blur_and_noise(x)
        if x.shape[1] > 1:
            x = self.bad_section(x)
        return self.cutout(x).clamp_(0, 1), labels

    def _uniform(self, like: torch.Tensor, *shape: int, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
        """Uniform numbers in [low, high), on the device of `like`."""
        return (torch.rand(shape, generator=self.random) * (high - low) + low).to(like.device)

    def _integers(self, like: torch.Tensor, largest: int, *shape: int) -> torch.Tensor:
        """Whole numbers from -largest to largest, on the device of `like`."""
        return torch.randint(-largest, largest + 1, shape, generator=self.random).to(like.device)

    def _happens(self, n: int, probability: float) -> torch.Tensor:
        return torch.rand(n, generator=self.random) < probability

    def _chosen(self, images: torch.Tensor, probability: float) -> torch.Tensor:
        """Positions of the images that a change applies to; found on the CPU, so that a GPU need not be waited for."""
        return torch.nonzero(self._happens(len(images), probability))[:, 0].to(images.device)

    def crop(self, volumes: list[torch.Tensor], centre: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Crop about the centre, shifted per image, with each section misaligned on its own.

        `volumes` are the images and their labels; images are reflected beyond the border.
        """
        images, *labels = volumes
        n, stored = len(images), images.shape[1:]
        depth, height, width = self.shape_zyx
        if centre is None:
            centre = torch.tensor([[size // 2 for size in stored]])
        start = (centre - torch.tensor([size // 2 for size in self.shape_zyx])).to(images.device)
        z = start[:, 0, None] + torch.arange(depth, device=images.device)
        y, x = (
            start[:, axis, None, None] + torch.arange(size, device=images.device) + self._offset(images)
            for axis, size in ((1, height), (2, width))
        )
        places = [z.expand(n, depth)[:, :, None], y, x]
        found = [_reflect(place, size) for place, size in zip(places, stored, strict=True)]
        within = [place == there for place, there in zip(places, found, strict=True)]
        inside = (within[0] & within[1])[..., None] & within[2][:, :, None]
        batch = torch.arange(n, device=images.device)[:, None, None]
        columns = found[2][:, :, None].expand(n, depth, height, width)
        images, *labels = (volume[batch, found[0], found[1]].gather(-1, columns) for volume in volumes)
        return [images, *(label.masked_fill(~inside, 0) for label in labels)]

    def _offset(self, images: torch.Tensor) -> torch.Tensor:
        """Offset of each section `[N, Z, 1]` along one axis."""
        n, depth = len(images), self.shape_zyx[0]
        shift = self._integers(images, self.settings.shift_vx, n, 1, 1)
        slip = self._integers(images, self.settings.misalignment_vx, n, depth, 1) if depth > 1 else 0
        return (shift + slip).expand(n, depth, 1)

    def turn(self, volumes: list[torch.Tensor]) -> list[torch.Tensor]:
        """Images and their labels turned by one of the 8 symmetries of the square.

        Without `right_angles`, by one of the 4 of a rectangle. Half of the cubes have their sections reversed.
        """
        n, _, height, width = volumes[0].shape
        square = self.settings.right_angles and height == width
        allowed = torch.arange(0, SYMMETRIES, 1 if square else 2)  # the even ones exchange no axes
        which = allowed[torch.randint(len(allowed), (n,), generator=self.random)].tolist()
        reverse = self._happens(n, 0.5).tolist()
        turned = []
        for volume in volumes:
            sections = (x.flip(0) if flip else x for x, flip in zip(volume, reverse, strict=True))
            turned.append(torch.stack([symmetry(x, number) for x, number in zip(sections, which, strict=True)]))
        return turned

    def intensity(self, images: torch.Tensor) -> torch.Tensor:
        """Bytes -> floats: gamma per image; brightness and contrast per section; a ramp of brightness over the field.

        Gamma, contrast and brightness are computed for a table of 256 levels a section alone.
        """
        n, depth, height, width = images.shape
        settings = self.settings
        exponent = 2 ** (settings.gamma * self._uniform(images, n, 1, 1))
        level = torch.linspace(0, 1, 256, device=images.device).pow(exponent)
        gain = 1 + settings.contrast * self._uniform(images, n, depth, 1)
        offset = settings.brightness * self._uniform(images, n, depth, 1)
        table = ((level - 0.5) * gain + 0.5 + offset).flatten(0, 1)
        found = table.gather(1, images.view(n * depth, -1).long()).view(images.shape)
        across = torch.linspace(-1, 1, width, device=images.device)
        down = torch.linspace(-1, 1, height, device=images.device)[:, None]
        slope = settings.brightness * self._uniform(images, 2, n, 1, 1, 1)
        return found.add_(slope[0] * across + slope[1] * down)

    def warp(self, volumes: list[torch.Tensor]) -> list[torch.Tensor]:
        """Some images turned by any angle up to the largest and a little larger or smaller; some bent smoothly.

        All sections of a cube and its labels change together; images are reflected beyond the border.
        """
        images, *labels = volumes
        n, _, height, width = images.shape
        settings = self.settings
        rotated, bent = self._happens(n, settings.rotation), self._happens(n, settings.elastic)
        some = torch.nonzero(rotated | bent)[:, 0]
        if not len(some):
            return volumes
        rotated, bent, some = (x.to(images.device) for x in (rotated[some], bent[some], some))
        angle = math.radians(settings.rotation_degrees) * self._uniform(images, len(some)) * rotated
        scale = 1 + settings.scale * self._uniform(images, len(some)) * rotated
        cos, sin, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros_like(angle)
        aspect = height / width
        matrix = torch.stack([cos, -sin * aspect, zero, sin / aspect, cos, zero], dim=1).view(-1, 2, 3)
        grid = functional.affine_grid(matrix, [len(some), 1, height, width], align_corners=False)
        n_knots = (1 + max(1, round(size / ELASTIC_KNOTS_VX)) for size in (height, width))
        knots = self._uniform(images, len(some), 2, *n_knots)
        knots *= ELASTIC_VX * images.new_tensor([2 / width, 2 / height])[:, None, None]  # of the grid's half width
        knots *= bent[:, None, None, None]
        bend = functional.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
        grid += bend.permute(0, 2, 3, 1)
        part = images.index_select(0, some)
        part = functional.grid_sample(part, grid, padding_mode="reflection", align_corners=False)
        warped = [images.index_copy_(0, some, part)]
        for label in labels:
            part = label.index_select(0, some).double()  # which holds any whole number up to 2^53
            part = functional.grid_sample(part, grid.double(), mode="nearest", align_corners=False)
            warped.append(label.index_copy(0, some, part.to(label.dtype)))
        return warped

    def blur_and_noise(self, images: torch.Tensor) -> torch.Tensor:
        """Defocus of some images, then white noise of a random strength on all.

        The noise of an image is a random stretch of one long row, as drawing a number a voxel would cost more than
        all the rest.
        """
        some = self._chosen(images, self.settings.blur)
        sigma = 0.4 + 0.8 * float(torch.rand((), generator=self.random))
        if len(some):
            part = images.index_select(0, some)
            images.index_copy_(0, some, transforms.gaussian_blur(part, kernel_size=[5, 5], sigma=[sigma, sigma]))
        strength = self.settings.noise * self._uniform(images, len(images), 1, 1, 1, low=0.0)
        start = torch.randint(NOISE_POOL, (len(images),), generator=self.random).to(images.device)
        self.pool = self.pool.to(images.device)
        noise = self.pool.unfold(0, images[0].numel(), 1)[start].view(images.shape)
        return images.addcmul_(strength, noise)

    def bad_section(self, images: torch.Tensor) -> torch.Tensor:
        """One section of some cubes missing (black) or much too bright."""
        some = self._chosen(images, self.settings.bad_section)
        section = torch.randint(images.shape[1], (len(some),), generator=self.random).to(images.device)
        missing = self._happens(len(some), 0.5).to(images.device)
        found = images[some, section]
        images[some, section] = torch.where(missing[:, None, None], 0.0, found + 0.3)
        return images

    def cutout(self, images: torch.Tensor) -> torch.Tensor:
        """A box over all sections of some images, up to a third of each side, replaced by the image's mean."""
        some = self._chosen(images, self.settings.cutout)
        inside = []
        for extent in images.shape[2:]:
            size = (self._uniform(images, len(some), 1, low=0.1, high=1 / 3) * extent).long()
            start = (self._uniform(images, len(some), 1, low=0.0) * (extent - size + 1)).long()
            place = torch.arange(extent, device=images.device)
            inside.append((place >= start) & (place < start + size))
        box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        part = images.index_select(0, some)
        part = torch.where(box, part.mean(dim=(1, 2, 3), keepdim=True), part)
        return images.index_copy_(0, some, part)


def _reflect(index: torch.Tensor, size: int) -> torch.Tensor:
    """Indices beyond `[0, size)` mirrored back at the border pixels."""
    period = max(2 * (size - 1), 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index).clamp(max=size - 1)
