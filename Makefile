# synapse-ei: every artefact, what it is made from, and the one recipe that makes it.
#
#   make paper [CONFIG=demo]     build/<config>/site/index.html
#   make test                    the test suite
#   make help                    everything else

CONFIG ?= demo
DATA   ?=
SPLIT_Z ?= 75
VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)

BUILD  ?= build
NAME   := $(basename $(notdir $(CONFIG)))
B      := $(BUILD)/$(NAME)
YAML   := $(if $(filter %.yaml,$(CONFIG)),$(CONFIG),pipeline/configs/$(CONFIG).yaml)
BIN    := $(VENV)/bin
ENV    := $(VENV)/.installed
RUN     = $(BIN)/python -m pipeline
EDITION = --config $(CONFIG) --build $(BUILD) $(if $(filter folder connectome,$(KIND)),$(if $(DATA),--data $(DATA)))

PARTNERS := $(shell grep -l '^partners:' $(YAML))
KIND   := $(shell sed -n 's/^ *kind: *\([a-z]*\).*/\1/p' $(YAML))

# Steps that do not need one another run two at a time; threads that wait for work must not keep a core from others.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --jobs=2
endif
export OMP_WAIT_POLICY ?= passive
# Else glibc gives the memory of every large tensor back, and the kernel clears it page by page for the next one.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184

