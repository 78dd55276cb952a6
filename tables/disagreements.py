"""A whole volume assigned by two methods: how often they disagree, and which is wrong where they do."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/disagreements.py")
values = study.values("partners")
queue = study.frame("partners", "queue")
KINDS = {
    "direction": "Pair reversed",
    "partner": "Another segment",
    "no pair": "One gave no pair",
    "": "Agree",
}

rows = []
for kind, label in [*KINDS.items(), ("all", "All")]:
    part = queue if kind == "all" else queue[queue["disagreement"] == kind]
    rows.append(
        {
            "The two methods": label,
            "Clefts found": glue.count(len(part)).text,
            "of them false": glue.count((~part["real"]).sum()).text,
            "AVAN wrong": glue.count(part["avan_wrong"].sum()).text,
            "Proximity pruner wrong": glue.count(part["pruner_wrong"].sum()).text,
            "Both wrong": glue.count((part["avan_wrong"] & part["pruner_wrong"]).sum()).text,
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""All {values["n_detected"].text} clefts that were detected in the test tissue ({study.data_phrase}), assigned by
    AVAN (attentional voxel association network) and by the proximity pruner: how the two differ, and the wrong pairs
    of each among the clefts that are true.
    False, detected where there is no cleft, so that no pair is right.
    A proofreader who reads only the {values["n_disagreements"].text} clefts on which the two disagree, which is
    {values["share_disagreements"].text} of all, never meets the wrong pairs in the row of agreement.""",
)
