# The one door. `make help` lists what it opens.
# Every target makes what it needs in .venv first; running one twice does the work once.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DATA ?= ../shared/data

.DEFAULT_GOAL := help
.PHONY: help setup docs serve test check audit sbom peers unit e2e web bench loadtest demo-bundle photos ablation gpu lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1\t/' | expand -t 16

$(BIN)/python:
	@echo "making $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# What serving needs (no torch).
$(VENV)/.serve: $(BIN)/python requirements/serve.txt pyproject.toml
	@echo "installing what serving needs"
	@$(PIP) -r requirements/serve.txt
	@$(PIP) --no-deps -e .
	@touch $@

# What developing needs (torch, exporters, linters, browsers' driver); it includes what serving needs.
$(VENV)/.dev: $(BIN)/python requirements/dev.txt requirements/clip-client.txt pyproject.toml
	@echo "installing what developing and testing need (torch among it; a few minutes when nothing is cached)"
	@$(PIP) -r requirements/dev.txt
	@$(PIP) --no-deps -e .
	@$(PIP) --no-deps --upgrade --target $(VENV)/clip-client -r requirements/clip-client.txt # its own dependencies cannot be met beside ours
	@touch $@ $(VENV)/.serve

# What the site needs: its own stamp, so that developing does not wait for it.
$(VENV)/.docs: $(VENV)/.dev requirements/docs.txt
	@echo "installing what the site needs"
	@$(PIP) -r requirements/docs.txt
	@touch $@

setup: $(VENV)/.dev ## .venv with everything that developing needs

serve: $(VENV)/.serve ## the demo bundle over the demo gallery, on http://127.0.0.1:8000
	@$(BIN)/vernier serve $(ARGS)

test: check $(VENV)/.docs ## lint, types, import rules and every test that runs on a CPU
	@scripts/chromium.sh
	@echo "running the tests"
	@$(BIN)/python -m pytest -q $(ARGS)

check: $(VENV)/.dev ## lint, types, import rules, spelling, licences
	@echo "checking"
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache > /tmp/vernier-imports.$$$$ || { cat /tmp/vernier-imports.$$$$; exit 1; }; rm -f /tmp/vernier-imports.$$$$
	@$(BIN)/typos
	@$(BIN)/python scripts/licences.py

# Not in check: it asks a public database over the network, and its answer changes while nothing here does.
PIP_AUDIT := pip-audit==2.10.1
audit: $(VENV)/.dev ## licences, and what public databases know against the locked dependencies (needs the network)
	@$(BIN)/python scripts/licences.py
	@for lock in serve milvus gpu; do \
	  echo "auditing requirements/$$lock.txt"; \
	  $(BIN)/uvx --quiet --from $(PIP_AUDIT) pip-audit --strict --disable-pip --no-deps --progress-spinner off -r requirements/$$lock.txt || exit 1; \
	done

CYCLONEDX := cyclonedx-bom==7.5.0
sbom: $(BIN)/python ## what each lock file brings, as CycloneDX in runs/sbom (images carry that of what they hold)
	@$(PIP) uv
	@mkdir -p runs/sbom
	@for lock in serve milvus gpu training export; do \
	  $(BIN)/uvx --quiet --from $(CYCLONEDX) cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	    -o runs/sbom/$$lock.cdx.json requirements/$$lock.txt || exit 1; \
	done; echo "runs/sbom"

peers: $(VENV)/.dev ## Vernier beside infinity, LitServe, clip-retrieval and a plain handler: environments, then the table (half an hour; the network)
	@$(BIN)/python -m benchmarks.peers $(ARGS)

unit: $(VENV)/.dev ## the quick tests alone
	@$(BIN)/python -m pytest -q tests/unit tests/numerics $(ARGS)

e2e: $(VENV)/.dev ## the tests through every folder, with a real browser
	@scripts/chromium.sh
	@$(BIN)/python -m pytest -q tests/e2e $(ARGS)

# Only who changes the page needs node: what it makes is in the repository, and a test says whether it is of these sources.
web: web/node_modules/.package-lock.json ## build the web page from web/ into server/web (needs node 20 or newer)
	@cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@echo "installing what the page is built with"
	@cd web && npm ci --silent && touch node_modules/.package-lock.json

photos: $(VENV)/.dev ## train, export, index and evaluate the photo recipe on DATA=… (40 minutes on 2 cores, and half an hour for the heads on a busy one; resumable)
	@$(PIP) --no-deps -r requirements/photos.txt
	@$(BIN)/python scripts/photos.py $(DATA) $(ARGS)

demo-bundle: $(VENV)/.dev ## train the demo bundle from drawn scenes (three hours on one core of a busy machine; resumable) into bundles/demo
	@$(BIN)/vernier train --recipe training.recipes.baseline:tiny --workdir runs/demo-start $$(test -d runs/demo-start/checkpoints && echo --resume)
	@$(BIN)/vernier train --recipe training.recipes.all_four:tiny --workdir runs/demo --start-from "$$(ls -d runs/demo-start/checkpoints/step-* | tail -n 1)" $$(test -d runs/demo/checkpoints && echo --resume)
	@$(BIN)/vernier export "$$(ls -d runs/demo/checkpoints/step-* | tail -n 1)" --out bundles/demo

docs: $(VENV)/.docs ## the site, into site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html (its search needs a server: $(BIN)/python -m http.server --directory site)"

SEEDS ?= 0 1 2
BASELINE ?= training.recipes.baseline:ablation

ablation: $(VENV)/.dev ## RECIPE=… beside BASELINE=… on drawn scenes, SEEDS="0 1 2" [NAME=…] [JOBS=…]; a report in docs/experiments (under two hours on 2 cores; resumable)
	@test -n "$(RECIPE)" || { echo 'name a recipe: make ablation RECIPE=training.recipes.vilem:ablation'; exit 2; }
	@$(BIN)/python scripts/ablation.py $(RECIPE) --baseline $(BASELINE) --seeds $(SEEDS) $(if $(NAME),--name $(NAME)) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

loadtest: $(VENV)/.dev ## stages of a mixed load on a server of its own, judged by loadtests/thresholds.toml (two minutes)
	@$(BIN)/python scripts/loadtest.py $(ARGS)

bench: $(VENV)/.dev ## the benchmarks that need no GPU (ratios to a reference in the same run)
	@$(BIN)/python -m benchmarks.index $(ARGS)
	@$(BIN)/python -m benchmarks.server $(SERVER_ARGS)

# Not through .venv alone: a machine with a GPU brings its own builds of torch, ONNX Runtime and FAISS.
gpu: ## every check that needs an NVIDIA GPU, in a table, with the packages this machine has
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu $(ARGS)

lock: $(VENV)/.dev ## resolve requirements/*.txt again
	@PATH="$(abspath $(BIN)):$$PATH" scripts/lock.sh

clean: ## remove .venv and caches; runs/ and galleries stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
