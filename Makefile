# `make` lists the targets. Variables are given on the command line: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
DOCKER ?= docker
# The image: its name, its base image, and the weights and servers that are built into it.
IMAGE ?= byoc-vision
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git describe --always --dirty --abbrev=12 2>/dev/null)
# The time of the last commit, not of the build: the same commit gives the same labels.
CREATED ?= $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
# The repository's address, without user and password.
SOURCE ?= $(shell git remote get-url origin 2>/dev/null | \
	sed -nE 's,^(https?|ssh|git)://([^/]*@)?([^?]+).*,\1://\3,p; s,^([^/@:]+@)?([^/@:]+):([^/?].*)$$,https://\2/\3,p')
# Without the characters that a revision may have and a tag may not.
TAG ?= $(shell printf '%s' '$(VERSION)$(REVISION:%=-%)' | tr -c 'A-Za-z0-9_.-' '-' | cut -c1-128)
PLATFORM ?= linux/amd64
BASE_IMAGE ?=
# Where the CUDA compat libraries are taken from: if a base image is given, from there.
COMPAT_IMAGE ?= $(BASE_IMAGE)
COMPILER ?=
PRETRAINED ?=
# Not taken from the environment, where a variable of this name selects the server to run.
MULTI_MODEL_SERVER =
MLFLOW ?=
# Where it is pushed. If they are empty, AWS is asked.
AWS_REGION ?=
AWS_ACCOUNT_ID ?=
REGISTRY ?=
FORCE ?=

BIN := $(VENV)/bin
CODE := src serve docker local_test examples benchmarks tests
# Small networks gain nothing from a second thread: a process for each core, with one thread each, and one more, since
# tests wait for servers a quarter of their time. nproc would count OMP_NUM_THREADS instead of the cores.
TEST_PROCESSES ?= $(shell expr 1 + $$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2))
PIP_INSTALL := pip install --disable-pip-version-check --quiet
COMPILE := .venv-lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--quiet --constraint docker/pins.txt --override docker/left-out.txt $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

##### Development

.PHONY: install
install: $(VENV)/.installed ## create .venv from the lock file and install this package into it

# Created again only when the lock file changes. Python compiles modules when they are first imported: to compile all of
# them here takes longer.
$(VENV)/.locked: docker/build.lock docker/requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed. To use another Python than $(PYTHON): make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/$(PIP_INSTALL) --require-hashes -r docker/build.lock
	$(BIN)/$(PIP_INSTALL) --no-compile --require-hashes --no-deps --no-build-isolation -r docker/requirements-dev.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/$(PIP_INSTALL) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lint
lint: install ## check style, imports and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/mypy

.PHONY: fix
fix: install ## fix what the style checker can fix
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# Tests with the marker `slow`, and those in folders of their own that break seldom, are not part of `make test` and
# not part of CI. `make test-all` runs everything.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest
# In the order of the command line: the long files first, so that no core waits for one in the end.
BY_FILE := --dist=loadfile --no-loadscope-reorder
ON_EACH_CORE := --numprocesses=$(TEST_PROCESSES) $(BY_FILE)

.PHONY: test
test: install ## run the unit and integration tests
	$(PYTEST) $(ON_EACH_CORE) -m "not slow" tests/integration tests/unit $(PYTEST_ARGS)

.PHONY: test-all
test-all: test test-slow test-isa test-hostile test-recipes test-tuning test-api test-browser test-mlflow test-container ## run every test

# What rounds differently from processor to processor. The instruction sets: that of oneDNN, which computes PyTorch's and
# OpenVINO's convolutions, and after the slash that of PyTorch's own kernels (x86 alone has it; empty: the machine's best,
# since one above it would crash). An oneDNN set above the machine's is the machine's best, too, and that is what the other
# targets run on: AMX, the highest, is not repeated here.
ISA_TESTS := tests/unit/test_precision.py tests/unit/inference/test_openvino_model.py tests/unit/export/test_example_script.py \
	tests/unit/serve/test_loader.py tests/integration/test_golden.py \
	-k "float32 or bfloat16 or masks or probabilities or losses"
ISAS ?= SSE41/default AVX2/$(if $(filter x86_64,$(shell uname -m)),avx2) AVX512_CORE/ AVX512_CORE_VNNI/ AVX512_CORE_BF16/

