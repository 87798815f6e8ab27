# Bodies of one or two lines: the logic lives in Python. `make` alone prints this list.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
PYTHON ?= python3.11
PY := .venv/bin/python
READY := .venv/.ready
BASE_ARG = $(if $(BASE),--base $(BASE))

.PHONY: help setup train check merge compare data pin bench test lint lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv from requirements.lock (every target does this first)

$(READY): requirements.lock bootstrap.lock
	$(PYTHON) -m venv .venv && $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	.venv/bin/uv pip install --python $(PY) --require-hashes -r requirements.lock && touch $(READY)

train: $(READY) ## train RECIPE=<name> or <name>/v<N>; continues after a kill; FRESH=1 starts over; BASE=<folder> a local base; MIRROR=<folder or URL> keeps its checkpoints there
	$(PY) -m training.train $(RECIPE) $(if $(FRESH),--fresh) $(BASE_ARG)

check: $(READY) ## everything about RECIPE= that can be known without training; JSON=1 for one object
	$(PY) -m training.check $(RECIPE) $(if $(JSON),--json) $(BASE_ARG)

merge: $(READY) ## merge RECIPE='s adapter into its base, with proof
	$(PY) -m training.merge $(RECIPE) $(BASE_ARG)

compare: $(READY) ## what differs between RUNS="a b", and what came of it: folders, recipes, or entity/project/run of W&B
	$(PY) -m training.compare $(RUNS) $(if $(JSON),--json)

data: $(READY) ## build DATASET=<folder under datasets/>
	$(PY) -m preprocess $(DATASET) && $(PY) -m training.tracking $(DATASET)

bench: $(READY) ## speed and memory against stock Axolotl on this CPU with the tiny model; GPU=1 the true shape on this GPU
	$(PY) -m training.bench $(if $(GPU),--gpu)

pin: $(READY) ## write the newest hub revisions into hub.lock (needs a network)
	$(PY) -m training.pins

test: $(READY) ## run the tests, the end-to-end run included
	$(PY) -m pytest -q tests

lint: $(READY) ## ruff, and the checks of the house
	$(PY) -m ruff check . && $(PY) -m ruff format --check .

lock: $(READY) ## compile requirements.lock and bootstrap.lock from pyproject.toml
	.venv/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml -o requirements.lock
	grep -A99 '^uv==' requirements.lock | awk 'NR==1||/^ /{print;next}{exit}' > bootstrap.lock

clean: ## remove .venv, outputs/ and built datasets
	rm -rf .venv outputs datasets/*/build
