# Everything here needs Python >= 3.11, make and the package index; nothing else.
# Environments are made in .venv and kept until pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
BUILD := build

# The first interpreter that is new enough and can make environments; PYTHON=... overrides. Those
# after 3.14 come last: tensorstore 0.1.86 has no wheels for them.
PYTHON ?= $(shell for newest in 14 99; do \
	for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c "import sys, venv, ensurepip; \
	sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" 2>/dev/null \
	&& { command -v $$p; break 2; }; done; done)

PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
INSTALL := $(PIP) install --root-user-action=ignore
PYTEST := $(BIN)/python -m pytest

# Each start of Python would compile every module anew, in tests and benchmarks a thousand times.
unexport PYTHONDONTWRITEBYTECODE

# pip runs in one environment at a time.
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets (the default)
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.ready-run ## Make a checkpoint, check it, cut it for 8 ranks, merge it, compare
	@if [ -f examples/demo.py ]; then PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/demo.py; \
	else PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh; fi

.PHONY: test
test: lint types ## Everything that must pass before a commit: lint, types, tests
	$(PYTEST) -n 2 --dist worksteal -q

.PHONY: lint
lint: $(VENV)/.ready-test ## Check style
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

.PHONY: types
types: $(VENV)/.ready-test ## Check types
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.ready-test ## Lay out the code and apply the fixes that are safe
	$(BIN)/ruff check --quiet --fix --exit-zero .
	$(BIN)/ruff format --quiet .

.PHONY: fuzz
fuzz: $(VENV)/.ready-test ## Thousands of hostile headers, configs, lists and options through every command
	$(BIN)/python -m tests.support.fuzzing 5000 $$(date +%s)
	$(BIN)/python -m tests.support.option_fuzzing 2000 $$(date +%s)

.PHONY: faults
faults: $(VENV)/.ready-test ## A crash at every operation, every flipped bit, SIGKILL at 50 moments, inputs that claim much
	$(PYTEST) -n 2 -q -m faults --hypothesis-profile=explore

FUZZ_SECONDS ?= 120
.PHONY: fuzz-coverage
fuzz-coverage: $(VENV)/.ready-test ## Coverage-guided fuzzing of the readers of headers and tables
	@for reader in pickle safetensors gguf zarr frames; do \
		$(BIN)/python -m tests.faults.readers $(FUZZ_SECONDS) $$reader || exit 1; done

.PHONY: slow
slow: $(VENV)/.ready-test ## Tests that take minutes or gigabytes; every property, by fresh random examples
	$(PYTEST) -m "slow or hypothesis and not faults" --hypothesis-profile=explore

.PHONY: docs
docs: $(VENV)/.ready-docs ## Build the documentation; any warning fails
	$(BIN)/python docs/_generate.py
	$(BIN)/sphinx-build -q -n -W --keep-going -d $(BUILD)/doctrees -b html docs $(BUILD)/docs
	@echo "docs: $(BUILD)/docs/index.html"

.PHONY: transcripts
transcripts: $(VENV)/.ready-test ## Write what commands print now into the documentation
	$(BIN)/python -m tests.support.rewrite_console

.PHONY: man
man: $(VENV)/.ready-docs ## Build the manual pages
	$(BIN)/python docs/_generate.py
	$(BIN)/sphinx-build -q -n -W --keep-going -d $(BUILD)/doctrees -b man docs $(BUILD)/man
	@echo "man: man $(BUILD)/man/grokpack.1"

SCREENSHOTS := $(BUILD)/screenshots
.PHONY: screenshots
screenshots: $(BUILD)/screenshots-env/.ready $(VENV)/.ready-test ## Photograph every page of --report: light, dark, on a phone, a desk, paper
	$(BUILD)/screenshots-env/bin/python docs/_screenshots.py $(BIN)/grokpack $(SCREENSHOTS)

$(BUILD)/screenshots-env/.ready: $(VENV)/.made
	@rm -rf $(@D)
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check --no-input install "playwright>=1.50"
	@touch $@

.PHONY: docs-check
docs-check: $(VENV)/.ready-docs ## Check the documentation without writing anything outside build/
	$(BIN)/python docs/_generate.py --check
	$(BIN)/sphinx-build -q -n -W --keep-going -d $(BUILD)/doctrees -b dummy docs $(BUILD)/docs-check

.PHONY: dist
dist: $(VENV)/.ready-dist ## Build the package and check it as the index does, and in an environment of its own
	@rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	@rm -rf $(BUILD)/dist && "$(PYTHON)" -m venv $(BUILD)/dist
	@$(BUILD)/dist/bin/python -m pip -qq --disable-pip-version-check install dist/*.whl
	@cd $(BUILD)/dist && bin/grokpack synth tiny -q && bin/grokpack verify tiny -q && rm -rf tiny
	@echo "dist: $$(cd dist && echo *)"

.PHONY: bench
bench: $(VENV)/.ready-bench ## Measure speed and memory against cp and others, in turns (half an hour)
	$(BIN)/python -m benchmarks --json $(BUILD)/bench.json

.PHONY: bench-quick
bench-quick: $(VENV)/.ready-bench ## Measure the main figures, in three minutes
	$(BIN)/python -m benchmarks --quick --json $(BUILD)/bench-quick.json

include tests/oracle/oracles.mk

.PHONY: clean
clean: ## Remove everything that make and the tools made
	rm -rf $(VENV) $(BUILD) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 that can make environments was found." \
		"Install one (Debian and Ubuntu: apt install python3-venv), or name it: make PYTHON=..." >&2; \
		exit 1; }
	@rm -rf $(VENV)
	@echo "making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(INSTALL) --upgrade "pip>=25.1"  # the first that knows dependency groups
	@touch $@

$(VENV)/.ready-run: $(VENV)/.made pyproject.toml
	@echo "installing grokpack into $(VENV)"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready-run pyproject.toml
	@echo "installing what the tests need"
	@$(INSTALL) --group test --group lint --group typing
	@touch $@

$(VENV)/.ready-dist: $(VENV)/.ready-run pyproject.toml
	@echo "installing what builds packages"
	@$(INSTALL) --group dist
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready-run pyproject.toml
	@echo "installing what the benchmarks need"
	@$(INSTALL) --editable '.[dask,evaluate,gguf]'
	@touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-run pyproject.toml
	@echo "installing what the documentation needs"
	@$(INSTALL) --group docs
	@touch $@
