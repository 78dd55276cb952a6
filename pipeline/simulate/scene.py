"""All that is drawn of a tissue, in a form that compiled painters read."""

from typing import NamedTuple

import numpy as np

from pipeline import config
from pipeline.simulate import boutons, contents, field, tissue
from pipeline.simulate.kernels import Number, kernel


class Junctions(NamedTuple):
    """Synapses as the painter needs them: tissue centre nm `[S, 3]`, cells, radius nm, density nm and greys, label."""

    centre: np.ndarray
    image_centre: np.ndarray
    pre: np.ndarray
    post: np.ndarray
    radius: np.ndarray
    thickness: np.ndarray
    darkness: np.ndarray
    label: np.ndarray


class Scene(NamedTuple):
    """All that is drawn, in tissue coordinates; `*_image` are the positions at which it appears."""

    field: field.Field
    organelles: contents.Organelles
    organelle_image: np.ndarray  # [N, 2, 3] nm
    organelle_z: np.ndarray  # [organelles, 2] nm, lowest and highest section that may show each
    vesicles: boutons.Vesicles
    vesicle_image: np.ndarray  # [V, 3] nm
    junctions: Junctions
    tone: np.ndarray  # [cells] grey offset of each cell's cytoplasm
    flecks: np.ndarray  # [cells] how granular its cytoplasm is
    myelin: np.ndarray  # [cells] bool


@kernel
def organelle_reach(radius: Number) -> Number:
    """How far (nm) from its planned axis an organelle may show, warped and roughened."""
    return 1.6 * radius + 50


def cytoplasm(kind: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Grey offset and granularity of the cytoplasm of cells of each `tissue` kind, `[cells]` (chosen)."""
    tone = np.clip(rng.normal(0, 4, len(kind)), -10, 10) + np.array([-16, 4, -18, -4, -2, -12])[kind]
    flecks = np.clip(rng.normal(1, 0.25, len(kind)), 0.3, None) * np.array([0.7, 1.0, 0.7, 0.7, 1.4, 0.8])[kind]
    return tone.astype(np.float32), flecks.astype(np.float32)


def build_scene(settings: config.Simulated, seed: int) -> tuple[tissue.Tissue, Scene]:
    """The planned Tissue, and the Scene of everything that is drawn."""
    plan_rng, noise_rng, fill_rng, face_rng, vesicle_rng, tone_rng = np.random.default_rng([seed, 0]).spawn(6)
    plan = tissue.plan(settings, plan_rng)
    low, high = np.full(3, -900.0), plan.size + 900
    field_ = field.build(
        plan.position[plan.edges], plan.radius[plan.edges], plan.cell[plan.edges[:, 1]], low, high, noise_rng
    )
    organelles = contents.organelles(plan, fill_rng)
    centre, normal, face = boutons.contacts(plan, field_, face_rng)
    vesicles = boutons.vesicles(plan, field_, organelles, centre, normal, vesicle_rng)
    organelle_image = field.to_image(field_, organelles.ends.reshape(-1, 3)).reshape(-1, 2, 3)
    reach, starts = organelle_reach(organelles.radius), organelles.first[:-1]
    lowest = np.minimum.reduceat(organelle_image[..., 2].min(axis=1) - reach, starts)
    highest = np.maximum.reduceat(organelle_image[..., 2].max(axis=1) + reach, starts)
    planned = plan.junctions
    junctions = Junctions(
        centre.astype(np.float32),
        field.to_image(field_, centre).astype(np.float32),
        planned.pre.to_numpy(np.int32),
        planned.post.to_numpy(np.int32),
        np.minimum(planned.radius, 0.95 * face).to_numpy(np.float32),
        planned.psd_thickness_nm.to_numpy(np.float32),
        planned.psd_darkness.to_numpy(np.float32),
        planned.label.to_numpy(np.int8),
    )
    kind = plan.cells.kind.to_numpy()
    tone, flecks = cytoplasm(kind, tone_rng)
    return plan, Scene(
        field_,
        organelles,
        organelle_image.astype(np.float32),
        np.stack([lowest, highest], axis=1),
        vesicles,
        field.to_image(field_, vesicles.centre).astype(np.float32),
        junctions,
        tone,
        flecks,
        kind == tissue.MYELIN,
    )
