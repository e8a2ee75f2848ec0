# From a fresh checkout: `make demo` shows it, `make test` proves it. Both make the environment `.venv` first.
#
#   make setup    .venv with pinned versions           make lint      ruff, its formatter, pyright
#   make demo     train, sample, report in minutes     make parity    golden files against the reference libraries
#   make test     the tests, two at a time             make results   docs/results.md from the records in results/

PYTHON ?= python3
JOBS ?= 2
PY_REF ?= python3
DEMO := runs/demo
BIN := .venv/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PINS := constraints-$(VERSION).txt
READY := .venv/ready

.PHONY: setup demo test lint parity results clean

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt pyproject.toml $(wildcard constraints-*.txt)
	@test -f $(PINS) || { echo "$(PYTHON) is Python $(VERSION); supported are 3.11 to 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c $(PINS) -r requirements.txt -r requirements-dev.txt -e .
	touch $@

demo: $(READY)
	rm -rf $(DEMO)
	@$(BIN)/aigc train ddpm --preset laptop --workdir $(DEMO)
	@echo "svm/agreement above: the share of 500 samples in which a classifier trained on the real digits reads the digit asked for"
	@echo "samples: $$($(BIN)/aigc sample $(DEMO) --n 100 --label 0,1,2,3,4,5,6,7,8,9 --out $(DEMO)/grid.png)"
	@echo "report:  $(DEMO)/report.html"

test: $(READY)
	$(BIN)/pytest -n $(JOBS) --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Needs another environment, with torch, torchvision, transformers, diffusers and timm: make parity PY_REF=/path/to/python.
# References that are no package are clones in the folder GOLDEN_SOURCES; where one is missing, its script says so.
parity:
	@for script in tests/golden/make_*.py; do echo "$$script --check"; $(PY_REF) $$script --check || exit 1; done

results: $(READY)
	$(BIN)/aigc results

clean:
	rm -rf .venv .cache build dist *.egg-info
