"""Features of a connection or a synapse that need no pixels, each declared once with what one must know to have it.

A table of *links* has one row a connection or a synapse: `pre_neuron_id`, `post_neuron_id`, `label` (1 excitatory,
0 inhibitory: the class of the presynaptic neuron), and what `with_neurons` adds. Connections have `n_synapses`;
synapses may have `size` (voxels), `on_spine` and `center_y_nm`. Features whose columns are absent are left out, and
a value that is unknown is NaN; so is every feature of a post neuron whose id is missing. How far an axon was proofread
is no feature, nor is the number of its connections: both go with the class in these data.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

#: What one must know to have a feature.
LEAKAGE = {"synapse": "local to the synapse", "post": "needs the post neuron", "axon": "needs the whole axon"}


class Feature(NamedTuple):
    """`leakage` is a key of LEAKAGE; features of one `group` are added to a model together."""

    leakage: str
    group: str
    meaning: str


FEATURES = {
    "log_size": Feature("synapse", "synapse", "log(1 + size of the synapse in voxels)"),
    "on_spine": Feature("synapse", "synapse", "1 on a spine, 0 on a shaft or soma"),
    "depth_um": Feature("synapse", "synapse", "Y of the synapse, µm (MICrONS: depth below the pia, nearly)"),
    "post_inhibitory": Feature("post", "post", "1 if the post neuron is inhibitory (reference: excitatory)"),
    "post_nonneuron": Feature("post", "post", "1 if the post cell is no neuron"),
    "post_unknown": Feature("post", "post", "1 if the class of the post neuron is unknown"),
    "post_inhibitory_share": Feature(
        "post", "post", "share of inhibitory among the post neuron's inputs, cross-fitted"
    ),
    "post_depth_um": Feature("post", "post", "Y of the post neuron's soma, µm"),
    "log_multiplicity": Feature("axon", "multiplicity", "log(synapses of the pair of neurons)"),
    "soma_distance_um": Feature("axon", "geometry", "distance of the two somata, µm"),
    "soma_lateral_um": Feature("axon", "geometry", "distance of the two somata in the plane of the layers (XZ), µm"),
    "soma_vertical_um": Feature("axon", "geometry", "distance of the two somata across the layers (Y), µm"),
    "soma_below_um": Feature("axon", "geometry", "how far the post neuron's soma lies below the other (Y), µm"),
    "axon_log_size": Feature("axon", "axon", "mean log_size of the axon's other synapses"),
    "axon_on_spine": Feature("axon", "axon", "share on spines of the axon's other synapses"),
}

CLASSES = ("excitatory", "inhibitory", "nonneuron", "unknown")


def names(table: pd.DataFrame, leakage: Collection[str]) -> list[str]:
    """The columns of `table` that need nothing beyond what `leakage`, keys of LEAKAGE, names."""
    return [name for name in table.columns if FEATURES[name].leakage in leakage]


def with_neurons(links: pd.DataFrame, neurons: pd.DataFrame) -> pd.DataFrame:
    """`links` with `post_class` (of CLASSES), and `pre_` and `post_soma_{x,y,z}_nm`, from a table of neurons.

    `neurons` has one row a neuron: `neuron_id`, `cell_class` (missing where unknown) and `soma_{x,y,z}_nm`; a neuron
    that it lacks is unknown. The class of a neuron that synapses on itself is hidden there: it is the label.
    """
    known = neurons.set_index("neuron_id")
    autapse = (links["pre_neuron_id"] == links["post_neuron_id"]).fillna(False).to_numpy(dtype=bool)
    post_class = known["cell_class"].reindex(links["post_neuron_id"]).fillna("unknown").to_numpy(dtype=object)
    added = {"post_class": np.where(autapse, "unknown", post_class)}
    for side in ("pre", "post"):
        somata = known[[f"soma_{axis}_nm" for axis in "xyz"]].reindex(links[f"{side}_neuron_id"])
        added |= {f"{side}_{name}": column.to_numpy() for name, column in somata.items()}
    return links.assign(**added)


def table(links: pd.DataFrame, part: ArrayLike, hidden: object = None) -> pd.DataFrame:
    """All features that the columns of `links` allow: `[N, features]` float64, on the index of `links`.

    `part` and `hidden` as for `inhibitory_share`, the one feature that uses labels.
    """
    columns = _fixed(links) | {"post_inhibitory_share": inhibitory_share(links, part, hidden)}
    return pd.DataFrame({name: columns[name] for name in FEATURES if name in columns}, index=links.index, dtype=float)


def inhibitory_share(links: pd.DataFrame, part: ArrayLike, hidden: object = None) -> np.ndarray:
    """Share of inhibitory neurons among the inputs of each link's post neuron, from other parts only: `[N]`.

    `part` [N] is the fold or split of each link; all links of a presynaptic neuron are in one. A link sees neither the
    inputs of its own part nor those of the part `hidden`, which a model that is fitted on the table will be scored on.
    An input is a presynaptic neuron, however many synapses it makes; Laplace smoothing adds one of each class. The
    share is NaN where the id of the post neuron is missing.
    """
    parts, part = np.unique(part, return_inverse=True)
    neuron, _ = pd.factorize(links["pre_neuron_id"])
    part_of = np.empty(neuron.max() + 1, dtype=np.int64)
    part_of[neuron] = part
    if (part_of[neuron] != part).any():
        raise ValueError("synapses of one presynaptic neuron lie in several parts: its label would leak between them")
    post, ids = pd.factorize(links["post_neuron_id"])  # -1 where missing
    once = ~links.duplicated(["pre_neuron_id", "post_neuron_id"]).to_numpy() & (post >= 0)
    counts = np.zeros((2, len(ids) + 1, len(parts)), dtype=np.int64)  # the last stays empty
    np.add.at(counts, (links["label"].to_numpy(dtype=np.int64)[once], post[once], part[once]), 1)
    if hidden is not None:
        if hidden not in parts:
            raise ValueError(f"no part {hidden!r} to hide; there are {parts.tolist()}")
        counts[:, :, parts == hidden] = 0
    inhibitory, excitatory = counts.sum(axis=2)[:, post] - counts[:, post, part]
    return np.where(post >= 0, (inhibitory + 1) / (inhibitory + excitatory + 2), np.nan)


def leave_one_out_share(links: pd.DataFrame) -> np.ndarray:
    """The leaky share: from all other links of the post neuron, including those of tested neurons: `[N]`.

    A link then differs from its neighbours at the same post neuron by exactly its own label, which a model can read
    backwards. Kept to show how much that is worth; never used for a result.
    """
    post, _ = pd.factorize(links["post_neuron_id"])
    inhibitory = (links["label"] == 0).to_numpy(dtype=np.int64)
    others = np.bincount(post, inhibitory)[post] - inhibitory
    return (others + 1) / (np.bincount(post)[post] - 1 + 2)


def _fixed(links: pd.DataFrame) -> dict[str, ArrayLike]:
    """Features that use no label: `{name: [N]}`."""
    found: dict[str, ArrayLike] = {}
    if "size" in links:
        found["log_size"] = np.log1p(links["size"].to_numpy(dtype=float, na_value=np.nan))
        found["axon_log_size"] = _mean_of_others(found["log_size"], links["pre_neuron_id"])
    if "on_spine" in links:
        found["on_spine"] = links["on_spine"].astype("boolean").to_numpy(dtype=float, na_value=np.nan)
        found["axon_on_spine"] = _mean_of_others(found["on_spine"], links["pre_neuron_id"])
    if "center_y_nm" in links:
        found["depth_um"] = links["center_y_nm"] / 1000
    pair = links.groupby(["pre_neuron_id", "post_neuron_id"])["label"]
    found["log_multiplicity"] = np.log(links["n_synapses"] if "n_synapses" in links else pair.transform("size"))
    if "post_class" in links:
        found |= {f"post_{name}": links["post_class"] == name for name in CLASSES[1:]}
        pre, post = (links[[f"{side}_soma_{axis}_nm" for axis in "xyz"]].to_numpy() / 1000 for side in ("pre", "post"))
        offset = post - pre
        found["post_depth_um"] = post[:, 1]
        found["soma_distance_um"] = np.linalg.norm(offset, axis=1)
        found["soma_lateral_um"] = np.hypot(offset[:, 0], offset[:, 2])
        found["soma_vertical_um"] = np.abs(offset[:, 1])
        found["soma_below_um"] = offset[:, 1]
    return found


def _mean_of_others(value: ArrayLike, neuron: pd.Series) -> np.ndarray:
    """Mean of `value` [N] over the other rows of the same neuron; NaN where there are none."""
    values = pd.Series(value, index=neuron.index)
    groups = values.groupby(neuron)
    n = groups.transform("count") - values.notna()
    return ((groups.transform("sum") - values.fillna(0)) / n.where(n > 0)).to_numpy()
