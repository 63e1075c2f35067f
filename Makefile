# All set-up is here: git, make and Python 3.11 are enough. Every target can be run again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# One BLAS thread per process: parallelism comes from hamfit's own threads and workers.
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: help venv test lint types demo results test-faults gpu docs bench lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

venv: $(STAMP) ## Make .venv with exact versions

# The build tools come from constraints.txt too, hence no isolated build.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation -e '.[test]'
	touch $(STAMP)

test: $(STAMP) ## Run the tests on all cores; installs g++ and Chromium where it may
	sh tests/tools.sh
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile --durations 10 $(PYTEST_ARGS)

lint: $(STAMP) ## Check style
	$(BIN)/ruff check .

types: $(STAMP) ## Check types
	$(BIN)/mypy

test-faults: $(STAMP) ## Run the tests that kill services, clusters, workers and drivers
	$(BIN)/python -m pytest -m faults $(PYTEST_ARGS)

results: $(STAMP) ## Measure docs/results again (minutes; DFT only with HAMFIT_DFT_DATA)
	$(BIN)/python -m tests.benchmarks all

bench: $(STAMP) ## Measure only the pages on speed, start-up, memory and rollouts
	$(PIP) --no-build-isolation -e '.[bench]'
	$(BIN)/python -m tests.benchmarks performance startup scaling rollouts

gpu: $(STAMP) ## On a machine with an NVIDIA GPU: run the tests there and measure, into docs/results/gpu.md
	$(BIN)/python -c 'import cupy' 2>/dev/null || $(PIP) --no-build-isolation -e '.[gpu]'
	$(BIN)/python -c 'from hamfit.devices import choose_device; print(choose_device("cuda").name)'
	$(BIN)/python -m tests.benchmarks gpu

demo: $(STAMP) ## Fit a Lennard-Jones liquid, test the model on frames that it never saw, and run it
	mkdir -p build/demo
	gzip -dc tests/data/lj-500.lammpstrj.gz | split -d -l 7637 --additional-suffix=.lammpstrj - build/demo/frames-
	sed -n 1,16p tests/data/lj-500.energies.csv > build/demo/frames-00.csv
	awk -F, -v OFS=, 'NR == 1; NR > 16 { $$1 -= 15; print }' tests/data/lj-500.energies.csv > build/demo/frames-01.csv
	$(BIN)/hamfit ingest build/demo/frames-00.lammpstrj --energies build/demo/frames-00.csv --units lj --out build/demo/seen.zarr --overwrite
	$(BIN)/hamfit ingest build/demo/frames-01.lammpstrj --energies build/demo/frames-01.csv --units lj --out build/demo/unseen.zarr --overwrite
	$(BIN)/hamfit fit build/demo/seen.zarr --cutoff 2.5 --out build/demo/liquid.model
	$(BIN)/hamfit evaluate build/demo/liquid.model build/demo/unseen.zarr
	$(BIN)/hamfit rollout build/demo/liquid.model --initial build/demo/unseen.zarr --steps 5000 --dt 0.002 --out build/demo/run.zarr --overwrite

docs: $(STAMP) ## Build the documentation in docs/_build/html
	$(PIP) --no-build-isolation -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

lock: ## Freeze the versions installed in .venv into constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check | grep -E '^[A-Za-z0-9._-]+==' > constraints.txt

clean: ## Remove what was built, but not .venv
	rm -rf build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
