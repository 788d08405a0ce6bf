# The commands of the project. `make` alone lists them. Nothing is installed outside .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Python 3.11 first: all figures of the project were measured with it. Override: PYTHON=…
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tamis-setup
DOCS_STAMP := $(VENV)/.tamis-docs
# Extra arguments of pip, for instance an index of CPU builds of torch.
PIP_FLAGS ?=
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)

.PHONY: help setup demo test check docs bench bench-train bench-latency bench-views bench-recall bench-rank bench-serve clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: $(STAMP) ## the environment: .venv with .venv/bin/tamis
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "setup: up to date",:)

$(STAMP): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Tamis needs Python 3.11 or newer; none was found. \
	Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setup: $(VENV) by $$($(PYTHON) --version), pinned by constraints.txt (a few minutes the first time)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[dev]'
	@touch $@
	@echo "setup: done, $(BIN)/tamis is ready"

demo: setup ## the whole cascade on MovieLens-1M, in ./tamis-demo
	$(BIN)/tamis demo

test: setup ## all tests, one worker per core
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup docs ## format, lint, types, import layers, dependencies, the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_import_cycles.py
	$(BIN)/deptry .

docs: $(DOCS_STAMP) ## the documentation as a site, in build/docs
	@$(BIN)/python -m tamis.service._write_stage_options
	@for page in docs/write_*.py; do $(BIN)/python $$page; done
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "docs: build/docs/index.html"

$(DOCS_STAMP): $(STAMP)
	@echo "docs: installing mkdocs"
	@$(PIP) -e '.[docs]'
	@touch $@

bench: setup ## every benchmark, one after the other
	@for file in benchmarks/bench_*.py; do \
	    echo "bench: $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py); done

bench-train: setup ## DeepFM side by side with other libraries, each in its own environment
	$(BIN)/python -m benchmarks.bench_train

bench-latency: setup ## one request through the whole cascade: p50, p99 and where the time goes
	$(BIN)/python -m benchmarks.bench_latency

bench-views: setup ## memory over a million live events, and the time of a restart
	$(BIN)/python -m benchmarks.bench_views

bench-recall: setup ## every channel on public data; SEEDS=1 ONLY=name DATA=file KEEP=1
	@$(BIN)/python -m benchmarks.bench_recall $(if $(SEEDS),--seeds $(SEEDS)) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(DATA),--data $(DATA)) $(if $(KEEP),--keep)

bench-rank: setup ## every ranker and pre-ranker; SEEDS=1 ONLY=name DATA=file KEEP=1
	@$(BIN)/python -m benchmarks.bench_rank $(if $(SEEDS),--seeds $(SEEDS)) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(DATA),--data $(DATA)) $(if $(KEEP),--keep)

bench-serve: setup ## the running service: requests per second, p50, p99, beside another service
	@$(BIN)/python -m benchmarks.bench_serve $(ARGS)

clean: ## removes the environment, caches and build output (not tamis-demo, not downloaded data)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
