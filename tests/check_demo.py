"""What the demo must show, read from a finished `make paper`; `.ci/run` calls it."""

import sys
from pathlib import Path

import pandas as pd

from pipeline.artefacts import Build, read_json

demo = Build("demo", Path(sys.argv[1]) if len(sys.argv) > 1 else "build")
values = read_json(demo.analysis / "values.json")
cohort = pd.read_parquet(demo.synapses)
neurons = cohort.groupby("pre_neuron_id")["label"].first()
difference = pd.read_parquet(demo.analysis / "performance.difference.parquet").set_index("metric").loc["roc_auc"]

assert len(cohort) >= 1000, f"{len(cohort)} usable synapses, fewer than 1,000"
assert len(neurons) >= 80, f"{len(neurons)} presynaptic neurons, fewer than 80"
assert (neurons == 0).sum() >= 25, f"{(neurons == 0).sum()} inhibitory neurons, fewer than 25"
auc = values["performance.best_roc_auc"]
assert auc["value"] >= 0.80, f"best test AUC {auc['text']}, below 0.80"
assert difference["low"] > 0, f"not above the untrained control: {values['performance.difference_roc_auc']['text']}"
print(f"demo: {len(cohort)} synapses, {len(neurons)} neurons, test AUC {auc['text']}")
