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

#
# A good model is near the ceiling, where errors are few and made by few neurons; there the interval of AUC is tested
# on balanced and unbalanced test sets of as many synapses a neuron as in the default edition.

# %%
from pipeline import glue
from pipeline.stats import coverage

N_NEURONS = (6, 12, 30, 60, 120)
N_SYNAPSES = 75  # mean number per neuron
POPULATION = {"distance": 1.5, "spread": 0.7, "n_synapses": N_SYNAPSES}
N_REPLICATES = 300  # fewer than in the report, since thousands of intervals are computed

AUCS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
NEURONS = ((18, 9), (14, 13), (60, 60), (90, 30))  # excitatory, inhibitory
N_SYNAPSES_CEILING = 14

study = glue.study("analysis/confidence.py")
seed, confidence, n_repeats = study.config.seed, study.config.stats.confidence, study.config.stats.n_test_sets
table = coverage.coverage(
    N_NEURONS, n_repeats, seed, population=POPULATION, n_replicates=N_REPLICATES, confidence=confidence
)
ceiling = coverage.ceiling(
    AUCS, NEURONS, n_repeats, seed, POPULATION["spread"], n_synapses=N_SYNAPSES_CEILING, confidence=confidence
)

# %% [markdown]
# ## Coverage and width
#
# Intervals named *synapses* treat synapses as independent: two binomial intervals for balanced accuracy, DeLong's for
# AUC.
# *percentile* resamples neurons, with fewer replicates than bootstrap intervals of the report have.
# *report* is the interval of this report.

# %%
table.pivot(index=["metric", "n_neurons"], columns="interval", values="coverage")

# %%
table.pivot(index=["metric", "n_neurons"], columns="interval", values="width")

# %% [markdown]
# ## Near the ceiling
#
# Coverage of the report's interval of AUC, by the true AUC and the numbers of excitatory and inhibitory neurons, and
# the share of test sets in which no inhibitory synapse scored above an excitatory one.

# %%
ceiling.pivot(index=["n_excitatory", "n_inhibitory"], columns="truth", values="coverage")

# %%
ceiling.pivot(index=["n_excitatory", "n_inhibitory"], columns="truth", values="perfect")

# %%
found = table.set_index(["interval", "metric", "n_neurons"]).sort_index()
short = found.loc["synapses", "high"] < found.loc["report", "low"]
glue.require(
    short.all(), "at every number of neurons, intervals over synapses contain the truth less often than clustered ones"
)
lowest, highest = (ceiling.loc[row] for row in (ceiling["coverage"].idxmin(), ceiling["coverage"].idxmax()))
values = {
    "n_repeats": glue.count(n_repeats),
    "n_replicates": glue.count(N_REPLICATES),
    "synapses_per_neuron": glue.count(N_SYNAPSES),
    "n_fewest": glue.count(min(N_NEURONS)),
    "n_fewest_synapses": glue.count(min(N_NEURONS) * N_SYNAPSES),
    "n_most": glue.count(max(N_NEURONS)),
    "nominal": glue.percent(confidence),
    "ceiling_synapses_per_neuron": glue.count(N_SYNAPSES_CEILING),
    "ceiling_n_fewest": glue.count(min(map(sum, NEURONS))),
    "ceiling_n_most": glue.count(max(map(sum, NEURONS))),
    "ceiling_auc_low": glue.number(min(AUCS), 3),
    "ceiling_auc_high": glue.number(max(AUCS), 3),
    "ceiling_lowest": glue.percent(lowest["coverage"], 1),
    "ceiling_highest": glue.percent(highest["coverage"], 1),
}
for metric, truth in table.groupby("metric")["truth"].first().items():
    values[f"truth_{metric}"] = glue.number(truth, 3)
for row in table.itertuples():
    name = f"{row.interval}_{row.n_neurons}_{row.metric}"
    values[name] = glue.estimate(row.coverage, row.low, row.high)
    values[f"{name}_width"] = glue.number(row.width)
study.save(values, coverage=table, ceiling=ceiling)
