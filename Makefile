# `make study` and `make test` are all a fresh machine needs; each sets itself up first.
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
ARGS   ?=
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: study test test-faults test-cluster lint benchmarks setup clean
study: setup
	$(RUN) -m studies run all $(ARGS)

test: setup
	$(RUN) -m pytest $(ARGS)

# an hour on two cores: kills at fifty random moments and around every kind of write; a short form is among the tests
test-faults: setup
	$(RUN) -m pytest -m faults $(ARGS)

# half an hour: needs root, and Debian's iproute2, nftables, openssh-server and rsync, for hosts that are namespaces of this one
test-cluster: setup
	$(RUN) -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev,cluster]'
	$(RUN) -m pytest -m cluster $(ARGS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# two hours, on a machine that has nothing else to do; see benchmarks/README.md
benchmarks: setup
	mkdir -p results/benchmarks
	status=0; \
	$(RUN) -m benchmarks.engine lambdas --out results/benchmarks/lambdas.json || status=1; \
	$(RUN) -m benchmarks.engine joint --out results/benchmarks/joint.json || status=1; \
	$(RUN) -m benchmarks.sweep --out results/benchmarks/sweep.json || status=1; \
	$(RUN) -m benchmarks.trivial --check --out results/benchmarks/trivial.json || status=1; \
	exit $$status

setup: $(VENV)/installed

# The stamp is written last: a set-up that was cut off is made again, one that is whole installs nothing.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, but {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.11 …")'
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) results
