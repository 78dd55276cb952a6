"""Excitatory or inhibitory: one label per neuron from three tables of cell types.

The three tables refer to nuclei (`target_id`) and come joined with the root id of the segment around the nucleus
(`pt_root_id`). Precedence:

1. AIBS: the manual column table where it has a class, else the metamodel (automatic, from soma and nucleus).
2. Baylor (automatic, from dendritic spines) checks it: a neuron on which AIBS and Baylor disagree is excluded, since
   the metamodel is known to call some layer 5 inhibitory cells excitatory.
3. A neuron that only one of the two knows takes that label.

Excluded as well: nuclei without a segment (root id 0), segments with several nuclei (merged cells, so that no label
is the axon's), and nuclei to which one table gives several classes. Every exclusion for a label is listed.
"""

import pandas as pd

from pipeline.cohort import CohortError
from pipeline.columns import CLASS_OF_LABEL

#: Classes as the tables write them, in lower case; None is a cell that the annotator left open.
CLASSES = {
    "excitatory": "excitatory",
    "excitatory_neuron": "excitatory",
    "aibs_coarse_excitatory": "excitatory",
    "inhibitory": "inhibitory",
    "inhibitory_neuron": "inhibitory",
    "aibs_coarse_inhibitory": "inhibitory",
    "nonneuron": "nonneuron",
    "aibs_coarse_nonneuronal": "nonneuron",
    "aibs_coarse_unclear": None,
    "aibs_coarse_error": None,
    "unsure": None,
    "": None,
}

#: The column that holds the class, by source.
SOURCES = {"column": "classification_system", "metamodel": "classification_system", "baylor": "cell_type"}

POINT, SOMA = [f"pt_{axis}_nm" for axis in "xyz"], [f"soma_{axis}_nm" for axis in "xyz"]

NEURON_COLUMNS = ["neuron_id", "cell_class", *SOMA]
CONFLICT_COLUMNS = ["nucleus_id", "root_id", *SOURCES, "decision", "reason"]


def merge(
    column: pd.DataFrame, metamodel: pd.DataFrame, baylor: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict]]:
    """One label per neuron: `(neurons, conflicts, flow)`.

    Each table has `target_id`, `pt_root_id`, `pt_{x,y,z}_nm` (the nucleus) and its class column (see SOURCES).
    `neurons` has the columns `pre_neuron_id` (root id) and `label` (1 = excitatory, 0 = inhibitory), sorted by id.
    `conflicts` (CONFLICT_COLUMNS) lists, with reasons, the nuclei that were excluded and those where the manual
    table overruled the metamodel (`decision` is `kept`). `flow` counts the neurons left after each step, and those of
    each class.
    Raises CohortError on missing columns, unknown classes, and a nucleus with several root ids.
    """
    wide = _cells({"column": column, "metamodel": metamodel, "baylor": baylor})
    overruled = wide["column"].notna() & wide["metamodel"].notna() & (wide["column"] != wide["metamodel"])
    left = pd.Series(True, index=wide.index)
    flow: list[dict] = []
    for step, keep in (
        ("cells in a table of cell types", left),
        ("nucleus lies in a segment", ~wide["orphaned"]),
        ("one nucleus in the segment", ~wide["merged"]),
        ("a class from AIBS or Baylor", wide["class"].notna()),
        ("AIBS and Baylor do not disagree", ~(wide["contradictory"] | wide["disagree"])),
        ("excitatory or inhibitory", wide["class"] != "nonneuron"),
    ):
        left &= keep
        classes = {name: int((left & (wide["class"] == name)).sum()) for name in CLASS_OF_LABEL.values()}
        flow.append({"step": step, "neurons": int(left.sum()), **classes, "synapses": None})

    reasons = (
        (wide["orphaned"], "excluded", "no segment at the nucleus (root id 0)"),
        (wide["merged"], "excluded", "several nuclei in one segment"),
        (wide["contradictory"], "excluded", "one table gives several classes"),
        (wide["disagree"], "excluded", "AIBS and Baylor disagree"),
        (overruled, "kept", "the manual column overrules the metamodel"),
    )
    listed = [wide[rows].assign(decision=decision, reason=reason) for rows, decision, reason in reasons]
    conflicts = pd.concat(listed).drop_duplicates("nucleus_id").sort_values("nucleus_id", ignore_index=True)
    label = (wide["class"] == "excitatory").astype("int64")
    neurons = pd.DataFrame({"pre_neuron_id": wide["root_id"], "label": label})[left]
    return neurons.sort_values("pre_neuron_id", ignore_index=True), conflicts[CONFLICT_COLUMNS], flow


