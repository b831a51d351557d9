# `make` lists the targets. Every target needs only `make setup`, which each of them does by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
STAMP := .venv/.set-up
MODELS ?= bundled
COVERAGE := 85
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup run test chaos fuzz audit lint types format worker flower up down bench docs readme hearing constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with everything in it (again only when pyproject.toml or constraints.txt changed)

$(STAMP): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "No Python 3.11 or newer with venv was found: install one, or name it as in make setup PYTHON=/opt/python3.11."; exit 1; fi; \
	[ -x $(BIN)/python ] || { echo "Setting up .venv with $$($$found --version) (once; a few minutes, most of it the download of torch)"; $$found -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,embedded,monitor,dev]'
	@touch $@

run: $(STAMP) ## the ten samples through all three models (MODELS=quest: those of the hub; =multilingual: 99 languages)
	@GOLEM_MODELS=$(MODELS) $(BIN)/golem run samples/*.flac

test: $(STAMP) ## all tests with coverage; pulls the bundled models once
	@$(BIN)/python -m golem_chain.workers models pull --profile bundled
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-fail-under=$(COVERAGE) $(TESTS)

chaos: $(STAMP) ## everything that strikes, at full size, beside stock Celery (CHAOS='--jobs 1000 --kills 50 --write')
	@$(BIN)/python -m tests.chaos $(CHAOS)

fuzz: $(STAMP) ## 100,000 damaged inputs for everything that reads what strangers wrote (FUZZ='--inputs 100000 --seed 7')
	@$(BIN)/python -m tests.fuzz $(FUZZ)

audit: $(STAMP) ## known vulnerabilities of everything that constraints.txt pins; asks the package index
	@$(BIN)/python -c 'from urllib.request import urlopen; urlopen("https://pypi.org/pypi/celery/5.7.0/json", timeout=10)' 2>/dev/null || \
	    { echo "The package index (https://pypi.org) does not tell what is known of our versions from here: run make audit where it can be reached."; exit 1; }
	@$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

lint: $(STAMP) ## ruff, and the architecture (import-linter)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

format: $(STAMP) ## ruff rewrites what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

worker: $(STAMP) ## a worker of this box on GOLEM_REDIS_URL; pulls the models of GOLEM_MODELS once
	@$(BIN)/golem models pull
	@$(BIN)/golem worker

flower: $(STAMP) ## Flower on the running system, http://127.0.0.1:5555 with a password
	@$(BIN)/golem flower

up: .env ## redis, a GPU worker and Flower by docker compose
	docker compose up --build --detach

down: ## stop what `make up` started; queues and models stay
	docker compose down

.env:
	@echo "There is no .env: cp .env.example .env and set the passwords in it."; exit 1

bench: $(STAMP) ## the chain against the ways people run it today, into docs/performance.md (under 15 minutes)
	@GOLEM_MODELS=bundled $(BIN)/golem bench chain --docs docs/performance.md

docs: $(STAMP) ## docs/settings.md from shared/settings.py
	@$(BIN)/python docs/generate/settings_page.py

readme: $(STAMP) ## the README's output and measured table from real runs here
	@$(BIN)/python docs/generate/readme_run.py

hearing: $(STAMP) ## docs/hearing.md's tables and pictures from golem eval on DATA=folder, about five minutes
	@GOLEM_MODELS=$(MODELS) $(BIN)/python docs/generate/hearing_page.py $(DATA)

constraints: $(STAMP) ## constraints.txt from what .venv holds (after a tested upgrade)
	@{ head -1 constraints.txt; $(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+[a-z0-9.]*$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## .venv, caches and build output (models stay in the store)
	rm -rf .venv build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
