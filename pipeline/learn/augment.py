"""Random changes of training images: geometry on the stored bytes, then the faults of electron microscopy.

Everything is drawn from one seeded generator, on whole batches `[N, Z, Y, X]`. Sections are the Z axis; a patch is a
single section, to which misalignment and missing neighbours do not apply.
"""

import math

import torch
from torch.nn import functional

from pipeline.models import torchvision_ops  # noqa: F401, isort: skip - must come before torchvision
from torchvision.transforms.v2 import functional as transforms

SYMMETRIES = 8  # of the square: four right-angle rotations, each also mirrored


def symmetry(images, number):
    """One of the 8 symmetries of the square applied in the plane, the last two axes."""
    turned = torch.rot90(images, number % 4, dims=(-2, -1))
    return turned.flip(-1) if number >= 4 else turned


class Augment:
    """Batches of stored uint8 images -> float batches in [0, 1] of the network's size, differently each time.

    `settings` is a `config.Augmentation`; `shape_zyx` the network's input; `seed` starts the generator, which lives
    on the CPU so that a GPU draws the same.
    """

    def __init__(self, settings, shape_zyx, seed):
        self.settings = settings
        self.shape_zyx = shape_zyx
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, images, device="cpu"):
        x = self.crop(images).to(device).float() / 255
        x = self.turn(x)
        x = self.rotate(x)
        x = self.intensity(x)
        x = self.blur_and_noise(x)
        if x.shape[1] > 1:
            x = self.bad_section(x)
        return self.cutout(x).clamp(0, 1)

    def _uniform(self, like, *shape, low=-1.0, high=1.0):
        """Uniform numbers in [low, high), on the device of `like`."""
        return (torch.rand(shape, generator=self.random) * (high - low) + low).to(like.device)

    def _chosen(self, images, probability):
        """Positions of the images that a change applies to."""
        return torch.nonzero(torch.rand(len(images), generator=self.random) < probability)[:, 0].to(images.device)

    def crop(self, images):
        """Centre crop, shifted per image, with each section misaligned on its own; reflected beyond the border."""
        n, n_sections = images.shape[:2]
        depth, height, width = self.shape_zyx
        z = n_sections // 2 - depth // 2 + torch.arange(depth)
        offsets = []
        for _ in range(2):
            shift = self._integers(self.settings.shift_vx, n, 1)
            slip = self._integers(self.settings.misalignment_vx, n, depth) if depth > 1 else 0
            offsets.append((shift + slip).expand(n, depth))
        y, x = (
            _reflect(stored // 2 - size // 2 + torch.arange(size) + offset[..., None], stored)
            for stored, size, offset in zip(images.shape[2:], (height, width), offsets, strict=True)
        )
        batch = torch.arange(n)[:, None, None, None]
        return images[batch, z[None, :, None, None], y[:, :, :, None], x[:, :, None, :]]

    def _integers(self, largest, *shape):
        return torch.randint(-largest, largest + 1, shape, generator=self.random)

    def turn(self, images):
        """One of the 8 symmetries of the square, and for cubes perhaps the sections in reverse order."""
        square = images.shape[-1] == images.shape[-2]
        allowed = torch.arange(SYMMETRIES) if square else torch.tensor([0, 2, 4, 6])
        which = allowed[torch.randint(len(allowed), (len(images),), generator=self.random)]
        reverse = torch.rand(len(images), generator=self.random) < 0.5
        turned = [symmetry(image, int(number)) for image, number in zip(images, which, strict=True)]
        return torch.stack([x.flip(0) if flip else x for x, flip in zip(turned, reverse, strict=True)])

    def rotate(self, images):
        """Some images by any angle and a little larger or smaller."""
        chosen = self._chosen(images, self.settings.rotation)
        if not len(chosen):
            return images
        angle = self._uniform(images, len(chosen), low=-math.pi, high=math.pi)
        scale = 1 + self.settings.scale * self._uniform(images, len(chosen))
        cos, sin, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros_like(angle)
        aspect = images.shape[-2] / images.shape[-1]
        matrix = torch.stack([cos, -sin * aspect, zero, sin / aspect, cos, zero], dim=1).view(-1, 2, 3)
        part = images[chosen]
        grid = functional.affine_grid(matrix, part.shape, align_corners=False)
        images[chosen] = functional.grid_sample(part, grid, padding_mode="reflection", align_corners=False)
        return images

    def intensity(self, images):
        """Gamma per image; brightness and contrast per section; a ramp of brightness over the field."""
        n, depth, height, width = images.shape
        settings = self.settings
        images = images.pow(2 ** (settings.gamma * self._uniform(images, n, 1, 1, 1)))
        gain = 1 + settings.contrast * self._uniform(images, n, depth, 1, 1)
        offset = settings.brightness * self._uniform(images, n, depth, 1, 1)
        across = torch.linspace(-1, 1, width, device=images.device)
        down = torch.linspace(-1, 1, height, device=images.device)[:, None]
        slope = settings.brightness * self._uniform(images, 2, n, 1, 1, 1)
        return (images - 0.5) * gain + 0.5 + offset + slope[0] * across + slope[1] * down

    def blur_and_noise(self, images):
        """Defocus of some images, then white noise of a random strength on all."""
        chosen = self._chosen(images, self.settings.blur)
        sigma = float(self._uniform(images, 1, low=0.4, high=1.2))
        if len(chosen):
            images[chosen] = transforms.gaussian_blur(images[chosen], kernel_size=[5, 5], sigma=[sigma, sigma])
        strength = self.settings.noise * self._uniform(images, len(images), 1, 1, 1, low=0.0)
        return images + strength * torch.randn(images.shape, generator=self.random).to(images.device)

    def bad_section(self, images):
        """One section of some cubes missing (black) or much too bright."""
        chosen = self._chosen(images, self.settings.bad_section)
        section = torch.randint(images.shape[1], (len(chosen),), generator=self.random)
        missing = (torch.rand(len(chosen), generator=self.random) < 0.5).to(images.device)
        found = images[chosen, section]
        images[chosen, section] = torch.where(missing[:, None, None], 0.0, found + 0.3)
        return images

    def cutout(self, images):
        """A box over all sections of some images, up to a third of each side, replaced by the image's mean."""
        n, _, height, width = images.shape
        size = (self._uniform(images, n, 2, low=0.1, high=1 / 3) * images.new_tensor([height, width])).long().tolist()
        place = self._uniform(images, n, 2, low=0.0).tolist()
        for number in self._chosen(images, self.settings.cutout).tolist():
            (size_y, size_x), (at_y, at_x) = size[number], place[number]
            y, x = int(at_y * (height - size_y + 1)), int(at_x * (width - size_x + 1))
            images[number, :, y : y + size_y, x : x + size_x] = images[number].mean()
        return images


def _reflect(index, size):
    """Indices beyond `[0, size)` mirrored back at the border pixels."""
    period = max(2 * (size - 1), 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index).clamp(max=size - 1)