def neurons(column: pd.DataFrame, metamodel: pd.DataFrame, baylor: pd.DataFrame) -> pd.DataFrame:
    """Every segment with a nucleus that the tables name, by the same rules: DataFrame of NEURON_COLUMNS, sorted by id.

    `cell_class` is excitatory, inhibitory or nonneuron, and
    missing where no table knows it, where tables disagree and where a segment has several nuclei; the last have no
    soma position either. Raises CohortError as `merge` does.
    """
    tables = {"column": column, "metamodel": metamodel, "baylor": baylor}
    wide = _cells(tables)
    somata = pd.concat([table.set_index("target_id")[POINT] for table in tables.values()]).set_axis(SOMA, axis=1)
    somata = somata[~somata.index.duplicated()].reindex(wide["nucleus_id"]).reset_index(drop=True)
    uncertain = wide["merged"] | wide["contradictory"] | wide["disagree"]
    found = pd.DataFrame(
        {
            "neuron_id": wide["root_id"],
            "cell_class": wide["class"].mask(uncertain, None),
            **somata.astype("float64").mask(wide["merged"]),
        }
    )
    found = found[~wide["orphaned"]].drop_duplicates("neuron_id")  # all rows of a merged segment are the same
    return found.sort_values("neuron_id", ignore_index=True)


def _cells(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a nucleus: `nucleus_id`, `root_id`, the class that each source gives, and what follows from them.

    `class` is that of AIBS, or of Baylor where AIBS gives none; four columns say why a nucleus has no usable class.
    """
    cells = pd.concat([_classes(source, table) for source, table in tables.items()], ignore_index=True)
    nuclei = cells[["nucleus_id", "root_id"]].drop_duplicates().sort_values("nucleus_id", ignore_index=True)
    moved = nuclei.loc[nuclei["nucleus_id"].duplicated(), "nucleus_id"]
    if len(moved):
        raise CohortError(
            f"nucleus {moved.iloc[0]} has several root ids; the tables must come from one materialization version"
        )
    wide = nuclei.merge(_one_class_each(cells), on="nucleus_id", how="left")
    orphaned = wide["root_id"] == 0
    aibs = wide["column"].where(wide["column"].notna(), wide["metamodel"])
    return wide.assign(
        orphaned=orphaned,
        merged=~orphaned & wide["root_id"].duplicated(keep=False),
        contradictory=(wide[list(SOURCES)] == "several").any(axis=1),
        disagree=aibs.notna() & wide["baylor"].notna() & (aibs != wide["baylor"]),
        **{"class": aibs.where(aibs.notna(), wide["baylor"])},
    )


def _classes(source: str, table: pd.DataFrame) -> pd.DataFrame:
    """Rows `source, nucleus_id, root_id, class` of one table; class is missing where the annotator left it open."""
    if missing := [name for name in ("target_id", "pt_root_id", *POINT, SOURCES[source]) if name not in table]:
        raise CohortError(f"the {source} table of cell types lacks the columns {missing}; it has {list(table.columns)}")
    written = table[SOURCES[source]].fillna("").astype(str).str.strip().str.lower()
    if unknown := sorted(set(written) - set(CLASSES)):
        raise CohortError(
            f"the {source} table has unknown classes {unknown} in {SOURCES[source]}; "
            "state what they mean in pipeline/cohort/labels.py"
        )
    ids = table[["target_id", "pt_root_id"]].set_axis(["nucleus_id", "root_id"], axis=1).astype("int64")
    return ids.assign(source=source, **{"class": written.map(CLASSES)})


def _one_class_each(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per nucleus with a class, one column per source; `several` where a source contradicts itself."""
    known = cells.dropna(subset="class").drop_duplicates(["nucleus_id", "source", "class"])
    several = known.duplicated(["nucleus_id", "source"], keep=False)
    known = known.assign(**{"class": known["class"].mask(several, "several")}).drop_duplicates(["nucleus_id", "source"])
    wide = known.pivot(index="nucleus_id", columns="source", values="class")
    return wide.reindex(columns=list(SOURCES)).astype(object).reset_index()
