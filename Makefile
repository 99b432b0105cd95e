# What people call is what CI calls. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lab lock notebooks clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(READY)  ## build .venv from requirements.lock (a second call does nothing)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Set-up: building $(VENV) from requirements.lock (about half a minute, once)"
	@if command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$(PYTHON)" $(VENV) && \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . ; \
	else \
		$(PYTHON) -m venv --clear $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ; \
	fi
	@touch $@

demo: $(READY)  ## the whole main job on the embedded demo (simulated servers), about a minute
	$(BIN)/python -m poc_lib run --params params/demo.yaml

test: $(READY)  ## the tests
	$(BIN)/python -m pytest -m "not engine"

check: $(READY)  ## lint, format, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb

format: $(READY)  ## bring code and notebooks into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

lab: $(READY)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml \
		--output-file requirements.lock --no-annotate --no-emit-index-url --no-header --quiet
	sed -E -e '/^ +--hash/d' -e 's/ *\\$$//' requirements.lock > constraints.txt

clean:  ## remove .venv and caches; outputs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info build
