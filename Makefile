# `make` alone prints the targets. STUDY names the parameter file: make study STUDY=smoke runs params/smoke.yaml.
STUDY ?= standin
B := build/$(STUDY)
F := figures/$(STUDY)
PYTHON := .venv/bin/python
# One process has the libraries loaded and forks itself for each command of this make (common/warm.py); WARM= without.
WARM := build/.warm-$(shell echo $$PPID)
RUN := PYTHONHASHSEED=0 WARM=$(WARM) $(PYTHON) -m analysis_lib

# SCHEDULER=tcp://host:port sends the feature extraction to a Dask cluster (docs/radiomics.md).
SCHEDULER ?=
export SCHEDULER

SHELL := bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help env fetch masks check study predict search multiverse docs gallery test test-slow evidence mutants lint lint-check lock bench benchmark-survival profile explore clean distclean \
        FORCE protocol report site validate verify expect reproduce compare package export-model
# Notebooks that do not need each other run side by side, one thread each; JOBS=1 runs them one by one.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
MAKEFLAGS += --no-builtin-rules --jobs=$(JOBS)

# The text after ## says what a target does; the word in brackets before it, under which heading help lists it.
HEADINGS := run:Run_a_study look:Look_at_it,_and_pass_it_on change:Ask_again own:Patients_of_your_own maintain:Maintain
help: ## [maintain] print the targets
	@echo "make TARGET STUDY=$(STUDY)    STUDY names the parameter file, params/$(STUDY).yaml; JOBS=$(JOBS) side by side"
	@for heading in $(HEADINGS); do printf '\n%s\n' "$$(tr _ ' ' <<<"$${heading#*:}")"; awk -F ':.*## ' -v group="[$${heading%%:*}] " \
	    'index($$2, group) == 1 { printf "  make %-13s %s\n", $$1, substr($$2, length(group) + 1) }' Makefile; done
# A word that is no target; a file that is missing comes here, too.
.DEFAULT:
	@near=$$(python3 -c 'import difflib, re, sys; names = re.findall(r"^([a-z-]+):.*##", open("Makefile").read(), re.M); \
	    print(*difflib.get_close_matches(sys.argv[1], names, 1))' '$@' 2>/dev/null); \
	echo "make: nothing makes '$@'$${near:+; did you mean make $$near?}" >&2; exit 2

# ---- environment -------------------------------------------------------------------------------------
ENV := .venv/.ready
env: $(ENV) ## [run] build .venv from requirements.lock (every other target does so on first use)
$(ENV): requirements.lock pyproject.toml tools/setup_env.sh tools/uv.lock tools/zig.lock
	@tools/setup_env.sh && touch $@

# As tools/setup_env.sh finds it, or has fetched it, with the system's certificates.
UV = $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),UV_SYSTEM_CERTS=1) "$$(command -v uv || echo .tools/bin/uv)"
# What only make fetch and make masks need, each in an environment of its own from a lock of its own.
.venv-%/.ready: requirements/%.lock $(ENV)
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D)
	@$(UV) pip install --quiet --require-hashes --no-deps --python $(@D)/bin/python -r $< && touch $@

# ---- the study ---------------------------------------------------------------------------------------
# Each section of the parameters has a file of its own under $(B)/params that changes only when its values do,
# so a new cut-off in a study's own file re-runs the notebooks that use it and never the feature extraction; one of
# params/defaults.yaml redraws the synthetic patients, and all that follows.
P := $(B)/params
N := $(B)/notebooks
# In the order of starting where none waits for another: the long ones first (06 asks for 04).
NOTEBOOKS := 06_discrimination 02_sarcopenia 12_added_value 09_beyond_the_letter 03_radiomics_pca 13_extended_table2 \
             14_index_splines 04_autoencoder_deepsurv 01_cohort 05_risk_groups 07_paper_comparison 11_small_data
