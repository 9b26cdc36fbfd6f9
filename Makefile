# make demo | test | lint | docs | bench | train       (make help lists them)
PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo-output
DATA ?= $(or $(COVSEG_DATA),../shared/data)/covid_ct
# The development split; SPLIT=--all-patients MODEL=covseg-default makes the weights that ship.
SPLIT ?= --fold 1/4 --splits benchmarks/development_splits.json
MODEL ?= covseg-development
# Processes that run the tests: one per core, four at most, for each may take 2 GB of memory.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')

BIN := $(VENV)/bin
SYSTEM := $(shell uname -s)
# A display is needed by napari, and by tests that open a real viewer.
HAS_DISPLAY := $(if $(filter Linux,$(SYSTEM)),$(DISPLAY)$(WAYLAND_DISPLAY),yes)
WITH_DISPLAY := $(if $(filter Linux,$(SYSTEM)),$(if $(DISPLAY),,xvfb-run -a -s "-screen 0 1400x900x24"))

.PHONY: help demo test lint docs bench bench-train train libs
.DELETE_ON_ERROR:

help:
	@echo "make demo    install, segment the built-in sample CT, open napari (HEADLESS=1: do not)"
	@echo "make test    install with test tools, run every test (JOBS=0: in one process; PYTEST_ARGS=...)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make docs    rebuild docs/reference/cli.md, run every command in the docs, check links"
	@echo "make bench   measure speed and memory (make bench-train: of training)"
	@echo "make train   train the development model from DATA=$(DATA)"

demo: libs $(VENV)/.installed-all
	$(BIN)/covseg demo --output $(OUTPUT)
ifneq ($(HEADLESS),1)
	$(if $(HAS_DISPLAY),$(BIN)/python -m napari_covseg.plugin.demo $(OUTPUT),@echo "No display: napari is not opened.")
endif

test: libs $(VENV)/.installed-dev
	$(WITH_DISPLAY) $(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: libs $(VENV)/.installed-dev
	$(BIN)/python tools/cli_reference.py docs/reference/cli.md
	$(BIN)/python -m pytest tests/docs $(PYTEST_ARGS)

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-train: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.train_speed $(BENCH_ARGS)

train: $(VENV)/.installed-all
	$(BIN)/covseg train $(DATA) --output build/model --name $(MODEL) --preset fast $(SPLIT) \
	  --set dataset_weights=medseg:0.45,ma:0.27,sirm:0.28 --resume $(TRAIN_ARGS)

libs:
	@sh tools/system-libs.sh "$(PYTHON)"

$(BIN)/python: | libs
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "$(PYTHON) cannot make environments: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp each, so that a second make installs nothing.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[$*]'
	@touch $@