SHARED := pipeline/space.py pipeline/compute.py pipeline/stages.py
code    = $(wildcard pipeline/$(1)/*.py) $(SHARED)

ANALYSES := cohort performance study examples fusion inference errors units leakage confidence \
	$(if $(filter simulated,$(KIND)),simulation evidence realism partners)
FIGURES  := performance study examples neurons pooling calibration power fusion units leakage confidence \
	$(if $(filter simulated,$(KIND)),simulation evidence realism partners partner_examples)
TABLES   := cohort audit models results study comparison fusion errors reproduced \
	$(if $(filter simulated,$(KIND)),evidence realism partners detection disagreements)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: paper test bench clean help simulate cohort extract partners partners-transfer pretrained-partners queue models pretrained realism transfer reference connectivity FORCE

paper: $(B)/site/index.html                     ## the report, from data to page

# --- Environment ---------------------------------------------------------------------------------------------------

$(ENV): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# --- Settings: one file a section, rewritten only where its content changed, so that only what depends on it is rebuilt

$(B)/settings/.stamp: FORCE | $(ENV)
	@$(RUN) settings $(EDITION) && touch $@

$(B)/settings/%.json: $(B)/settings/.stamp ;

setting = $(patsubst %,$(B)/settings/%.json,$(1))

# --- Data: tissue, cohort, patches ------------------------------------------------------------------------------------

simulate: $(B)/source/manifest.json             ## simulated neuropil: volumes and annotation tables
$(B)/source/manifest.json: $(call code,simulate) $(call setting,source) $(ENV)
	$(RUN) simulate $(EDITION)

cohort: $(B)/cohort/synapses.parquet            ## synapses, labels, splits, leakage audit
$(B)/cohort/synapses.parquet: $(call code,cave) $(call code,cohort) $(call setting,source cohort) $(ENV) \
		$(if $(filter simulated,$(KIND)),$(B)/source/manifest.json)
	$(RUN) cohort $(EDITION)

extract: $(B)/patches/manifest.json             ## patches and cubes around every synapse
$(B)/patches/manifest.json: $(B)/cohort/synapses.parquet $(call code,extract) $(call setting,extract) $(ENV)
	$(RUN) extract $(EDITION)

# --- Partners: which two neurons does a cleft join? --------------------------------------------------------------------

P := $(B)/partners

$(P)/source/manifest.json: $(call code,simulate) $(call setting,partners) $(ENV)
	$(RUN) partner-tissue $(EDITION)

$(P)/samples/test/manifest.json: $(B)/source/manifest.json $(P)/source/manifest.json $(call setting,partners) \
		pipeline/partner_stages.py $(wildcard pipeline/extract/*.py)
	$(RUN) partner-samples $(EDITION)

$(P)/networks.json: $(P)/samples/test/manifest.json $(call setting,partners) $(wildcard pipeline/partners/*.py) \
		pipeline/models/rsunet.py pipeline/learn/augment.py
	$(RUN) partner-networks $(EDITION)

partners: $(P)/assignments.parquet              ## train the networks of partner assignment and test every method
$(P)/assignments.parquet: $(P)/networks.json pipeline/combined.py
	$(RUN) partner-tests $(EDITION)

queue: $(P)/queue/queue-1.html                 ## pages for proofreading: clefts on whose partners two methods disagree
$(P)/queue/queue-1.html: $(P)/assignments.parquet pipeline/render/queue.py pipeline/render/queue.html
	$(RUN) queue $(EDITION)

partners-transfer: $(B)/tables/partner_transfer.md ## partners in real EM, as trained and tuned (DATA=<folder>, SPLIT_Z=<section>)
$(P)/transfer/assignments.parquet: $(P)/networks.json pipeline/partner_stages.py
	$(RUN) partner-transfer $(EDITION) --volumes $(DATA) --split-z $(SPLIT_Z)
$(B)/analysis/partner_transfer.json: $(P)/transfer/assignments.parquet pipeline/partners/scores.py
$(B)/tables/partner_transfer.md: $(B)/analysis/partner_transfer.json

pretrained-partners: $(B)/tables/partner_transfer.md ## publish AVAN, tuned on that folder, in pretrained/avan, with its card
	$(RUN) publish-partners $(EDITION) --out pretrained/avan

$(P)/attention/manifest.json: $(P)/networks.json $(B)/patches/manifest.json
	$(RUN) attention $(EDITION)

# --- Models: every one ends as predictions/<model>.parquet, all that later steps read --------------------------------

models: $(B)/models.json                        ## train every model of the edition that is not up to date
$(B)/models.json: $(B)/patches/manifest.json $(call code,learn) $(call code,models) $(call setting,models) $(ENV) \
		$(if $(PARTNERS),$(B)/partners/attention/manifest.json)
	$(RUN) train $(EDITION)

PREDICTIONS := $(shell sed -n 's/^ *"\(.*\)".*/\1/p' $(B)/models.json 2>/dev/null)
PREDICTIONS := $(PREDICTIONS:%=$(B)/predictions/%.parquet)
$(PREDICTIONS): | $(B)/models.json              # where one was lost:
	$(RUN) train $(EDITION)

PRETRAINED := unet3d cnn

pretrained: $(B)/models.json                    ## publish this edition's small models in pretrained/, with their cards
	$(foreach model,$(PRETRAINED),$(RUN) publish $(EDITION) --model $(model) --out pretrained/$(model) &&) true

$(B)/faults/units/model.json: $(B)/patches/manifest.json $(call code,extract) $(call code,learn) $(call code,models) \
		$(call setting,extract models) $(ENV)
	$(RUN) units $(EDITION)

# --- Analyses: notebook scripts, predictions to results ---------------------------------------------------------------

$(B)/analysis/%.json: analysis/%.py $(call code,stats) pipeline/glue.py pipeline/render/notebook.py $(call setting,stats) $(ENV)
	$(RUN) analyse $(EDITION) $< --inputs $(filter-out $(ENV),$^)

$(B)/analysis/cohort.json: $(B)/cohort/synapses.parquet
$(B)/analysis/performance.json: $(B)/models.json $(PREDICTIONS) pipeline/learn/threshold.py
$(B)/analysis/study.json: $(B)/analysis/performance.json $(B)/models.json $(PREDICTIONS)
$(B)/analysis/connectome.json: $(call code,connectivity) $(call setting,source) $(wildcard $(DATA)/*.parquet)
$(B)/analysis/examples.json: $(B)/analysis/performance.json $(B)/patches/manifest.json
$(B)/analysis/evidence.json: $(B)/analysis/performance.json $(B)/models.json $(B)/source/manifest.json \
		$(B)/patches/manifest.json pipeline/learn/evidence.py
$(B)/analysis/fusion.json: $(B)/analysis/performance.json $(B)/models.json $(PREDICTIONS) $(call code,connectivity) \
		pipeline/learn/threshold.py
$(B)/analysis/inference.json: $(B)/analysis/performance.json $(B)/models.json $(PREDICTIONS) pipeline/learn/threshold.py
$(B)/analysis/errors.json: $(B)/analysis/performance.json $(PREDICTIONS) $(B)/patches/manifest.json
$(B)/analysis/units.json: $(B)/faults/units/model.json $(B)/models.json $(PREDICTIONS) pipeline/learn/threshold.py
$(B)/analysis/leakage.json: $(B)/cohort/synapses.parquet $(call code,connectivity)
$(B)/analysis/partners.json: $(P)/assignments.parquet $(P)/samples/test/manifest.json $(B)/models.json $(PREDICTIONS) \
		$(call code,partners) pipeline/learn/threshold.py
$(B)/analysis/simulation.json: $(B)/source/manifest.json
$(B)/analysis/realism.json: $(B)/patches/manifest.json analysis/reference/kasthuri_ac3.json

# --- Figures and tables: one script each, from results -----------------------------------------------------------------

$(B)/figures/%.png: figures/%.py figures/style.py pipeline/glue.py $(ENV)
	$(RUN) draw $(EDITION) $< --inputs $(filter-out $(ENV),$^)

$(B)/figures/performance.png: $(B)/analysis/performance.json
$(B)/figures/study.png: $(B)/analysis/study.json
$(B)/figures/neurons.png: $(B)/analysis/performance.json
$(B)/figures/examples.png: $(B)/analysis/examples.json $(B)/patches/manifest.json
$(B)/figures/evidence.png: $(B)/analysis/evidence.json $(B)/patches/manifest.json
$(B)/figures/simulation.png: $(B)/analysis/simulation.json
$(B)/figures/realism.png: $(B)/analysis/realism.json
$(B)/figures/pooling.png $(B)/figures/calibration.png $(B)/figures/power.png: $(B)/analysis/inference.json
$(B)/figures/fusion.png: $(B)/analysis/fusion.json
$(B)/figures/units.png: $(B)/analysis/units.json $(B)/patches/manifest.json
$(B)/figures/leakage.png: $(B)/analysis/leakage.json
$(B)/figures/confidence.png: $(B)/analysis/confidence.json
$(B)/figures/partners.png: $(B)/analysis/partners.json
$(B)/figures/partner_examples.png: $(B)/analysis/partners.json
$(B)/figures/connectome.png: $(B)/analysis/connectome.json
$(B)/figures/gallery.png: $(B)/patches/manifest.json $(BUILD)/kasthuri/patches/manifest.json

$(B)/tables/%.md: tables/%.py pipeline/glue.py $(ENV)
	$(RUN) draw $(EDITION) $< --inputs $(filter-out $(ENV),$^)

$(B)/tables/cohort.md: $(B)/analysis/cohort.json
$(B)/tables/audit.md: $(B)/analysis/cohort.json
$(B)/tables/models.md: $(B)/analysis/study.json $(B)/analysis/cohort.json
$(B)/tables/results.md: $(B)/analysis/performance.json
$(B)/tables/study.md: $(B)/analysis/study.json
$(B)/tables/realism.md: $(B)/analysis/realism.json
$(B)/tables/evidence.md: $(B)/analysis/evidence.json
$(B)/tables/comparison.md: $(B)/analysis/inference.json
$(B)/tables/fusion.md: $(B)/analysis/fusion.json
$(B)/tables/errors.md: $(B)/analysis/errors.json
$(B)/tables/reproduced.md: $(ANALYSES:%=$(B)/analysis/%.json)
$(B)/tables/partners.md: $(B)/analysis/partners.json
$(B)/tables/detection.md: $(B)/analysis/partners.json
$(B)/tables/disagreements.md: $(B)/analysis/partners.json
$(B)/tables/connectome.md: $(B)/analysis/connectome.json

# --- The page ----------------------------------------------------------------------------------------------------------

PAPER := $(shell find paper -type f)
$(B)/site/index.html: $(ANALYSES:%=$(B)/analysis/%.json) $(FIGURES:%=$(B)/figures/%.png) $(TABLES:%=$(B)/tables/%.md) \
		$(PAPER) $(wildcard pipeline/render/*) $(ENV)
	$(RUN) page $(EDITION)

# --- Real EM beside the simulation -------------------------------------------------------------------------------------

ifneq ($(NAME),kasthuri)
$(BUILD)/kasthuri/patches/manifest.json:
	$(MAKE) extract CONFIG=kasthuri DATA=$(DATA)
endif

realism: $(B)/figures/gallery.png               ## simulated beside real patches (DATA=<folder of real EM>)

transfer: $(B)/tables/transfer.md               ## this edition's networks on real EM (DATA=<folder of real EM>)
$(B)/transfer/volume.json: $(B)/models.json $(PREDICTIONS) $(BUILD)/kasthuri/patches/manifest.json pipeline/extract/floors.py \
		pipeline/learn/matching.py
	$(RUN) transfer $(EDITION) --volumes $(DATA)
$(B)/analysis/transfer.json: $(B)/transfer/volume.json $(B)/analysis/performance.json
$(B)/tables/transfer.md: $(B)/analysis/transfer.json

reference: $(BUILD)/kasthuri/patches/manifest.json ## measure the real texture again (DATA=<folder of real EM>)
	$(RUN) reference --config kasthuri --build $(BUILD) --data $(DATA) --out analysis/reference/kasthuri_ac3.json

connectivity:                                   ## neurons told from connections alone (DATA=<folder of a connectome>)
	$(MAKE) CONFIG=connectome DATA=$(DATA) $(BUILD)/connectome/figures/connectome.png $(BUILD)/connectome/tables/connectome.md

# --- Checks ------------------------------------------------------------------------------------------------------------

test: $(ENV)                                    ## style check and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/test_end_to_end.py tests

bench: $(ENV)                                   ## ratios of speed, each measured within one run
	$(BIN)/python tests/bench.py

clean:                                          ## remove what this edition built
	rm -rf $(B)

help:                                           ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @
	@echo "  CONFIG=demo|full|minnie65|kasthuri|<file>.yaml   DATA=<folder>   VENV=<folder>   PYTHON=<interpreter>"
