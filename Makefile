# Everything a contributor runs. `make help` lists it.
PYTHON ?= python3
UV ?= $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
BIN := .venv/bin
WORKERS ?= 3
# one thread for each process, and bytecode kept, or each process compiles the house anew; the last of two profiles counts
TESTS = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --durations=20 --hypothesis-profile=ci

.PHONY: help setup setup-aws run ui tiering-demo test test-local test-aws test-long coverage cloud-test lint format lock bench clean
.DEFAULT_GOAL := help

help: ## list what you can do here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.tools/bin/uv:
	@$(PYTHON) -m venv .tools && .tools/bin/pip install -q --disable-pip-version-check uv

.venv/.installed: requirements.lock pyproject.toml | $(filter .tools/bin/uv,$(UV))
	@$(UV) venv -q --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

setup: .venv/.installed ## the Python environment, from the committed lock

setup-aws: setup ## what tests of AWS want besides: Trino, a REST catalog and SeaweedFS, fetched once
	@$(UV) pip install -q --python $(BIN)/python --group aws-test
	@$(BIN)/python -m tests.cloud.fetching

run: setup ## the main job on the example panel, from delivered files to a drafted plan
	@test -e "$${CDAP_HOME:-.cdap}/settings.env" || $(BIN)/cdap init --example "$${CDAP_HOME:-.cdap}"
	@$(BIN)/cdap run

ui: setup ## Dagster and MLflow with everything that ran
	@$(BIN)/cdap ui

tiering-demo: setup ## a year of the example ageing month by month
	@rm -rf .cdap-tiering-demo
	@$(BIN)/cdap storage demo .cdap-tiering-demo

test: setup-aws ## all tests, in parallel; those of AWS are skipped without Java 24, Maven or PostgreSQL
	@$(TESTS) tests

test-local: setup ## tests of this machine's engine alone
	@$(TESTS) --ignore=tests/cloud tests

test-aws: setup-aws ## tests of S3, Glue and Athena alone
	@$(TESTS) tests/cloud

test-long: setup-aws ## all tests with ten times as many examples of each property, drawn anew
	@$(TESTS) --hypothesis-profile=long tests

coverage: setup-aws ## what the tests run of each room; fails below the floor of tests/covered.py
	@$(TESTS) --cov --cov-report= tests
	@$(BIN)/python -m tests.covered

cloud-test: setup ## the tests of AWS in the account of your credentials; see docs/aws.md
	@test -n "$$CDAP_CLOUD_BUCKET" || { echo "set CDAP_CLOUD_BUCKET to an existing bucket; docs/aws.md says what happens in it"; exit 1; }
	@$(BIN)/pytest -m cloud tests/cloud

lint: setup ## format, lint, types, room rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## rewrite the code in the house format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock: setup ## resolve pyproject.toml anew into requirements.lock
	@$(UV) pip compile -q --universal --generate-hashes --no-annotate --no-header --extra aws --extra trino --group example --group dev pyproject.toml -o requirements.lock

bench: setup ## the benchmarks beside named alternatives; each figure is kept in benchmarks/results
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.btyd

clean: ## remove the environment and caches; your CDAP_HOME stays
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .cdap-tiering-demo
