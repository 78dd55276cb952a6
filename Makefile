# synapse-ei: every artefact, what it is made from, and the one recipe that makes it.
#
#   make paper [CONFIG=demo]     build/<config>/site/index.html
#   make test                    the test suite
#   make help                    everything else
#
# What Make needs to know of an edition and of the code is written by the code and included ($(MK)): which scripts read
# what, and $(K)/<step>.json, a file that changes when the content of that step's settings or code does.

CONFIG  ?= demo
DATA    ?=
NETWORKS ?= pretrained
SPLIT_Z ?= 75
VENV    ?= .venv
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
BUILD   ?= build

BIN     := $(VENV)/bin
ENV     := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-12)
EDITION := --config $(CONFIG) --build $(BUILD) $(if $(DATA),--data $(DATA))
RUN      = $(BIN)/python -m pipeline
MK      := $(BUILD)/make/$(basename $(notdir $(CONFIG)))$(if $(DATA),-$(notdir $(abspath $(DATA)))).mk

# Steps that do not need one another run two at a time; threads that wait for work must not keep a core from others.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --jobs=2
endif
export OMP_WAIT_POLICY ?= passive
# Else glibc gives the memory of every large tensor back, and the kernel clears it page by page for the next one.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184

# A step that runs and finds its inputs as they were leaves at once; its target is then as new as they are.
STEP = $(RUN) $(1) $(EDITION) && touch $@

.DELETE_ON_ERROR:
.PHONY: paper test style behaviour bench clean help check simulate cohort extract models pretrained partners queue \
	atlas partners-transfer pretrained-partners realism real FORCE

paper:                                          ## the report, from data to page
help:                                           ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s @
	@echo "  make figures/<name>, make tables/<name>: one figure or table, with all that it needs"
	@echo "  CONFIG=demo|study|full|minnie65_small|minnie65|kasthuri|<file>.yaml  DATA=<folder>  NETWORKS=<folders>  VENV=<folder>  PYTHON=<interpreter>"

# --- Environment and facts ---------------------------------------------------------------------------------------------

$(ENV): | requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-* && touch $@

$(MK): FORCE | $(ENV)
	@$(RUN) plan $(EDITION)

# Until an edition that reads the annotation service has its cohort, everything waits for the check.
CHECKED = $(if $(filter cave,$(KIND)),$(if $(wildcard $(B)/cohort/synapses.parquet),,| check))

# Later long stages of such an edition are each checked again, in seconds: the volume, the disk and the GPU.
CHECK = $(if $(filter cave,$(KIND)),$(RUN) check --before $(1) $(EDITION))

ifneq ($(filter-out help test style behaviour bench clean,$(or $(MAKECMDGOALS),paper)),)
include $(MK)
$(K)/%.json $(R)/keys/%.json: $(CHECKED) ;
endif

check:                                          ## token, tables, volume and machine, and what the edition will take
	$(RUN) check $(EDITION)

# --- Data: tissue, cohort, images --------------------------------------------------------------------------------------

SOURCE := $(if $(filter simulated,$(KIND)),$(B)/source/manifest.json)

simulate: $(B)/source/manifest.json             ## simulated neuropil: volumes and annotation tables
$(B)/source/manifest.json: $(K)/simulate.json
	$(call STEP,simulate)

cohort: $(B)/cohort/synapses.parquet            ## synapses, labels, splits, leakage audit
$(B)/cohort/synapses.parquet: $(K)/cohort.json $(SOURCE) $(if $(filter folder,$(KIND)),$(wildcard $(DATA)/synapses.csv))
	$(call STEP,cohort)

extract: $(B)/patches/manifest.json             ## patches and cubes around every synapse
$(B)/patches/manifest.json: $(K)/extract.json $(B)/cohort/synapses.parquet
	$(call CHECK,extract)
	$(call STEP,extract)

# --- Partners: which two neurons does a cleft join? ----------------------------------------------------------------------

P := $(B)/partners

$(P)/source/manifest.json: $(K)/partner-tissue.json
	$(call STEP,partner-tissue)

$(P)/samples/test/manifest.json: $(K)/partner-samples.json $(B)/source/manifest.json $(P)/source/manifest.json
	$(call STEP,partner-samples)

$(P)/networks.json: $(K)/partner-networks.json $(P)/samples/test/manifest.json
	$(call STEP,partner-networks)

partners: $(P)/assignments.parquet              ## train the networks of partner assignment and test every method
$(P)/assignments.parquet: $(K)/partner-tests.json $(P)/networks.json
	$(call STEP,partner-tests)

queue: $(B)/site/queue/queue-1.html             ## pages for proofreading: clefts on whose partners two methods disagree
$(B)/site/queue/queue-1.html: $(K)/queue.json $(P)/assignments.parquet
	$(call STEP,queue)

