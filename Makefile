# Bodies of one or two lines: the logic lives in Python. `make` alone prints this list.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
PYTHON ?= python3.11
UV := .venvs/uv/bin/uv
TRAIN := .venvs/train/bin/python
LIGHT := .venvs/light/bin/python
WATCH := .venvs/watch/bin/python
TOOLS := .venvs/tools/bin
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)
TARGET ?= train
IMAGE ?= aether:$(TARGET)
# Threads that wait sleep: spinning, they starve each other where something else runs on the machine (LOG.md).
export OMP_WAIT_POLICY ?= passive
BASE_ARG = $(if $(BASE),--base $(BASE))
ENDPOINT_ARGS = $(if $(ENDPOINT),--endpoint $(ENDPOINT) $(if $(MODEL),--model $(MODEL)) $(if $(BASE_MODEL),--base-model $(BASE_MODEL)))
SERVE_ARGS = $(if $(filter 0,$(PERSONA)),--no-persona) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(if $(FLAGS),--flags='$(FLAGS)')
WINDOW_ARGS = $(if $(CAMERA),--camera $(CAMERA)) $(if $(SITE),--site $(SITE)) $(if $(SINCE),--since $(SINCE)) $(if $(UNTIL),--until $(UNTIL))
HAS_GPU = $(shell nvidia-smi -L 2>/dev/null)
EXPORT_NEEDS = $(if $(filter gguf,$(FORMAT)),.venvs/llama/.built)$(if $(filter fp8 w4 $(if $(HAS_GPU),awq),$(FORMAT)),.venvs/export/.ready)
JUDGE_ARGS = $(if $(JUDGE),--judge $(JUDGE) $(if $(JUDGE_MODEL),--judge-model $(JUDGE_MODEL)))

.PHONY: help setup train check merge compare data expand replay pairs eval serve triad chat watch ask events card export pin bench test triad-test watch-test test-gpus export-test test-fast lint audit sbom image image-test lock clean
.PRECIOUS: .venvs/%/.ready

help: ## print this list
	@$(PYTHON) -m common.targets help

setup: .venvs/train/.ready .venvs/light/.ready ## create the environments of training and data (every target makes what it needs)

$(UV): locks/bootstrap.lock
	$(PYTHON) -m venv .venvs/uv && .venvs/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $< && touch $@

# Questions of the evaluation that no training row holds.
datasets/aether/heldout/manifest.json: | .venvs/light/.ready
	$(LIGHT) -m preprocess aether --heldout

# One environment from one lock; docs/pins.md lists them.
.venvs/%/.ready: locks/%.lock | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venvs/$*
	$(UV) pip install --python .venvs/$*/bin/python --require-hashes -r $< && touch $@

# llama.cpp from its pinned source: the converter's Python, and the server and the quantiser, compiled once.
.venvs/llama/.source: locks/llama-cpp-python.lock .venvs/llama/.ready # a new environment has no source
	.venvs/llama/bin/python -m serving.llama_cpp fetch && touch $@

.venvs/llama/.built: .venvs/llama/.source
	.venvs/llama/bin/python -m serving.llama_cpp build && touch $@

train: .venvs/train/.ready ## train RECIPE=<name> or <name>/v<N>; continues after a kill; GPUS=<n> several; FRESH=1 starts over; BASE=<folder> a local base; MIRROR=<folder or URL> keeps its checkpoints there
	$(TRAIN) -m training.run "$(RECIPE)" $(if $(FRESH),--fresh) $(if $(GPUS),--gpus $(GPUS)) $(BASE_ARG)

check: .venvs/train/.ready ## everything about RECIPE= that can be known without training; JSON=1 for one object
	$(TRAIN) -m training.check "$(RECIPE)" $(if $(JSON),--json) $(if $(GPUS),--gpus $(GPUS)) $(BASE_ARG)

merge: .venvs/train/.ready ## merge RECIPE='s adapter into its base, with proof
	$(TRAIN) -m training.merge "$(RECIPE)" $(BASE_ARG)

compare: .venvs/train/.ready ## what differs between RUNS="a b", and what came of it: folders, recipes, or entity/project/run of W&B
	$(TRAIN) -m training.compare $(RUNS) $(if $(JSON),--json)

data: .venvs/light/.ready ## build DATASET=<folder under datasets/>
	$(LIGHT) -m preprocess "$(DATASET)" && $(LIGHT) -m training.tracking "$(DATASET)"

expand: .venvs/light/.ready ## let the teacher of DATASET= write its missing rows; DRY=1 says what it would cost; LIMIT=<n> variations a seed
	$(LIGHT) -m preprocess.teacher "$(DATASET)" $(if $(DRY),--dry-run) $(if $(LIMIT),--limit $(LIMIT))

replay: .venvs/light/.ready .venvs/train/.ready datasets/aether/heldout/manifest.json ## collect the base's own replies that check for RECIPE='s dataset, before make data; ENDPOINT= MODEL= a base that already runs; LIMIT=<n>
	$(LIGHT) -m preprocess.teacher.replay "$(RECIPE)" $(if $(LIMIT),--limit $(LIMIT)) $(BASE_ARG) $(if $(ENDPOINT),--endpoint $(ENDPOINT) --model "$(MODEL)")

eval: .venvs/light/.ready .venvs/train/.ready ## base against tuned for RECIPE=; LIMIT=<n> MAX_TOKENS=<n> a quick look; EXPORT=<format> asks an export too; ENDPOINT= MODEL= BASE_MODEL= what already runs; JUDGE=
	$(LIGHT) -m evaluation "$(RECIPE)" $(if $(LIMIT),--limit $(LIMIT)) $(if $(MAX_TOKENS),--max-tokens $(MAX_TOKENS)) $(if $(EXPORT),--export $(EXPORT)) $(if $(SUITES),--suites $(SUITES)) $(BASE_ARG) $(ENDPOINT_ARGS) $(JUDGE_ARGS)

pairs: .venvs/light/.ready .venvs/train/.ready ## pairs for a preference recipe from the faults of RECIPE='s own replies; SAMPLES=<n> a prompt, LIMIT=<n> prompts; ENDPOINT= MODEL= what already runs
	$(LIGHT) -m preprocess.mine "$(RECIPE)" $(if $(SAMPLES),--samples $(SAMPLES)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(ENDPOINT),--endpoint $(ENDPOINT) --model "$(MODEL)")

serve: .venvs/train/.ready ## RECIPE='s model behind an OpenAI-compatible endpoint; EXPORT=<format>; ADAPTER=1 or RECIPES="a b" adapters hot on their base; PERSONA=0; HOST= PORT= FLAGS=
	$(TRAIN) -m serving.serve $(or $(RECIPES),"$(RECIPE)") $(if $(EXPORT),--export $(EXPORT)) $(if $(ADAPTER),--adapter) $(SERVE_ARGS)

triad: .venvs/triad/.ready ## the members of DATASET='s triad.yaml (aether's without) behind one address, with a hand-over between them; PORT=
	.venvs/triad/bin/python -m serving.triad "$(or $(DATASET),aether)" $(if $(PORT),--port $(PORT))

chat: .venvs/chat/.ready .venvs/train/.ready ## talk to RECIPE='s base and tuned model side by side in the browser, and keep the best; ENDPOINT= MODEL= BASE_MODEL= what already runs; PORT=
	.venvs/chat/bin/python -m serving.chat "$(RECIPE)" $(ENDPOINT_ARGS) $(if $(PORT),--port $(PORT))

card: .venvs/light/.ready ## write the page that belongs beside RECIPE='s published weights, from its records
	$(LIGHT) -m serving.card "$(RECIPE)"

watch: .venvs/watch/.ready ## describe what CAMERA=<name> sees, as events in Redis (docs/watch.md); without a name all of cameras.yaml; PAGE=1 shows them, PORT=
	$(WATCH) -m serving.watch $(CAMERA) $(if $(PAGE),--page) $(if $(PORT),--port $(PORT))

ask: .venvs/watch/.ready ## ask the Triad what happened: CAMERA=dock SITE=press3 Q="what happened since noon?" SINCE=24h UNTIL=; ENDPOINT= MODEL= another model
	$(WATCH) -m serving.watch.ask "$$Q" $(WINDOW_ARGS) $(if $(ENDPOINT),--endpoint $(ENDPOINT) --model "$(MODEL)")

events: .venvs/watch/.ready ## LOG=alarms.csv SITE=press3 takes a plant's log into the events, OPCUA=<variable with the address> NODES= its values as they change; DATASET=aether CAMERA=dock SINCE=7d writes events and frames out for make data
	$(WATCH) -m serving.watch.$(if $(OPCUA),opcua $(OPCUA) --nodes "$$NODES",log $(if $(LOG),--log "$(LOG)",--into "$(DATASET)")) $(WINDOW_ARGS)

export: .venvs/train/.ready $(EXPORT_NEEDS) ## RECIPE='s finished model in the form of a server, with proof: FORMAT=gguf, with QUANT=q8_0|q4_k_m; fp8, w4; awq on a GPU
	$(TRAIN) -m serving.export "$(RECIPE)" "$(FORMAT)" $(if $(QUANT),--quant $(QUANT))

bench: .venvs/train/.ready ## speed and memory against stock Axolotl on this CPU with the tiny model; GPU=1 the true shape on this GPU; PAIRS=1 a preference recipe against TRL; GPUS=<n> RECIPES="a b" LAYERS=<n> several
	$(TRAIN) -m training.bench $(if $(GPU),--gpu) $(if $(PAIRS),--pairs) $(if $(GPUS),--gpus $(GPUS)) $(if $(RECIPES),--recipe $(RECIPES))

pin: .venvs/train/.ready ## write the newest revisions of the hub into the recipes and hub.lock (needs a network)
	$(TRAIN) -m training.pins

test: setup .venvs/chat/.ready .venvs/watch/.ready .venvs/triad/.ready .venvs/llama/.source ## run the tests, the end-to-end run included
	$(LIGHT) -m pytest -q tests/common tests/preprocess tests/evaluation tests/house
	$(TRAIN) -m pytest -q tests/training tests/serving
	.venvs/chat/bin/python -m pytest -q tests/chat
	$(WATCH) -m pytest -q -m "not slow" tests/watch
	.venvs/triad/bin/python -m pytest -q -m "not slow" tests/triad

watch-test: .venvs/watch/.ready ## the long tests of cameras and events: kills, a dead Redis, many cameras; minutes
	$(WATCH) -m pytest -q -s -m slow tests/watch

triad-test: .venvs/triad/.ready ## the storm of the Triad: 2,000 streams, 64 at once; minutes
	.venvs/triad/bin/python -m pytest -q -s -m slow tests/triad

test-gpus: .venvs/train/.ready ## train the tiny model on several ranks for real, kill one and all, resume, prove the whole model
	RANKS_TEST=1 $(TRAIN) -m pytest -q -s tests/training/test_real_ranks.py

export-test: .venvs/train/.ready .venvs/llama/.built .venvs/export/.ready ## make, prove and ask every export of the tiny model for real
	EXPORT_TEST=1 $(TRAIN) -m pytest -q tests/serving/test_real_exports.py

test-fast: setup ## the tests that take no more than moments, in about a minute
	$(LIGHT) -m pytest -q -m "not slow" tests/common tests/preprocess tests/evaluation tests/house
	$(TRAIN) -m pytest -q -m "not slow" tests/training tests/serving

lint: .venvs/tools/.ready audit ## ruff, mypy, hadolint, shellcheck, and known bad versions in the locks
	$(TOOLS)/ruff check . && $(TOOLS)/ruff format --check . && $(TOOLS)/mypy
	$(TOOLS)/hadolint docker/Dockerfile && $(TOOLS)/shellcheck $$(grep -l "^#!/bin/bash" docker/*)

audit: ## look for known bad versions (locks/known-bad.txt) in every lock
	@$(PYTHON) -m common.targets audit $(LOCKS)

sbom: .venvs/tools/.ready ## write sbom/: what the locks install, as CycloneDX
	$(PYTHON) -m common.targets sbom --tool $(TOOLS)/cyclonedx-py

image: ## build the image with docker or podman; TARGET=serve the one with vLLM; BUILD_FLAGS= passed on
	BUILDAH_FORMAT=docker $(ENGINE) build -f docker/Dockerfile --target $(TARGET) -t $(IMAGE) $(BUILD_FLAGS) \
	  --build-arg COMMIT=$$(git describe --always --dirty --abbrev=40 --exclude='*') --build-arg LOCK_SHA256=$$(sha256sum locks/train.lock | cut -c-64) .

image-test: .venvs/train/.ready ## train the tiny recipe in the image, without a network, and look for keys in all it left
	ENGINE=$(ENGINE) IMAGE=$(IMAGE) BUILD_FLAGS='$(BUILD_FLAGS)' $(TRAIN) -m pytest -q -s tests/house/test_image.py

lock: $(UV) ## compile locks/*.lock from locks/*.in; ENV=<name> only that one
	$(PYTHON) -m common.targets lock $(ENV) --tool $(abspath $(UV))

clean: ## remove the environments, outputs/ and built datasets
	rm -rf .venvs outputs datasets/*/build datasets/*/heldout
