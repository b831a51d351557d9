# `make` lists the targets. Each target runs `make setup` first if needed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
STAMP := .venv/.set-up
SITE_STAMP := .venv/.set-up-site
MODELS ?= bundled
# Per cent that the whole suite must cover; with TESTS=… only a part of it runs.
COVERAGE := $(if $(TESTS),0,93)
# What pip-audit says where the index is out of reach, or is a mirror that holds no word on vulnerabilities.
NO_INDEX := Could not connect|could not be audited|requests\.exceptions|ServiceError
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup run test chaos fuzz audit lint types format worker serve flower up down bench docs site readme hearing constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with all dependencies; updates it if pyproject.toml or constraints.txt changed

$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "No Python 3.11 or newer with venv was found: install one, or name it as in make setup PYTHON=/opt/python3.11."; exit 1; fi; \
	echo "Setting up .venv with $$($$found --version)"; $$found -m venv .venv

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@[ -e $@ ] || echo "Installing the dependencies (once; a few minutes, most of it the download of torch)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,embedded,watch,monitor,mic,serve,dev]'
	@touch $@

$(SITE_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

run: $(STAMP) ## process the ten samples with all three models (MODELS=quest: from the hub; MODELS=multilingual: 99 languages)
	@GOLEM_MODELS=$(MODELS) $(BIN)/golem run samples/*.flac

test: $(STAMP) ## run all tests with coverage, or those of TESTS=tests/unit; downloads the bundled models once
	@$(BIN)/python -m golem_chain.workers models pull --profile bundled --no-proof
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-fail-under=$(COVERAGE) $(TESTS)

chaos: $(STAMP) ## full-size fault injection, compared with stock Celery (CHAOS='--jobs 2000 --kills 100 --write'; LONG=1)
	@$(BIN)/python -m tests.chaos $(if $(LONG),--long) $(CHAOS)

fuzz: $(STAMP) ## feed 100,000 damaged inputs to everything that reads untrusted data (FUZZ='--inputs 100000 --seed 7')
	@$(BIN)/python -m tests.fuzz $(FUZZ)

audit: $(STAMP) ## look for vulnerable dependencies among the pins in constraints.txt; needs the Python package index
	@said=$$($(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off 2>&1); \
	code=$$?; \
	if [ $$code -ne 0 ] && grep -qE '$(NO_INDEX)' <<< "$$said"; then \
	    said="The Python package index cannot be reached from here: run make audit on a machine that can reach it."; \
	fi; \
	echo "$$said"; exit $$code

lint: $(STAMP) ## check style (ruff) and architecture (import-linter)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(STAMP) ## check types (mypy, strict; tests need no annotations)
	@$(BIN)/mypy

format: $(STAMP) ## format the code and apply automatic fixes (ruff)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

worker: $(STAMP) ## run a worker on this box for GOLEM_REDIS_URL; downloads the models of GOLEM_MODELS once
	@$(BIN)/golem models pull
	@$(BIN)/golem worker

serve: $(STAMP) ## serve a web page, OpenAI's audio API, a jobs API and Wyoming: http://127.0.0.1:8000; downloads the models once
	@GOLEM_MODELS=$(MODELS) $(BIN)/golem serve

flower: $(STAMP) ## open Flower for the running system: http://127.0.0.1:5555, with a password
	@$(BIN)/golem flower

up: .env ## start Redis, a GPU worker, golem serve and Flower with Docker Compose
	docker compose up --build --detach

down: ## stop what `make up` started; keeps queues and models
	docker compose down

.env:
	@echo "There is no .env file. Run cp .env.example .env and set the passwords in it."; exit 1

bench: $(STAMP) ## run the benchmarks and write docs/performance.md (under 15 minutes)
	@GOLEM_MODELS=bundled $(BIN)/golem bench chain --docs docs/performance.md

docs: $(STAMP) ## generate docs/settings.md, docs/records.md, docs/cli.md, docs/cards.md, docs/metrics.md and docs/grafana from the code
	@$(BIN)/python docs/generate/settings_page.py
	@$(BIN)/python docs/generate/records_page.py
	@$(BIN)/python docs/generate/cli_page.py
	@$(BIN)/python docs/generate/cards_page.py
	@$(BIN)/python docs/generate/metrics_page.py
	@$(BIN)/python docs/generate/grafana_dashboard.py

site: $(SITE_STAMP) ## build the documentation as a website in build/site; fails on a broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site
	@echo "To read it: python3 -m http.server --bind 127.0.0.1 --directory build/site, then http://127.0.0.1:8000"

readme: $(STAMP) ## write the README's output and measured table from real runs on this machine
	@$(BIN)/python docs/generate/readme_run.py

hearing: $(STAMP) ## write the tables and plots of docs/hearing.md from golem eval on DATA=folder (about ten minutes)
	@GOLEM_MODELS=$(MODELS) $(BIN)/python docs/generate/hearing_page.py $(DATA) $(SECTIONS)

constraints: $(STAMP) $(SITE_STAMP) ## write constraints.txt from the versions in .venv (after a tested upgrade)
	@{ head -1 constraints.txt; $(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+[a-z0-9.]*$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## delete .venv, caches and build output; keeps the models
	rm -rf .venv build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