$(P)/masks/manifest.json: $(K)/masks.json $(P)/networks.json $(B)/patches/manifest.json
	$(call STEP,masks)

# --- Classifiers: every one ends as predictions/<model>.parquet, all that later steps read -------------------------------

models: $(B)/models.json                        ## train every model of the edition that is not up to date
$(B)/models.json: $(K)/train.json $(B)/patches/manifest.json $(if $(MASKS),$(P)/masks/manifest.json)
	$(call CHECK,train)
	$(call STEP,train)

$(PREDICTIONS): | $(B)/models.json              # where one was lost
	$(RUN) train $(EDITION)

PRETRAINED := unet3d cnn

pretrained: $(B)/models.json                    ## publish this edition's small models in pretrained/, with their cards
	$(foreach model,$(PRETRAINED),$(RUN) publish $(EDITION) --model $(model) --out pretrained/$(model) &&) true

$(B)/faults/units/model.json: $(K)/units.json $(B)/patches/manifest.json
	$(call CHECK,units)
	$(call STEP,units)

# --- Analyses, figures, tables, page: prerequisites of each script are in $(MK) -------------------------------------------

$(B)/analysis/%.json: $(K)/analysis-%.json
	$(call STEP,analyse analysis/$*.py)

$(B)/figures/%.png: $(K)/figures-%.json
	$(call STEP,draw figures/$*.py)

$(B)/tables/%.md: $(K)/tables-%.json
	$(call STEP,draw tables/$*.py)

figures/%: $(B)/figures/%.png ;
tables/%: $(B)/tables/%.md ;

paper: $(B)/site/index.html
$(B)/site/%.html: $(K)/companion-%.json $(B)/analysis/%.json
	$(call STEP,companion $*)

atlas: $(B)/site/atlas.html                     ## the page of the test synapses, with their sections
$(B)/site/atlas.html: $(K)/atlas.json $(B)/analysis/performance.json $(filter %/evidence.json,$(ANALYSIS:%=$(B)/analysis/%.json))
	$(call STEP,atlas)

$(B)/site/index.html: $(K)/page.json $(ANALYSIS:%=$(B)/site/%.html) $(FIGURES:%=$(B)/figures/%.png) \
		$(TABLES:%=$(B)/tables/%.md) $(B)/site/atlas.html $(if $(filter partners,$(ANALYSIS)),$(B)/site/queue/queue-1.html)
	$(call STEP,page)

# --- A folder of real data beside the edition: $(R) is named by it ---------------------------------------------------------

ifneq ($(R),)
$(R)/patches/manifest.json: $(R)/keys/real-patches.json $(DATA)/synapses.csv
	$(call STEP,real-patches)

$(R)/cohort/synapses.parquet: $(R)/patches/manifest.json ;

# The tables of a connectome are analysed by an edition of their own
$(R)/statistics.json: $(R)/keys/real.json FORCE
	$(if $(wildcard $(DATA)/connections.parquet),$(MAKE) figures/connectome tables/connectome CONFIG=connectome DATA=$(DATA))
	$(RUN) real $(NETWORKS:%=--networks %) $(EDITION)

real: $(R)/statistics.json                      ## all that applies to real EM or a connectome, for the paper (DATA=<folder>)
	cp $< paper/reference/$(notdir $(abspath $(DATA))).json

$(R)/partners/assignments.parquet: $(R)/keys/partner-transfer.json $(P)/networks.json $(DATA)/synapses.csv FORCE
	$(RUN) partner-transfer --split-z $(SPLIT_Z) $(EDITION)

$(R)/analysis/%.json: $(R)/keys/analysis-%.json
	$(call STEP,analyse analysis/$*.py)

$(R)/figures/%.png: $(R)/keys/figures-%.json
	$(call STEP,draw figures/$*.py)

$(R)/tables/%.md: $(R)/keys/tables-%.json
	$(call STEP,draw tables/$*.py)
else
real realism partners-transfer: ; @echo "name the folder of real data: make $@ DATA=<folder>"; exit 1
endif

realism: $(R:%=%/figures/gallery.png)           ## simulated beside real patches (DATA=<folder of real EM>)
partners-transfer: $(R:%=%/tables/partner_transfer.md) ## partners in real EM, as trained and tuned (DATA=, SPLIT_Z=<section>)

pretrained-partners: partners-transfer          ## publish AVAN, tuned on that folder, in pretrained/avan, with its card
	$(RUN) publish-partners $(EDITION) --out pretrained/avan

# --- Checks --------------------------------------------------------------------------------------------------------------

test: style behaviour                           ## style, types and the whole test suite

style: $(ENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

behaviour: $(ENV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(ENV)                                   ## ratios of speed, each measured within one run
	$(BIN)/python tests/bench.py

clean:                                          ## remove what this edition built
	rm -rf $(BUILD)/$(basename $(notdir $(MK)))

FORCE:
