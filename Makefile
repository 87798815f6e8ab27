# Bodies of one or two lines: the logic lives in Python. `make` alone prints this list.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
PYTHON ?= python3.11
PY := .venv/bin/python
READY := .venv/.ready
EVAL := .venv-eval/bin/python
EVAL_READY := .venv-eval/.ready
HELDOUT := datasets/aether/heldout/manifest.json
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)
TARGET ?= train
IMAGE ?= aether:$(TARGET)
LOCKS ?= $(wildcard *.lock */*.lock)
# Threads that wait sleep: spinning, they starve each other where something else runs on the machine (LOG.md).
export OMP_WAIT_POLICY ?= passive
BASE_ARG = $(if $(BASE),--base $(BASE))
ENDPOINT_ARGS = $(if $(ENDPOINT),--endpoint $(ENDPOINT) $(if $(MODEL),--model $(MODEL)) $(if $(BASE_MODEL),--base-model $(BASE_MODEL)))
JUDGE_ARGS = $(if $(JUDGE),--judge $(JUDGE) $(if $(JUDGE_MODEL),--judge-model $(JUDGE_MODEL)))

.PHONY: help setup train check merge compare data expand eval serve pin bench test lint audit sbom image image-test lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv from requirements.lock (every target does this first)

$(READY): requirements.lock bootstrap.lock
	$(PYTHON) -m venv .venv && $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	.venv/bin/uv pip install --python $(PY) --require-hashes -r requirements.lock && touch $(READY)

$(EVAL_READY): evaluation/requirements.lock | $(READY)
	.venv/bin/uv venv -q --clear --python $(PYTHON) .venv-eval
	.venv/bin/uv pip install -q --python $(EVAL) --require-hashes -r evaluation/requirements.lock && touch $(EVAL_READY)

$(HELDOUT): | $(READY)
	$(PY) -m preprocess aether --heldout

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

expand: $(READY) ## let the teacher of DATASET= write its missing rows; DRY=1 says what it would cost; LIMIT=<n> variations a seed
	$(PY) -m preprocess.teacher $(DATASET) $(if $(DRY),--dry-run) $(if $(LIMIT),--limit $(LIMIT))

eval: $(READY) $(EVAL_READY) $(HELDOUT) ## base against tuned for RECIPE=; LIMIT=<n> a quick look; ENDPOINT= MODEL= BASE_MODEL= what already runs; JUDGE=
	$(EVAL) -m evaluation $(RECIPE) $(if $(LIMIT),--limit $(LIMIT)) $(if $(SUITES),--suites $(SUITES)) $(BASE_ARG) $(ENDPOINT_ARGS) $(JUDGE_ARGS)

serve: $(READY) ## RECIPE='s merged model behind an OpenAI-compatible endpoint; PORT=
	$(PY) -m evaluation.serve $(RECIPE) $(if $(PORT),--port $(PORT))

bench: $(READY) ## speed and memory against stock Axolotl on this CPU with the tiny model; GPU=1 the true shape on this GPU
	$(PY) -m training.bench $(if $(GPU),--gpu)

pin: $(READY) ## write the newest hub revisions into hub.lock (needs a network)
	$(PY) -m training.pins

test: $(READY) $(EVAL_READY) ## run the tests, the end-to-end run included
	$(PY) -m pytest -q tests --ignore=tests/evaluation && $(EVAL) -m pytest -q --noconftest tests/evaluation

lint: $(READY) .venv-tools/.ready audit ## ruff, hadolint, shellcheck, and known bad versions in the locks
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	.venv-tools/bin/hadolint docker/Dockerfile && .venv-tools/bin/shellcheck $$(grep -l "^#!/bin/bash" docker/*)

audit: ## look for known bad versions (docker/known-bad.txt) in every lock
	@awk 'NR==FNR{bad[$$1]=$$0;next} $$1 in bad{print FILENAME":"FNR": "bad[$$1]"; choose another version";n++} END{exit n>0}' docker/known-bad.txt $(LOCKS)

sbom: .venv-tools/.ready ## write sbom/: what the locks install, as CycloneDX
	mkdir -p sbom && for lock in $(LOCKS); do .venv-tools/bin/cyclonedx-py requirements $$lock --output-reproducible -o sbom/$$(echo $$lock | tr / -).cdx.json || exit; done

.venv-tools/.ready: docker/tools.lock $(READY)
	.venv/bin/uv venv --quiet --clear --python $(PY) .venv-tools
	.venv/bin/uv pip install --quiet --python .venv-tools/bin/python --require-hashes -r docker/tools.lock && touch $@

image: ## build the image with docker or podman; TARGET=serve the one with vLLM; BUILD_FLAGS= passed on
	BUILDAH_FORMAT=docker $(ENGINE) build -f docker/Dockerfile --target $(TARGET) -t $(IMAGE) $(BUILD_FLAGS) \
	  --build-arg COMMIT=$$(git describe --always --dirty --abbrev=40 --exclude='*') --build-arg LOCK_SHA256=$$(sha256sum requirements.lock | cut -c-64) .

image-test: $(READY) ## train the tiny recipe in the image, without a network, and look for keys in all it left
	ENGINE=$(ENGINE) IMAGE=$(IMAGE) BUILD_FLAGS='$(BUILD_FLAGS)' $(PY) -m pytest -q -s tests/house/test_image.py

lock: $(READY) ## compile the lock files from pyproject.toml and evaluation/requirements.in
	.venv/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml -o requirements.lock
	.venv/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 evaluation/requirements.in -o evaluation/requirements.lock
	grep -A99 '^uv==' requirements.lock | awk 'NR==1||/^ /{print;next}{exit}' > bootstrap.lock

docker/%.lock: docker/%.in $(READY) ## compile the locks of docker/: Linux on x86-64, Python 3.11
	.venv/bin/uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_36 $(if $(filter %flash-attn.in,$<),--no-deps) $< -o $@

clean: ## remove .venv, outputs/ and built datasets
	rm -rf .venv .venv-eval .venv-tools outputs datasets/*/build datasets/*/heldout
