"""Published networks, untrained controls, floors and rules on real tissue: from reference runs, or computed again."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/reference.py")
values = study.values("reference")
TISSUES = {"kasthuri_ac3": "Kasthuri AC3", "patches": "minnie65, patches", "cubes": "minnie65, cubes"}

rows = []
scores = study.rows("reference", "scores")
for (tissue, _), part in scores.groupby(["tissue", "score"], sort=False):
    auc = part.set_index("subset").apply(lambda row: glue.estimate_of(row).text, axis=1)
    first = part.iloc[0]
    rows.append(
        {
            "Tissue": TISSUES[tissue],
            "Score": f"Floor: {first['label'].lower()}" if first["kind"] == "floor" else first["label"],
            "AUC, all": auc["all"],
            "AUC, shaft": auc.get("shaft", "–"),
            "Direction": "–",
        }
    )
for row in study.rows("reference", "direction").itertuples():
    share = f"{row.n_right} of {row.n}: {glue.share(row.value, row.low, row.high).text}"
    rows.append(
        {
            "Tissue": TISSUES[row.tissue],
            "Score": row.label + (", tuned on these synapses" if row.in_sample else ""),
            "AUC, all": "–",
            "AUC, shaft": "–",
            "Direction": share,
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""Published networks on real electron microscopy, beside untrained controls, floors and rules; trained on
    {study.data_phrase} alone, apart from AVAN, which was then tuned on Kasthuri's synapses.
    AUC, with {study.interval_phrase}; direction, share of true pairs whose presynaptic side was found.
    Kasthuri AC3 has {values["n_all"].text} synapses, {values["n_shaft"].text} on shafts,
    {values["n_all_inhibitory"].text} inhibitory.""",
    words=("Score",),
)
