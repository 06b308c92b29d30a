# Every target sets up what it needs: python3 with venv and pip is enough.
.PHONY: run test faults lint bench lock clean

STAMP := .venv/.installed
BIN := .venv/bin

run: $(STAMP)  ## the quickstart sweep on real data, and its report
	$(BIN)/sweep run search_spaces/quickstart.yaml
	$(BIN)/sweep report quickstart

test: lint  ## lint, types, layers and all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/cluster
	$(BIN)/python -m pytest tests/cluster  # one after the other: they share a cluster

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: $(STAMP)  ## real kills of real sweeps at random times, 32 of them
	$(BIN)/python -m tests.faults --faults 32 --seed 0

bench: $(STAMP)  ## ratios measured side by side in one run
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.scale

lock: $(STAMP)  ## pin the newest versions that pyproject.toml allows, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra server --group dev --universal --generate-hashes \
		--no-emit-index-url --no-header --upgrade --quiet --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra server --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --upgrade --quiet \
		--constraint requirements.lock --output-file deploy/requirements.lock

clean:
	rm -rf .venv

$(STAMP): requirements.lock pyproject.toml
	python3 -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		--require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(STAMP)
