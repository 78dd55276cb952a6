"""Partner assignment in real EM: networks as trained on this edition and fine-tuned, and rules without a network."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/partner_transfer.py", on_data=True)
values = study.values("partner_transfer")
methods = study.rows("partner_transfer", "methods")
TRAINED = {"simulation": "Simulation", "fine-tuned": "Fine-tuned"}

rows = []
for row in methods.itertuples():
    key = f"{row.protocol}_{row.method}".replace("-", "_")
    against_avan = f"{row.protocol}_avan_direction_against_{row.method}_p_holm".replace("-", "_")
    errors = row.n_reversed + row.n_wrong_partner + row.n_unassigned
    glue.require(row.n_correct + errors == row.n, f"every synapse of {row.label} counts")
    rows.append(
        {
            "Trained on": TRAINED[row.protocol] if row.trained else "–",
            "Method": row.label,
            "Pair and direction": values[f"{key}_accuracy"].text,
            "Direction alone": values[f"{key}_direction"].text,
            "Reversed": values[f"{key}_reversed"].text,
            "Wrong partner": values[f"{key}_wrong_partner"].text,
            "No pair": values[f"{key}_unassigned"].text,
            "p, darker": glue.p_cell(values.get(f"{key}_direction_against_darker_is_pre_p_holm")),
            "p, AVAN": glue.p_cell(values.get(against_avan)),
        }
    )

unscored = int(values["n_synapses"].value) - int(methods["direction_n"].min())
study.save_table(
    pd.DataFrame(rows),
    f"""Partner assignment on {values["n_synapses"].text} synapses of real electron microscopy (the folder
    {values["volume"].text}) at voxels of {values["voxel_nm"].text} nm: share of synapses whose two partners and their
    direction are correct, with {glue.percent(study.config.stats.confidence).text} intervals for synapses grouped by
    their postsynaptic or their presynaptic neuron, whichever is wider.
    Simulation, networks trained on {study.data_phrase} alone; fine-tuned, the same networks trained further on the
    synapses from section {values["split_z"].text} on and tested on those before it, and vice versa, with both halves
    pooled.
    Direction alone, the share of synapses for which the true pair scored above its reversal, whichever pair was chosen;
    synapses whose true pair was not scored, at most {glue.count(unscored).text} for a method, are left out.
    A rule of the two nearest segments finds every true pair by construction in the Kasthuri folder, where partners are
    the two segments nearest to a point; only the direction is an independent target there.
    Reversed, the true pair in the wrong direction; wrong partner, a pair with another segment; no pair, the method
    assigned none, which counts as wrong.
    p, exact sign-flip test of the direction on the same synapses, neuron by neuron, grouped as for the intervals, the
    larger of two p-values: against the rule that the darker segment of the nearest pair is presynaptic and against AVAN
    with the same training, with Holm's adjustment for all comparisons shown.
    AVAN, attentional voxel association network; pruners score candidate pairs one by one; rules need no network.""",
    words=("Method",),
)
