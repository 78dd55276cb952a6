# %% [markdown]
# # The third fault: confidence
#
# Of an interval of confidence 95%, 95 in 100 should hold the truth.
# Here the truth is known: test sets are drawn again and again from a population whose performance is known in closed
# form (`pipeline.stats.coverage`), and each interval is asked whether it holds it.
# The prior work tested on 450 synapses of 6 neurons: 75 synapses a neuron, here too.
# The populations resemble its scores: the classes' means lie one and a half standard deviations of a neuron's synapses
# apart, and neurons scatter with seven tenths of it, for a true balanced accuracy of nearly three in four.

# %%
from pipeline import glue
from pipeline.stats.coverage import coverage

N_NEURONS = (6, 12, 30, 60, 120)
N_REPEATS = 500
N_SYNAPSES = 75  # a neuron
POPULATION = {"distance": 1.5, "spread": 0.7, "n_synapses": N_SYNAPSES}
N_REPLICATES = 400  # fewer than the report's, since thousands of intervals are needed

study = glue.study("analysis/confidence.py")
table = coverage(
    N_NEURONS,
    N_REPEATS,
    study.config.seed,
    population=POPULATION,
    n_replicates=N_REPLICATES,
    confidence=study.config.stats.confidence,
)

# %% [markdown]
# ## Coverage and width
#
# Intervals of *synapses* take synapses for independent: two binomials for balanced accuracy, DeLong's for AUC.
# *percentile*, *bca* and *expanded* resample neurons; *expanded* is the one of this report.
# With fewer replicates than the report's own intervals have, their limits scatter a little more.

# %%
table.pivot(index=["metric", "n_neurons"], columns="interval", values="coverage")

# %%
table.pivot(index=["metric", "n_neurons"], columns="interval", values="width")

# %%
found = table.set_index(["interval", "metric", "n_neurons"]).sort_index()
short = found.loc["synapses", "high"] < found.loc["expanded", "low"]
glue.require(short.all(), "at every number of neurons, intervals of synapses hold the truth less often than clustered")
values = {
    "n_repeats": glue.count(N_REPEATS),
    "n_replicates": glue.count(N_REPLICATES),
    "synapses_per_neuron": glue.count(N_SYNAPSES),
    "n_fewest": glue.count(min(N_NEURONS)),
    "n_fewest_synapses": glue.count(min(N_NEURONS) * N_SYNAPSES),
    "n_most": glue.count(max(N_NEURONS)),
    "nominal": glue.percent(study.config.stats.confidence),
}
for metric, truth in table.groupby("metric")["truth"].first().items():
    values[f"truth_{metric}"] = glue.number(truth, 3)
for row in table.itertuples():
    name = f"{row.interval}_{row.n_neurons}_{row.metric}"
    values[name] = glue.estimate(row.coverage, row.low, row.high)
    values[f"{name}_width"] = glue.number(row.width)
study.save(values, coverage=table)
