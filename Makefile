# Everything a newcomer needs: `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHONHASHSEED := 0

.PHONY: setup demo test test-all lint bench lock clean

setup: $(READY)

# Pinned and hash-checked; then fkdiff itself, built by the pinned back-end with no isolation and no network.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"fkdiff needs Python 3.11 or newer, and {sys.executable} is {v[0]}.{v[1]}: run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $(READY)

demo: setup
	$(BIN)/python scripts/demo.py

# The fast tier: half an hour on two cores.
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# Adds the long statistical tier, the planted bugs and the notebooks: under an hour on two cores.
test-all: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: setup
	$(BIN)/python -m benchmarks.run_all

# For maintainers: resolve the dependencies anew (needs uv).
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .ruff_cache
