"""A volume assigned by two methods: how often they disagree, and which is wrong where they do."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/disagreements.py")
values = study.values("partners")
queue = study.rows("partners", "queue")
DISAGREEMENTS = {
    "reversed": "Pair reversed",
    "other partner": "Another segment",
    "no pair": "Only one assigned a pair",
    "": "Agree",
}

rows = []
for disagreement, label in [*DISAGREEMENTS.items(), ("all", "All")]:
    part = queue if disagreement == "all" else queue[queue["disagreement"] == disagreement]
    rows.append(
        {
            "The two methods": label,
            "Detected clefts": glue.count(len(part)).text,
            "False": glue.count((~part["real"]).sum()).text,
            "AVAN wrong": glue.count(part["avan_wrong"].sum()).text,
            "Proximity pruner wrong": glue.count(part["pruner_wrong"].sum()).text,
            "Both wrong": glue.count((part["avan_wrong"] & part["pruner_wrong"]).sum()).text,
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""All {values["n_detected"].text} clefts detected in the test tissue ({study.data_phrase}), assigned partners by
    AVAN (attentional voxel association network) and by the proximity pruner: how the two differ, and the wrong pairs
    of each among the clefts that are true.
    False, detected where there is no cleft, so that no pair is correct.
    A proofreader who reads only the {values["n_disagreements"].text} clefts on which the two disagree
    ({values["share_disagreements"].text} of all) never encounters the wrong pairs on which they agree.""",
)
