"""What the demo must show, checked on a finished `make paper`; `.ci/run` calls it."""

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
assert difference["low"] > 0, f"not above every untrained control: {values['performance.difference_roc_auc']['text']}"

leaky, honest = values["leakage.leaky_balanced_accuracy"], values["leakage.honest_pre_weight"]
assert leaky["value"] >= 0.9, f"the leaky protocol scores {leaky['text']}, below 0.9"
weight = pd.read_parquet(demo.analysis / "leakage.weights.parquet").set_index("side").loc["pre"]
assert weight["low"] <= 0 <= weight["high"], f"the honest prior of the presynaptic neuron weighs {honest['text']}"
coverage = pd.read_parquet(demo.analysis / "confidence.coverage.parquet").query("interval == 'report'")
enough = coverage.query("n_neurons >= 30 and metric in ('balanced_accuracy', 'roc_auc')")["coverage"]
assert len(enough) == 6, "coverage was not measured at 30, 60 and 120 neurons"
assert enough.between(0.93, 0.97).all(), f"coverage from 30 neurons on: {enough.tolist()}"
ceiling = pd.read_parquet(demo.analysis / "confidence.ceiling.parquet")  # low, high: the binomial error of coverage
sure = ceiling.query("truth <= 0.99")
assert (sure["high"] >= 0.93).all(), f"coverage of AUC: {sure['coverage'].tolist()}"
assert (sure["low"] <= 0.97).all(), f"coverage of AUC: {sure['coverage'].tolist()}"
assert (ceiling["high"] >= 0.91).all(), f"coverage of AUC at the ceiling: {ceiling['coverage'].tolist()}"

page = demo.site / "index.html"
assert page.stat().st_size <= 2.5e6, f"the page has {page.stat().st_size / 1e6:.1f} MB, more than 2.5"

methods = pd.read_parquet(demo.analysis / "partners.methods.parquet").set_index("method")
avan = values["partners.accuracy_avan"]
assert methods["n"].min() >= 150, f"{methods['n'].min()} test clefts, fewer than 150"
assert avan["value"] >= 0.95, f"AVAN assigns the true pair to {avan['text']}, below 95%"
print(f"demo: AVAN {avan['text']} of {methods['n'].min()} clefts; leaky prior {leaky['text']}")
print(f"demo: {len(cohort)} synapses, {len(neurons)} neurons, test AUC {auc['text']}")
