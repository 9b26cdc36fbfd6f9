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
PEERS := build/peers
SYSTEM := $(shell uname -s)
# A display is needed by napari, and by tests that open a real viewer.
HAS_DISPLAY := $(if $(filter Linux,$(SYSTEM)),$(DISPLAY)$(WAYLAND_DISPLAY),yes)
WITH_DISPLAY := $(if $(filter Linux,$(SYSTEM)),$(if $(DISPLAY),,xvfb-run -a -s "-screen 0 1400x900x24"))

.PHONY: help demo test lint docs bench bench-train soak train libs \
  test-lowest wheel wheel-test licences audit sbom
.DELETE_ON_ERROR:

help:
	@echo "make demo    install, segment the built-in sample CT, open napari (HEADLESS=1: do not)"
	@echo "make test    install with test tools, run every test (JOBS=0: in one process; PYTEST_ARGS=...)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make docs    rebuild docs/reference/cli.md, run every command in the docs, check links"
	@echo "make bench   measure speed and memory (make bench-train: of training)"
	@echo "make soak    hostile files, kills, a long session in napari: an hour or so (SOAK_ARGS: of fuzz)"
	@echo "make train   train the development model from DATA=$(DATA)"
	@echo "make wheel-test   build, install in a bare environment, use it (QT=pyside6 or pyqt6)"
	@echo "make test-lowest  the quick tests with every dependency at its lower bound"
	@echo "make licences     list what is needed at run time in docs/reference/licences.md"
	@echo "make audit        known holes in what is needed (make sbom: its list, CycloneDX)"

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

bench: $(VENV)/.installed-bench $(PEERS)/.installed
	$(BIN)/python -m benchmarks --peer-python $(PEERS)/bin/python $(BENCH_ARGS)

# Peers that ask for other versions than we do see our packages, and keep their own beside them.
$(PEERS)/.installed: $(VENV)/.installed-bench
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python tools/see_packages.py $(BIN)/python
	$(PEERS)/bin/python -m pip install --disable-pip-version-check 'nnunetv2>=2.5'
	-$(PEERS)/bin/python -m pip install --disable-pip-version-check 'TotalSegmentator>=2.5'
	@touch $@

bench-train: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.train_speed $(BENCH_ARGS)

# The short forms of these are tests, in tests/hardening.
soak: libs $(VENV)/.installed-dev
	$(BIN)/python tools/soak/fuzz.py $(SOAK_ARGS)
	$(BIN)/python tools/soak/kill.py
	$(WITH_DISPLAY) $(BIN)/python tools/soak/viewer.py

train: $(VENV)/.installed-all
	$(BIN)/covseg train $(DATA) --output build/model --name $(MODEL) --preset fast $(SPLIT) \
	  --set dataset_weights=medseg:0.45,ma:0.27,sirm:0.28 --resume $(TRAIN_ARGS)

# Tools of their own environment each: what they need has no say in what we need.
LOWEST := build/lowest
test-lowest: libs
	$(PYTHON) -m venv $(LOWEST)/.venv
	$(LOWEST)/.venv/bin/python -m pip install --quiet uv
	$(LOWEST)/.venv/bin/python tools/lowest.py $(LOWEST)
	$(LOWEST)/.venv/bin/uv pip install --python $(LOWEST)/.venv/bin/python -r $(LOWEST)/requirements.txt
	$(LOWEST)/.venv/bin/uv pip install --python $(LOWEST)/.venv/bin/python --no-deps .
	$(WITH_DISPLAY) $(LOWEST)/.venv/bin/python -m pytest $(PYTEST_ARGS) @tests/quick.txt

wheel:
	$(PYTHON) -m venv build/wheel/.venv
	build/wheel/.venv/bin/python -m pip install --quiet build twine
	rm -rf build/dist
	build/wheel/.venv/bin/python -m build --outdir build/dist
	build/wheel/.venv/bin/python -m twine check --strict build/dist/*

QT ?= pyside6
wheel-test: libs wheel
	$(PYTHON) tools/try_wheel.py build/dist --qt $(QT) $(WHEEL_ARGS)

licences: $(VENV)/.installed-dev
	$(BIN)/python tools/licences.py --write docs/reference/licences.md

AUDIT := build/audit
$(AUDIT)/requirements.txt: setup.cfg
	$(PYTHON) -m venv $(AUDIT)/.venv
	$(AUDIT)/.venv/bin/python -m pip install --quiet uv pip-audit cyclonedx-bom
	$(AUDIT)/.venv/bin/uv pip compile setup.cfg --extra dev --no-header --no-annotate --quiet --output-file $@

audit: $(AUDIT)/requirements.txt
	$(AUDIT)/.venv/bin/pip-audit --requirement $< --no-deps --disable-pip

sbom: $(AUDIT)/requirements.txt
	$(AUDIT)/.venv/bin/cyclonedx-py requirements $< --output-file $(AUDIT)/sbom.cdx.json

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
