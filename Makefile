# The commands of this project. `make report` and `make test` are all a newcomer needs; both set up what is missing.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := .venv/bin
SAMPLE := out/sample-case
LINES ?= 400000
SCOPES ?= 100000 1000000
PAGE ?= docs/speed.md
# What Python compiled once is there for each program that the tests start, and for each mutant.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup report lab test test-all mutate check truth statements accuracy bench bench-large fuzz hostile docs lock dist clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: .venv/.ok ## create .venv with the locked dependencies

.venv/.ok: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=/path/to/python3.11 setup" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "make: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install python3-venv" >&2; exit 2; }
	@echo "installing the locked dependencies into .venv (about a minute)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
	@$(BIN)/python -m compileall -q kit
	@touch $@

# The sample case is made again when the kit or the sample has changed.
$(SAMPLE)/case.toml: .venv/.ok $(shell find kit -name '*.py' -o -path 'kit/sample/*' -type f)
	@rm -rf $(SAMPLE) $(SAMPLE).partial
	@mkdir -p out
	@$(BIN)/kit new $(SAMPLE) kit/sample/case >&2
	@touch $@

report: $(SAMPLE)/case.toml ## run the sample case headless; the last line is the report's path
	@$(BIN)/kit report $(CURDIR)/$(SAMPLE)

lab: $(SAMPLE)/case.toml ## open JupyterLab on the notebooks, with the sample case loaded
	@KIT_CASE=$(CURDIR)/$(SAMPLE) $(BIN)/jupyter lab notebooks --LabApp.app_settings_dir=$(CURDIR)/kit/show/jupyter --LabApp.news_url=None

test: .venv/.ok ## the tests; of the longest files the sixteenth that the commit's hash chooses
	@$(BIN)/python -m pytest -n auto

test-all: .venv/.ok ## all tests, and the full crosses
	@$(BIN)/python -m pytest -n auto -m ""

mutate: .venv/.ok ## change the kit wrongly in 30 places, one at a time: the tests have to notice
	@$(BIN)/python -m tests.mutate --json out/mutate.json

check: .venv/.ok ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

truth: .venv/.ok ## score the scope against the recordings' ground truths
	@$(BIN)/python -m tests.truth

statements: .venv/.ok ## hold what the briefs say to ground truth, log and dump
	@$(BIN)/python -m tests.statements

accuracy: .venv/.ok ## measure how often each rule of attribution was right, and write docs/accuracy.md (an hour)
	@$(BIN)/python -m tests.accuracy

bench: .venv/.ok ## measure loading (LINES lines, 400,000: 1 GB), scope, report and start beside others, and write docs/speed.md
	@mkdir -p out
	@$(BIN)/python -m tests.outside_bench --json out/outside.json
	@$(BIN)/python -m tests.bench --lines $(LINES) --linear --scopes $(SCOPES) --json out/bench.json
	@$(BIN)/python -m tests.speed out/outside.json out/bench.json --json out/speed.json --page $(PAGE)
	@$(BIN)/python -m tests.collect_bench

bench-large: .venv/.ok ## the kit alone on ten million lines (27 GB of JSON, about 2 GB of disk)
	@$(BIN)/python -m tests.bench --lines 10000000 --linear --alone --json out/bench-large.json

fuzz: .venv/.ok ## feed the readers with broken input for a long time
	@KIT_FUZZ=3000 $(BIN)/python -m pytest -n auto --timeout 0 tests/test_fuzz.py

hostile: .venv/.ok ## plant what does harm in every string of every source, and look for it in every output
	@$(BIN)/python -m tests.hostile

docs: .venv/.ok ## write the generated pages
	@$(BIN)/python -m tests.docs

lock: ## write requirements.lock anew from pyproject.toml (maintainers; needs uv)
	@uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --extra develop --no-annotate --no-header --upgrade pyproject.toml -o requirements.lock

dist: .venv/.ok ## write out/dist: the wheel, a folder of wheels for Linux and macOS, and a container file, for machines without network
	@$(BIN)/python -m tests.dist

clean: ## remove what the commands made
	@rm -rf .venv out .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
