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
    f"""All {values["n_detected"].text} clefts detected in the test tissue ({study.data_phrase}), assigned partners
    by AVAN and by the proximity pruner: how the two differ, and the wrong pairs of each among true clefts.
    False: no cleft there, so no pair is correct.
    Reading only the {values["n_disagreements"].text} disagreements ({values["share_disagreements"].text} of all) misses
    the wrong pairs on which both agree.""",
)
