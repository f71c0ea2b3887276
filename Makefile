# The two commands are `make book` and `make test`; `make help` lists the rest.
PROFILE ?= laptop
PYTHON  ?= python3
VENV    ?= .venv
THESIS  := $(VENV)/bin/thesis
# A chapter is written when its notebook is there.
CHAPTERS := $(sort $(patsubst notebooks/%.py,%,$(wildcard notebooks/ch*.py)))

.DEFAULT_GOAL := help
.PHONY: help env book pdf test notebooks lint lock clean $(CHAPTERS)

help: ## what can be made
	@echo "make TARGET [PROFILE=smoke|laptop|paper] [PYTHON=python3.11]"
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(VENV)/.ready ## the environment, in .venv

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python %d.%d found, 3.11 to 3.13 needed: make PYTHON=python3.11 ..." % v[:2])'
	$(PYTHON) -m venv $(VENV)
ifeq ($(shell uname -sm),Linux x86_64)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
else
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[book,cluster,test]"
endif
	@touch $@

book: $(CHAPTERS) ## the book, in _build/html; PROFILE=smoke takes minutes, `make -j2 book` uses two cores
	@$(THESIS) book --profile $(PROFILE)

pdf: book ## the book as one PDF, in _build/pdf (needs Chromium or Chrome)
	@$(THESIS) pdf

$(CHAPTERS): env
	@$(THESIS) run $@ --profile $(PROFILE)

test: env ## the whole test suite
	$(VENV)/bin/python -m pytest -n auto --dist worksteal

lint: env ## style of the code
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

notebooks: env ## bring both halves of each notebook together after an edit of either
	$(VENV)/bin/jupytext --sync notebooks/ch*.py

lock: env ## new versions in requirements.lock (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --upgrade --quiet -o requirements.lock

clean: ## remove the book and the executed chapters; memoised experiments stay
	rm -rf _build/html _build/pdf _build/site _build/.doctrees _build/smoke _build/laptop _build/paper
