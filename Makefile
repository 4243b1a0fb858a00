# `make book`, `make test` and `make check`; each sets up .venv first, which is quick once done.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: book check test validate colab release bench setup lint lock clean

book: setup
	$(BIN)/lrnb run --profile quick
	$(BIN)/lrnb build --profile quick

# a file of tests on each core, each on one thread
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical

# lint, types, spelling and import direction, then unit tests, the chapters at smoke scale against
# golden numbers and committed facts, two of them alone as on Colab, a build of the book, and its
# pages in Chromium where there is one. Without an environment like Colab's, which a machine may fail
# to set up, its tests are skipped and say so.
test: lint
	-@$(MAKE) --no-print-directory .colab/ready
	$(PYTEST) --dist loadfile -m "not thorough"

# lint, types, spelling, import direction, and the fast tests: about a minute
check: lint
	$(PYTEST) --dist loadfile -m "not slow"

# the facts that the committed notebooks print, against a fresh run at smoke scale
validate: setup
	$(BIN)/lrnb validate

# each notebook alone, as on Colab, in an environment with the versions of its runtime; and Ray, where
# it is installed
colab: setup .colab/ready
	$(PYTEST) tests/test_colab.py tests/test_engine.py

# may the book be published? its outputs must come from this very code
release: test
	$(BIN)/lrnb doctor --release

# lrnb side by side with its peers, about half an hour on 2 cores; writes results/bench/
bench: setup
	$(BIN)/python -m bench

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.10 to 3.13 is needed: make PYTHON=python3.12 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

.colab/ready: tests/colab.txt
	test -x .colab/bin/python || $(PYTHON) -m venv .colab
	$(BIN)/uv pip install --quiet --python .colab/bin/python -r tests/colab.txt
	touch $@

# renew the locked versions; the file holds hashes and no download address (ray is large and rare)
EXTRAS := --extra book --extra bench --extra test --extra dask
lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade $(EXTRAS) \
		--generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf _build .venv .colab
