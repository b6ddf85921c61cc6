# `make` lists the targets. Variables are given on the command line: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
DOCKER ?= docker
# The image: what it is called, what it is built on, and what is baked into it.
IMAGE ?= byoc-vision
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git describe --always --dirty --abbrev=12 2>/dev/null)
# Of the last commit, not of the build: the same commit gives the same labels.
CREATED ?= $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
# An address on the web, without a user and a password.
SOURCE ?= $(shell git remote get-url origin 2>/dev/null | \
	sed -nE 's,^(https?|ssh|git)://([^/]*@)?([^?]+).*,\1://\3,p; s,^([^/@:]+@)?([^/@:]+):([^/?].*)$$,https://\2/\3,p')
# Without the characters that a revision may have and a tag may not.
TAG ?= $(shell printf '%s' '$(VERSION)$(REVISION:%=-%)' | tr -c 'A-Za-z0-9_.-' '-' | cut -c1-128)
PLATFORM ?= linux/amd64
BASE_IMAGE ?=
PRETRAINED ?=
# Not from the environment, where the same name says which server is to run.
MULTI_MODEL_SERVER =
MLFLOW ?=
# Where it is pushed. Empty: what AWS says.
AWS_REGION ?=
AWS_ACCOUNT_ID ?=
REGISTRY ?=
FORCE ?=

BIN := $(VENV)/bin
CODE := src serve docker local_test examples benchmarks tests
# Small networks gain nothing from a second thread, and fight for it: a process for each core, one thread in each.
TEST_PROCESSES ?= $(shell nproc 2>/dev/null || echo 2)
PIP_INSTALL := pip install --disable-pip-version-check --quiet
COMPILE := .venv-lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--quiet --constraint docker/pins.txt --override docker/left-out.txt $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

##### Development

.PHONY: install
install: $(VENV)/.installed ## make .venv from the lock, with this package in it

# Made anew only where the lock has changed.
$(VENV)/.locked: docker/build.lock docker/requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed. If there is one beside $(PYTHON), name it: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/$(PIP_INSTALL) --require-hashes -r docker/build.lock
	$(BIN)/$(PIP_INSTALL) --require-hashes --no-deps --no-build-isolation -r docker/requirements-dev.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/$(PIP_INSTALL) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lint
lint: install ## check style and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

.PHONY: fix
fix: install ## mend what the style checker can mend
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: test
test: install ## run the unit and integration tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile tests/unit tests/integration $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: install ## interrupt and resume jobs of several processes, and run every recipe
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile tests/slow $(PYTEST_ARGS)

.PHONY: test-api
test-api: install ## have schemathesis ask a real server all that its own description allows and forbids
	$(BIN)/pytest tests/api $(PYTEST_ARGS)

.PHONY: test-browser
test-browser: install ## try the page in Chromium; takes the packages chromium and chromium-driver
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/browser $(PYTEST_ARGS)

.PHONY: test-mlflow
test-mlflow: install .venv-mlflow/.locked ## have a real MLflow server follow a job
	$(BIN)/pytest tests/tracking $(PYTEST_ARGS)

# The server; jobs do with the small client that is in $(VENV).
.venv-mlflow/.locked: docker/build.lock docker/mlflow-server.lock
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r docker/build.lock
	$(@D)/bin/$(PIP_INSTALL) --no-compile --require-hashes --no-build-isolation -r docker/mlflow-server.lock
	@touch $@

.PHONY: test-recipes
test-recipes: install ## train recipes on real pictures, to figures that must be reached
	$(BIN)/pytest tests/recipes $(PYTEST_ARGS)

.PHONY: test-tuning
test-tuning: install ## search for hyperparameters with real jobs: going on, two at once, failures, Ctrl-C
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/tuning $(PYTEST_ARGS)

.PHONY: demo
demo: install ## train on drawn pictures, serve, predict: results in demo/
	sh local_test/demo.sh $(BIN)/byoc-vision

.PHONY: readme
readme: install ## make the README's tables anew
	PYTHONPATH=tests $(BIN)/python -m support.readme

.PHONY: lock
lock: .venv-lock/.installed ## refresh the lock files; UPGRADE=1 takes the newest versions
	$(COMPILE) docker/build.in --output-file docker/build.lock
	$(COMPILE) pyproject.toml --extra image --extra export --output-file docker/requirements.lock
	$(COMPILE) pyproject.toml --extra export --group dev --constraint docker/requirements.lock --output-file docker/requirements-dev.lock
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
clean: ## remove all that make has made, but no image
	rm -rf .venv .venv-lock .venv-mlflow .venv-sdk2 .venv-sdk3 build demo *.egg-info src/*.egg-info
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

##### The image

.PHONY: build
build: ## build the image; BASE_IMAGE=…, PRETRAINED="names of models to bake in", MULTI_MODEL_SERVER=1, MLFLOW=1
	DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 $(DOCKER) build --file docker/Dockerfile --platform $(PLATFORM) \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE="$(BASE_IMAGE)") --build-arg PRETRAINED="$(PRETRAINED)" \
		$(if $(MULTI_MODEL_SERVER),--build-arg MULTI_MODEL_SERVER="$(MULTI_MODEL_SERVER)") \
		$(if $(MLFLOW),--build-arg MLFLOW="$(MLFLOW)") \
		--build-arg VERSION="$(VERSION)" --build-arg REVISION="$(REVISION)" \
		--build-arg CREATED="$(CREATED)" --build-arg SOURCE="$(SOURCE)" \
		--tag $(IMAGE):$(TAG) --tag $(IMAGE):latest .

.PHONY: test-container
test-container: install sdk-clients build ## build the image and test it; DOCKER=…, BASE_IMAGE=…
	IMAGE=$(IMAGE):$(TAG) DOCKER=$(DOCKER) BASE_IMAGE=$(BASE_IMAGE) $(BIN)/pytest tests/container $(PYTEST_ARGS)

.PHONY: sdk-clients
sdk-clients: .venv-sdk2/.locked .venv-sdk3/.locked ## make the venvs of the SageMaker SDKs, v2 and v3

# Not compiled: of a gigabyte of code little is ever imported. Of this package they take the client alone, without what
# it would drag in.
.venv-sdk%/.locked: docker/build.lock docker/sdk-v%.lock
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/$(PIP_INSTALL) --require-hashes -r docker/build.lock
	$(@D)/bin/$(PIP_INSTALL) --no-compile --require-hashes --no-build-isolation -r docker/sdk-v$*.lock
	$(@D)/bin/$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

##### What is in the image. IMAGE=… and TAG=… name it.

.PHONY: sbom
sbom: ## bring the list of what is in the image out of it, with the licences, to build/
	@mkdir -p build
	for file in sbom.cdx.json licences.txt; do \
		$(DOCKER) run --rm --network none $(IMAGE):$(TAG) cat /opt/byoc/$$file > build/$$file || exit 1; done
	@echo "build/sbom.cdx.json build/licences.txt"

.PHONY: size
size: install ## say what fills the image: its layers, the largest Python packages
	$(BIN)/python docker/size_report.py --docker $(DOCKER) $(IMAGE):$(TAG)

.PHONY: scan
scan: install ## look for secrets in every layer of the image
	$(BIN)/python docker/layer_scan.py --docker $(DOCKER) $(IMAGE):$(TAG)

.PHONY: audit
audit: install ## ask OSV for known vulnerabilities of the locked packages; OSV_URL=… asks a mirror
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
