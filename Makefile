# `make demo` and `make test` are all a newcomer needs; both make .venv first if it is not there.
PYTHON ?= python3
VENV := .venv
NEXT := $(VENV)/next
SOBENCH := $(VENV)/bin/sobench
CODE := src tests scripts docs
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest

.PHONY: help demo check format test test-slow test-next support docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */|/' | column -t -s '|'

demo: $(VENV)/.installed  ## five optimizers on scikit-learn's digits, then a comparison of four over three problems: no download
	$(SOBENCH) reproduce demo/digits
	$(SOBENCH) compare adamw,sgd,kfac,shampoo --suite digits --seeds 5 --run reports=reports/demo
	@$(SOBENCH) report --overview reports/demo

check: $(VENV)/.installed  ## lint, layout, types and import direction: under a minute
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python

format: $(VENV)/.installed  ## rewrite the code in the layout that `make check` asks for
	$(VENV)/bin/ruff check --fix $(CODE)
	$(VENV)/bin/ruff format $(CODE)

test: $(VENV)/.installed  ## everything that takes seconds
	$(PYTEST) -n 2 --dist worksteal

test-slow: $(VENV)/.docs  ## real data, fault injection, every combination; set SOBENCH_DATA to a folder that has the data sets
	$(PYTEST) -m slow

test-next: $(VENV)/.installed  ## the configuration and the launchers with Hydra's next version; it may fail
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --pre --no-deps --target $(NEXT) hydra-core omegaconf \
		hydra-joblib-launcher hydra-submitit-launcher hydra-ray-launcher
	-PYTHONPATH=$(NEXT) $(PYTEST) -W default tests/config tests/execution/test_launchers.py tests/cli/test_bad_input.py

support: $(VENV)/.installed  ## write docs/models.md and docs/optimizers-of-others.md: what works with what
	$(PYTEST) tests/test_zoo.py --write-support
	$(PYTEST) -m slow tests/test_others.py --write-support

docs: $(VENV)/.docs  ## the documentation as a site, in docs/_build; a warning is an error
	$(VENV)/bin/python -m sphinx -c docs -W --keep-going --quiet . docs/_build
	@echo docs/_build/docs/index.html

clean:  ## remove the environment, never the runs or reports
	rm -rf $(VENV)

$(VENV)/.installed: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("sobench needs Python 3.11 or newer, PYTHON=... names one" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch $@

$(VENV)/.docs: $(VENV)/.installed requirements-docs.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@