.PHONY: test-isa
test-isa: install ## run the tests that depend on the processor, in float32 and bfloat16, under each instruction set
	@set -e; for isa in $(ISAS); do \
		own=$${isa#*/}; echo "== ONEDNN_MAX_CPU_ISA=$${isa%/*} $${own:+ATEN_CPU_CAPABILITY=$$own}"; \
		env OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=$${isa%/*} $${own:+ATEN_CPU_CAPABILITY=$$own} $(BIN)/pytest --quiet \
			--numprocesses=$(TEST_PROCESSES) --dist=worksteal $(ISA_TESTS) $(PYTEST_ARGS); \
	done

.PHONY: test-slow
test-slow: install ## interrupt and resume training jobs, and run every recipe on a small data set
	$(PYTEST) $(ON_EACH_CORE) -m slow tests/slow tests/integration tests/unit $(PYTEST_ARGS)

# Not part of test-all: without a GPU it fails, after the tests that need none. It takes any Python with torch and timm, so
# that it runs from a bare checkout: WHEELS=… is a folder with the wheels of benchmarks/gpu_wheels.txt.
.PHONY: test-gpu
test-gpu: ## test on a GPU, in less than nine minutes; PYTHON=…, WHEELS=…
	$(PYTHON) tests/gpu/run.py $(PYTEST_ARGS)

.PHONY: test-api
test-api: install ## send a real server requests that its OpenAPI description allows and forbids
	$(BIN)/pytest tests/api $(PYTEST_ARGS)

.PHONY: test-hostile
test-hostile: install ## send hostile files to a real server, unpack such archives, and fuzz for a minute; BYOC_SHARED=…
	$(BIN)/pytest tests/hostile $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: install ## try every parser on inputs that resemble good ones, for ten minutes; FUZZ_SECONDS=…
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(PYTEST) tests/hostile/test_fuzz.py $(PYTEST_ARGS)

.PHONY: test-browser
test-browser: install ## test the web page in Chromium; needs the packages chromium and chromium-driver
	$(PYTEST) tests/browser $(PYTEST_ARGS)

.PHONY: test-mlflow
test-mlflow: install .venv-mlflow/.locked ## report training jobs to a real MLflow server
	$(BIN)/pytest tests/tracking $(PYTEST_ARGS)

# The MLflow server. Jobs use the small client in $(VENV).
.venv-mlflow/.locked: docker/build.lock docker/mlflow-server.lock
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r docker/build.lock
	$(@D)/bin/$(PIP_INSTALL) --no-compile --require-hashes --no-build-isolation -r docker/mlflow-server.lock
	@touch $@

.PHONY: test-recipes
test-recipes: install ## train two recipes on real images until they reach the expected metrics
	$(BIN)/pytest tests/recipes $(PYTEST_ARGS)

.PHONY: test-tuning
test-tuning: install ## run hyperparameter searches with real training jobs: resumed, in parallel, failed, stopped
	$(PYTEST) tests/tuning $(PYTEST_ARGS)

.PHONY: demo
demo: install ## train on drawn images, serve and predict; the results are in demo/
	sh local_test/demo.sh $(BIN)/byoc-vision

.PHONY: first-hour
first-hour: install ## record the terminal session of docs/first-hour.md; CHECK=1 compares it with what the commands say
	$(BIN)/python local_test/first_hour.py $(if $(CHECK),--check)

.PHONY: readme
readme: install ## write the README's tables
	PYTHONPATH=tests $(BIN)/python -m support.readme

.PHONY: lock
lock: .venv-lock/.installed ## update the lock files; UPGRADE=1 takes the newest versions
	$(COMPILE) docker/build.in --output-file docker/build.lock
	$(COMPILE) pyproject.toml --extra image --extra int8 --extra export --output-file docker/requirements.lock
	$(COMPILE) pyproject.toml --extra int8 --extra export --group dev --constraint docker/requirements.lock --output-file docker/requirements-dev.lock
	$(COMPILE) docker/multi-model-server.in --constraint docker/requirements.lock --output-file docker/multi-model-server.lock
	$(COMPILE) docker/mlflow.in --constraint docker/requirements.lock --output-file docker/mlflow.lock
	$(COMPILE) docker/mlflow-server.in --output-file docker/mlflow-server.lock
	$(COMPILE) docker/sbom.in --output-file docker/sbom.lock
	$(COMPILE) docker/sdk-v2.in --output-file docker/sdk-v2.lock
	$(COMPILE) docker/sdk-v3.in --output-file docker/sdk-v3.lock

.venv-lock/.installed:
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/$(PIP_INSTALL) uv
	@touch $@

.PHONY: clean
clean: ## remove all files that make created; images stay
	rm -rf .venv .venv-lock .venv-mlflow .venv-sdk2 .venv-sdk3 build demo *.egg-info src/*.egg-info
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

##### The image

.PHONY: build
build: ## build the image; BASE_IMAGE=…, PRETRAINED="models whose weights are baked in", MULTI_MODEL_SERVER=1, MLFLOW=1, COMPILER=1
	DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 $(DOCKER) build --file docker/Dockerfile --platform $(PLATFORM) \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE="$(BASE_IMAGE)") --build-arg PRETRAINED="$(PRETRAINED)" \
		$(if $(COMPAT_IMAGE),--build-arg COMPAT_IMAGE="$(COMPAT_IMAGE)") \
		$(if $(COMPILER),--build-arg COMPILER="$(COMPILER)") \
		$(if $(MULTI_MODEL_SERVER),--build-arg MULTI_MODEL_SERVER="$(MULTI_MODEL_SERVER)") \
		$(if $(MLFLOW),--build-arg MLFLOW="$(MLFLOW)") \
		--build-arg VERSION="$(VERSION)" --build-arg REVISION="$(REVISION)" \
		--build-arg CREATED="$(CREATED)" --build-arg SOURCE="$(SOURCE)" \
		--tag $(IMAGE):$(TAG) --tag $(IMAGE):latest .

.PHONY: test-container
test-container: install sdk-clients build ## build the image and run all of its tests; DOCKER=…, BASE_IMAGE=…
	$(TEST_CONTAINER)

.PHONY: test-container-fast
test-container-fast: install sdk-clients build ## build the image and run its tests, without the slow ones
	$(TEST_CONTAINER) -m "not slow" --numprocesses=2 $(BY_FILE)

TEST_CONTAINER = IMAGE=$(IMAGE):$(TAG) DOCKER=$(DOCKER) BASE_IMAGE=$(BASE_IMAGE) $(BIN)/pytest tests/container $(PYTEST_ARGS)

.PHONY: sdk-clients
sdk-clients: .venv-sdk2/.locked .venv-sdk3/.locked ## create the venvs of the SageMaker SDKs v2 and v3

# Not compiled: little of the gigabyte of code is ever imported. They use only the client of this package, so its
# dependencies are left out.
.venv-sdk%/.locked: docker/build.lock docker/sdk-v%.lock
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r docker/build.lock
	$(@D)/bin/$(PIP_INSTALL) --no-compile --require-hashes --no-build-isolation -r docker/sdk-v$*.lock
	$(@D)/bin/$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

##### What is in the image. IMAGE=… and TAG=… select it.

.PHONY: sbom
sbom: ## extract the image's SBOM and licences to build/
	@mkdir -p build
	for file in sbom.cdx.json licences.txt; do \
		$(DOCKER) run --rm --network none $(IMAGE):$(TAG) cat /opt/byoc/$$file > build/$$file || exit 1; done
	@echo "build/sbom.cdx.json build/licences.txt"

.PHONY: size
size: install ## show what takes space in the image: layers, largest Python packages
	$(BIN)/python docker/size_report.py --docker $(DOCKER) $(IMAGE):$(TAG)

.PHONY: scan
scan: install ## search every layer of the image for secrets
	$(BIN)/python docker/layer_scan.py --docker $(DOCKER) $(IMAGE):$(TAG)

.PHONY: audit
audit: install ## check the locked packages for known vulnerabilities in OSV; OSV_URL=… uses a mirror
	$(BIN)/python docker/audit.py $(OSV_URL:%=--osv-url %)

##### Amazon ECR

PUSH = $(BIN)/python docker/push.py --docker $(DOCKER) $(AWS_REGION:%=--region %) $(AWS_ACCOUNT_ID:%=--account %) \
	$(REGISTRY:%=--registry %)

.PHONY: login
login: install ## log the docker client in to ECR; AWS_REGION=…
	$(PUSH) login

.PHONY: check-tag
check-tag: install ## fail if ECR has this tag already, before it is built; IMAGE=…, TAG=…, AWS_REGION=…, FORCE=1
	$(PUSH) check-tag --image $(IMAGE) --tag $(TAG) $(if $(FORCE),--force)

.PHONY: push
push: install ## push to ECR: IMAGE=…, TAG=…, AWS_REGION=…, AWS_ACCOUNT_ID=…, REGISTRY=…, FORCE=1
	$(PUSH) push --image $(IMAGE) --tag $(TAG) $(if $(FORCE),--force)
