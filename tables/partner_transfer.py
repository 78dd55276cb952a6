"""Partner assignment in real EM: networks as trained and fine-tuned, beside rules that need no network."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/partner_transfer.py")
values = study.values("partner_transfer")
methods = study.frame("partner_transfer", "methods")
TRAINED = {"simulation": "Simulation", "fine-tuned": "Fine-tuned"}


def p_value(key):
    """`0.023` or `< 0.001`, adjusted, and a dash for methods that were not compared."""
    return values[key].text.removeprefix("p ").removeprefix("= ") if key in values else "–"


rows = []
for row in methods.itertuples():
    key = f"{row.protocol}_{row.method}".replace("-", "_")
    against_avan = f"{row.protocol}_avan_direction_against_{row.method}_p_holm".replace("-", "_")
    errors = row.n_direction + row.n_identity + row.n_unassigned
    glue.require(row.n_correct + errors == row.n, f"every synapse of {row.label} counts")
    rows.append(
        {
            "Trained on": TRAINED[row.protocol] if row.trained else "–",
            "Method": row.label,
            "Pair and direction": values[f"{key}_accuracy"].text,
            "Direction alone": values[f"{key}_direction"].text,
            "Direction errors": values[f"{key}_direction_errors"].text,
            "Identity errors": values[f"{key}_identity_errors"].text,
            "No pair": values[f"{key}_unassigned"].text,
            "p, darker": p_value(f"{key}_direction_against_darker_is_pre_p_holm"),
            "p, AVAN": p_value(against_avan),
        }
    )

unscored = int(values["n_synapses"].value) - int(methods["direction_n"].min())
study.save_table(
    pd.DataFrame(rows),
    f"""Partner assignment on {values["n_synapses"].text} synapses of real electron microscopy (the folder
    {values["volume"].text}) at voxels of {values["voxel_nm"].text} nm: share of synapses whose two partners and their
    direction are right, with exact binomial {glue.percent(study.config.stats.confidence).text} intervals, which take
    synapses for independent.
    Simulation, networks trained on {study.data_phrase} alone; fine-tuned, the same networks trained further on the
    synapses from section {values["split_z"].text} on and tested on those before it, and the other way round, both
    halves together.
    Direction alone, the share of synapses on which the true pair scored above its reversal, whichever pair was chosen;
    synapses whose true pair was not scored, at most {glue.count(unscored).text} of a method, are not among them.
    A rule of the two nearest segments finds every true pair by construction in the Kasthuri folder, where partners are
    the two segments nearest to a point; the direction is the independent target.
    Direction errors, the true pair reversed; identity errors, a pair with a wrong segment; no pair, the method gave
    none, which counts as wrong.
    p, McNemar's exact test of the direction on the same synapses, against the rule that the darker one of the nearest
    pair is presynaptic and against AVAN of the same training, adjusted after Holm over all comparisons shown.
    AVAN, attentional voxel association network; pruners score candidate pairs one by one; rules need no network.""",
    words=("Method",),
)