# What code each stage and notebook runs, read from the import statements (common/code.py): a file each that changes
# when a module changes that it uses, so no rule lists modules. Comments and docstrings do not count.
C := build/code
$(C)/.written: $(wildcard analysis_lib/*.py analysis_lib/*/*.py notebooks/*.ipynb) $(ENV)
	@mkdir -p $(@D) && $(RUN) code && touch $@
$(C)/%.txt: $(C)/.written ;@:

study: $(B)/run.json ## [run] from DICOM to every table and figure, in figures/$(STUDY)
	@[ -f $(B)/verdict.txt ] || $(RUN) record --study $(STUDY); cat $(B)/verdict.txt
$(B)/run.json: $(NOTEBOOKS:%=$(N)/%.ipynb) $(B)/10_stability.done
	@$(RUN) record --study $(STUDY)

fetch: $(ENV) .venv-fetch/.ready ## [own] CT and clinical table of a public collection, into data/$(STUDY); goes on where it stopped
	@$(RUN) fetch --study $(STUDY)
DEVICE ?= gpu
masks: $(ENV) .venv-masks/.ready ## [own] outline the muscles by TotalSegmentator, on DEVICE=gpu or cpu; goes on where it stopped
	@$(RUN) masks --study $(STUDY) --device $(DEVICE)
protocol: $(ENV) ## [own] what STUDY will ask and what would count as reproduced, to sign before anybody looks
	@$(RUN) protocol --study $(STUDY)
check: $(ENV) ## [run] read everything, compute nothing: build/$(STUDY)/check/check.html
	@$(RUN) check --study $(STUDY)

# A run of the study notes what it is going to do, so that each step can say what is left (review/progress.py).
PLANNED = $(MAKE) --no-print-directory -n -o $(ENV) -o $(B)/.prepared -o $(B)/.inputs -o $(C)/.written $(B)/run.json 2>/dev/null \
          | sed -nE 's/.*-m analysis_lib (notebook )?([a-z0-9_]+) --study.*|.*-m analysis_lib notebook ([a-z0-9_]+) .*/\2\3/p' | grep -v record
$(B)/.prepared: $(ENV) FORCE
	@mkdir -p $(@D) && $(RUN) prepare --study $(STUDY) && touch $@
	@$(if $(filter study report site package export-model gallery,$(MAKECMDGOALS)),$(PLANNED) >$(B)/.plan || true)
$(P)/%.json: $(B)/.prepared ;@:
.PRECIOUS: $(B)/again/% $(C)/%.txt
$(B)/again/%: $(B)/.prepared ;@:

$(B)/cohort.done: $(B)/again/cohort $(P)/standin.json $(P)/drawn_to.json $(P)/seed.json $(P)/data_dir.json $(C)/cohort.txt
	@$(RUN) cohort --study $(STUDY) && touch $@
$(B)/.inputs: $(B)/cohort.done FORCE
	@$(RUN) inputs --study $(STUDY) && touch $@
$(B)/inputs.txt $(B)/feature_inputs.txt: $(B)/.inputs ;@:

$(B)/measured.parquet: $(B)/again/measure $(B)/inputs.txt $(P)/images.json $(P)/cohort.json $(P)/clinical.json \
                       $(P)/reference.json $(P)/asked_columns.json $(C)/measure.txt
	@$(RUN) measure --study $(STUDY)
$(B)/patients.parquet: $(B)/again/assemble $(B)/measured.parquet $(P)/cohort.json $(P)/seed.json \
                       $(P)/endpoint.json $(P)/subset.json $(P)/landmark_months.json $(P)/cox.json $(C)/assemble.txt
	@$(RUN) assemble --study $(STUDY)
$(B)/features.parquet: $(B)/again/features $(B)/measured.parquet $(B)/feature_inputs.txt $(P)/features.json \
                       $(wildcard params/features_*.yaml) $(C)/features.txt
	@$(RUN) features --study $(STUDY)
$(B)/exclusions.parquet: $(B)/again/exclusions $(B)/patients.parquet $(B)/features.parquet $(C)/exclusions.txt
	@$(RUN) exclusions --study $(STUDY)
$(B)/optimism.csv: $(B)/again/optimism $(B)/patients.parquet $(B)/features.parquet $(B)/stability.done $(P)/optimism.json $(P)/autoencoder.json $(P)/network.json \
                   $(C)/optimism.txt
	@$(RUN) optimism --study $(STUDY)

# Off unless stability.patients is set; then the model may depend on it (features.min_icc).
$(B)/stability.done: $(B)/again/stability $(B)/patients.parquet $(B)/features.parquet $(P)/stability.json $(P)/features.json $(C)/stability.txt
	@$(RUN) stability --study $(STUDY) && touch $@
$(B)/10_stability.done: $(B)/stability.done $(P)/statistics.json $(C)/10_stability.txt notebooks/10_stability.ipynb $(B)/again/10_stability
	@$(RUN) notebook 10_stability --study $(STUDY) && touch $@

# ---- notebooks: what each reads ------------------------------------------------------------------------
# A new cut-off changes definitions.json, so only the notebooks that name it run again; the model never sees a cut-off.
# Those of indices alone run while the features are extracted.
COMMON := $(B)/patients.parquet $(P)/title.json $(P)/seed.json $(P)/cohort.json
STATISTICS := $(P)/statistics.json $(P)/definitions.json $(P)/further_definitions.json
OF_INDICES := $(N)/02_sarcopenia.ipynb $(N)/13_extended_table2.ipynb $(N)/14_index_splines.ipynb
$(N)/01_cohort.ipynb: $(COMMON) $(B)/exclusions.parquet $(P)/definition_names.json $(P)/features.json $(P)/autoencoder.json
$(N)/02_sarcopenia.ipynb $(N)/13_extended_table2.ipynb $(N)/14_index_splines.ipynb: $(COMMON) $(STATISTICS)
$(N)/13_extended_table2.ipynb $(N)/14_index_splines.ipynb: $(P)/adjustment.json
$(N)/03_radiomics_pca.ipynb: $(COMMON) $(STATISTICS) $(P)/pca.json $(B)/stability.done
$(N)/04_autoencoder_deepsurv.ipynb: $(COMMON) $(P)/months.json $(P)/autoencoder.json $(P)/network.json \
                                    $(P)/comparators.json $(P)/importance.json $(B)/stability.done
$(N)/05_risk_groups.ipynb: $(COMMON) $(P)/statistics.json $(P)/adjustment.json $(P)/risk_groups.json $(N)/04_autoencoder_deepsurv.ipynb
$(N)/06_discrimination.ipynb: $(COMMON) $(STATISTICS) $(N)/04_autoencoder_deepsurv.ipynb
$(N)/07_paper_comparison.ipynb: $(COMMON) $(P)/definition_names.json $(P)/statistics.json $(P)/published.json $(wildcard params/published*.yaml) \
                                $(N)/02_sarcopenia.ipynb $(N)/06_discrimination.ipynb
$(N)/09_beyond_the_letter.ipynb: $(COMMON) $(P)/statistics.json $(N)/04_autoencoder_deepsurv.ipynb
$(N)/11_small_data.ipynb: $(COMMON) $(P)/statistics.json $(P)/published.json $(wildcard params/published*.yaml) $(B)/optimism.csv $(N)/04_autoencoder_deepsurv.ipynb
$(N)/12_added_value.ipynb: $(COMMON) $(STATISTICS) $(P)/adjustment.json $(N)/04_autoencoder_deepsurv.ipynb
# 04, for which the most others wait, can start where they can; else make comes back to it after all of them.
$(filter-out $(OF_INDICES),$(NOTEBOOKS:%=$(N)/%.ipynb)): | $(B)/stability.done
$(N)/%.ipynb: notebooks/%.ipynb $(C)/%.txt $(B)/again/%
	@$(RUN) notebook $* --study $(STUDY)

MODEL ?= build/standin/model
predict: $(B)/cohort.done ## [own] apply MODEL=build/standin/model to STUDY's patients, who need no outcomes
	@$(RUN) predict --study $(STUDY) --model $(MODEL)
validate: $(B)/exclusions.parquet ## [own] judge MODEL=<folder> on STUDY's patients, whose outcomes are known; nothing is trained
	@$(RUN) validate --study $(STUDY) --model $(MODEL) && $(RUN) notebook 17_validation --study $(STUDY) && $(RUN) record --study $(STUDY)
export-model: $(B)/run.json ## [look] the fitted model for others, without a number of a single patient: build/$(STUDY)/model_to_share
	@$(RUN) export-model --study $(STUDY)
search: $(B)/patients.parquet $(B)/features.parquet ## [change] search hyperparameters inside the training set, into params/$(STUDY)-tuned.yaml
	@$(RUN) search --study $(STUDY) && $(RUN) notebook 16_search --study $(STUDY)
multiverse: $(N)/04_autoencoder_deepsurv.ipynb ## [change] the choices an analyst could have made instead, and the power page
	@$(RUN) multiverse --study $(STUDY) && $(RUN) notebook 15_multiverse --study $(STUDY)

# ---- reading, checking and passing on a finished run -------------------------------------------------------
# A study that was only validated is reported and packed as it is; nothing is trained for it.
RAN = $(if $(wildcard $(B)/validation/model.json),$(if $(wildcard $(B)/model),$(B)/run.json,$(ENV)),$(B)/run.json)
report: $(RAN) ## [look] one self-contained HTML page of the results, and a PDF if Chromium is there
	@$(RUN) report --study $(STUDY)
site: $(RAN) ## [look] report, executed notebooks and documentation as a static site, links checked: build/$(STUDY)/site
	@$(RUN) site --study $(STUDY)
# B on the command line names a study here, and hides the folder $(B), which this target does not use.
compare: $(ENV) ## [look] what changed between two studies: make compare A=standin B=mytweak
	@$(if $(and $(A),$(filter command,$(origin B))),,echo "make compare needs two studies: make compare A=standin B=mytweak" >&2; exit 2)
	@$(RUN) compare $(A) $(B)
package: $(RAN) ## [look] one zip of the results for a journal, without any patient
	@$(RUN) package --study $(STUDY)
# make study verify runs the study first, though a run of another day can be verified alone.
verify: $(ENV) | $(filter study,$(MAKECMDGOALS)) ## [look] check a run's files and conclusions against the committed expectation
	@$(RUN) verify --study $(STUDY)
expect: $(ENV) | $(filter study,$(MAKECMDGOALS)) ## [maintain] keep a run's tables as the expectation, or add this processor to one with the same bytes
	@$(RUN) expect --study $(STUDY)
reproduce: ## [run] clone, install, run and verify in an empty folder; writes REPRODUCTION.md
	@tools/reproduce.sh $(STUDY) $(REPRODUCE_DIR)

explore: $(N)/04_autoencoder_deepsurv.ipynb ## [look] sliders for cut-offs, endpoint, set and month, in the browser; JUPYTER=<options of JupyterLab>
	EXPLORE_STUDY=$(STUDY) PYTHONPATH=$(CURDIR) $(PYTHON) -m analysis_lib.ui.explore_app $(if $(filter 0,$(shell id -u)),--allow-root) $(JUPYTER)

# ---- tests ---------------------------------------------------------------------------------------------
# As many processes as notebooks, one thread each (analysis_lib/pins.py); a file's tests stay in one process,
# and the long files start first, in the order of tests/conftest.py.
SPELLED := analysis_lib tests notebooks docs params tools benchmarks Makefile $(wildcard *.md *.toml *.yml)
PYTEST := $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=25
test: lint-check ## [maintain] the tests, after the style, the arrows between the rooms, dependencies, spelling and types
	$(PYTEST) -m "not slow"
test-slow: $(ENV) ## [maintain] the tests that take minutes
	$(PYTEST) -m slow
evidence: $(ENV) ## [maintain] compare with what others published, and write docs/evidence.md
	@rm -rf build/evidence
	EVIDENCE=build/evidence $(PYTEST) -m evidence
mutants: $(ENV) ## [maintain] change the formulae of analysis_lib/survival in 200 places, and see whether its tests notice
	$(PYTHON) tests/mutants.py
lint-check: $(ENV)
	@mkdir -p build
	$(PYTHON) -m ruff check --quiet .
	$(PYTHON) -m ruff format --check --quiet .
	@.venv/bin/lint-imports --no-logo >build/imports.txt || { cat build/imports.txt; exit 1; }
	@.venv/bin/deptry --no-ansi . 2>build/dependencies.txt || { cat build/dependencies.txt; exit 1; }
	.venv/bin/codespell $(SPELLED)
	.venv/bin/mypy
lint: $(ENV) ## [maintain] format the code
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .
# Not after $(ENV): a changed pyproject.toml would first rebuild the environment from the lock that lacks the change.
# A lock that stays the same keeps its date, and with it the environment.
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
lock: ## [maintain] renew the locks from pyproject.toml and requirements/*.in; versions stay, but UPGRADE="name name"
	@mkdir -p build/requirements; \
	for lock in requirements.lock requirements/fetch.lock requirements/masks.lock; do cp $$lock build/$$lock; \
	if [ $$lock = requirements.lock ]; then from="--extra dev pyproject.toml"; else from=$${lock%.lock}.in; fi; \
	$(UV) $(COMPILE) $(UPGRADE:%=--upgrade-package %) $$from --output-file build/$$lock >/dev/null || exit; \
	if cmp -s build/$$lock $$lock; then echo "$$lock stays as it is"; \
	else mv build/$$lock $$lock; git --no-pager diff --stat $$lock; fi; done
docs: $(ENV) ## [maintain] write the generated pages of docs/
	$(RUN) docs
gallery: study ## [maintain] write the small pictures of docs/gallery from this study's figures
	$(RUN) gallery --study $(STUDY)
bench: $(ENV) ## [maintain] time engines beside others, what-ifs of STUDY and growth, into build/bench and docs/benchmarks.md
	@failed=; for script in benchmarks/bench_*.py; do echo "$$script"; STUDY=$(STUDY) $(PYTHON) $$script || failed="$$failed $$script"; done; \
	$(PYTHON) benchmarks/table.py --write; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi
benchmark-survival: $(ENV) ## [maintain] the engine on the folds of a neutral benchmark, resumed; CHECKOUT=its repository, see docs/neutral.md
	@[ -d "$(CHECKOUT)" ] || { echo "make benchmark-survival CHECKOUT=folder: of github.com/slds-lmu/paper_2023_survival_benchmark" >&2; exit 2; }
	$(PYTHON) benchmarks/neutral.py "$(CHECKOUT)" $(OPTIONS)
profile: $(ENV) ## [maintain] where the time of STUDY's last run went, by stage, and in its slowest notebook by function
	@$(PYTHON) benchmarks/profile_study.py $(STUDY)

clean: ## [maintain] remove the outputs of all studies, synthetic data included; protocols stay
	@rm -rf build; find figures -mindepth 2 -type f ! -name protocol.md -delete; find figures -mindepth 1 -type d -empty -delete
	@for folder in data/*/; do if [ -d "$$folder.drawn" ]; then rm -rf "$$folder"; fi; done
distclean: clean ## [maintain] remove the environment too
	@rm -rf .venv .venv-fetch .venv-masks .tools
FORCE:
