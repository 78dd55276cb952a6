# %% [markdown]
# # The third fault: confidence
#
# Of intervals with a confidence of 95%, 95 in 100 should contain the truth.
# Here the truth is known: test sets are drawn repeatedly from a population whose performance is known in closed form
# (`pipeline.stats.coverage`), and we count the intervals that contain it.
# The earlier work tested on 450 synapses of 6 neurons; as there, a neuron has 75 synapses on average.
# The population resembles its scores: the means of the two classes are 1.5 standard deviations of the synapses of one
# neuron apart, and neurons scatter with 0.7 of that standard deviation, so that the true balanced accuracy is nearly
# 0.75.

# %%
from pipeline import glue
from pipeline.stats.coverage import coverage

N_NEURONS = (6, 12, 30, 60, 120)
N_REPEATS = 500
N_SYNAPSES = 75  # mean number per neuron
POPULATION = {"distance": 1.5, "spread": 0.7, "n_synapses": N_SYNAPSES}
N_REPLICATES = 400  # fewer than in the report, since thousands of intervals are computed

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
# Intervals named *synapses* treat synapses as independent: two binomial intervals for balanced accuracy, DeLong's for
# AUC.
# *percentile*, *bca* and *expanded* resample neurons; *expanded* is the interval of this report.
# They use fewer replicates here than in the report, so that their limits scatter slightly more.

# %%
table.pivot(index=["metric", "n_neurons"], columns="interval", values="coverage")

# %%
table.pivot(index=["metric", "n_neurons"], columns="interval", values="width")

# %%
found = table.set_index(["interval", "metric", "n_neurons"]).sort_index()
short = found.loc["synapses", "high"] < found.loc["expanded", "low"]
glue.require(
    short.all(), "at every number of neurons, intervals over synapses contain the truth less often than clustered ones"
)
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
