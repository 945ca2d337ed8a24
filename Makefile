# Every target works from a fresh clone: it needs Python 3.11 or newer and make, and installs the rest into .venv.
# `make help` lists the targets. Variables: PYTHON=python3.12 picks the interpreter, WORKERS=8 the parallel tests.

.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4

# Every test process compiles all modules again where this is set.
unexport PYTHONDONTWRITEBYTECODE

# The locked versions and their hashes; `make lock` writes both files.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUN_LOCK := requirements/run.txt
DEV_LOCK := requirements/dev.txt
# The version is pinned, so that everybody writes the lock files in the same format.
UV := uv==0.13.9

# The simulated world: `make sim SEEDS=0-299 SCENARIO=hostile DAYS=7 ATHLETES=20`. MORE=--trace prints each step of a seed.
SEEDS ?= 0-299
SCENARIO ?= hostile
SIM = $(foreach option,DAYS:days ATHLETES:athletes PROCESSES:processes SETTLE:settle-hours ACTS:acts-a-day,\
  $(if $($(word 1,$(subst :, ,$(option)))),--$(word 2,$(subst :, ,$(option))) $($(word 1,$(subst :, ,$(option)))))) $(if $(SMALL),--small)

# hatch_build.py builds the pages' scripts and styles when pip installs the package. A change in frontend/ builds them again.
ASSETS := src/feedzone/web/static/manifest.json
FRONTEND := frontend/package.json frontend/package-lock.json frontend/build.mjs $(wildcard frontend/src/*)

.PHONY: help demo test quick check format lock migration docs bench soak limiters sim quota mutants clean programs screenshots
.NOTPARALLEL:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run $(ASSETS)  ## start feedzone beside a sandbox Strava, and print the link to open
	@$(BIN)/feedzone demo

test: $(VENV)/.dev $(ASSETS) programs check  ## run all checks and tests: both databases, a real browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The tests of the sandbox and of eight processes take long, and few changes concern them.
SLOW := --ignore tests/store/test_eight_processes.py --ignore-glob 'tests/unit/test_sandbox_*'

quick: WORKERS = 2
quick: check  ## run the checks and the fast tests on SQLite, in about a minute
	$(BIN)/python -m pytest -n $(WORKERS) --database sqlite $(SLOW) tests/tidy tests/unit tests/store

check: $(VENV)/.dev  ## check format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## format the code and apply safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv compiles the lock files in a throw-away environment. Without UPGRADE=1 it keeps every version that still fits.
# `fewest` pins one version of a package for every Python, instead of one for each.
COMPILE = "$$folder/bin/uv" --quiet --no-config --no-python-downloads --cache-dir "$$folder/cache" pip compile \
  --universal --fork-strategy fewest --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
  pyproject.toml --group pyproject.toml:build

lock:  ## update requirements/ after a change in pyproject.toml; UPGRADE=1 takes the newest versions
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	  "$$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$(UV)" && \
	  $(COMPILE) --extra dev $(if $(UPGRADE),--upgrade) --output-file $(DEV_LOCK) && \
	  $(COMPILE) --constraints $(DEV_LOCK) $(if $(UPGRADE),--upgrade) --output-file $(RUN_LOCK)

migration: $(VENV)/.dev  ## write a migration after a change in store/schema/: NAME="add a column"
	@$(BIN)/python tools/migration.py "$(NAME)"
	@$(BIN)/ruff format --quiet src/feedzone/store/schema/migrations/versions

docs: $(VENV)/.dev  ## write docs/reference.md from the code
	$(BIN)/python tools/reference.py

bench: $(VENV)/.dev programs  ## measure feedzone beside other programs: docs/benchmarks.md; QUICK=1 takes three minutes
	@$(BIN)/python -m bench $(if $(QUICK),--quick,--write) $(if $(ROUNDS),--rounds $(ROUNDS)) $(MORE)

MINUTES ?= 30
soak: $(VENV)/.dev  ## run feedzone for MINUTES beside a sandbox with faults and restarts, and compare the result
	@$(BIN)/python -m bench.soak --minutes $(MINUTES) $(MORE)

limiters: $(VENV)/.dev  ## compare feedzone with other rate limiters in a simulated week: docs/limiters.md
	$(BIN)/python -m bench limiters --write

sim: $(VENV)/.dev  ## run simulated worlds: docs/simulation.md explains the variables
	@PYTHONPATH=tests $(BIN)/python -m sim --seeds $(SEEDS) --scenario $(SCENARIO) --jobs $(WORKERS) $(SIM) $(MORE)

quota: SEEDS = 0
quota: $(VENV)/.dev  ## simulate days with more work than the rate limit allows, and measure the delays
	@PYTHONPATH=tests $(BIN)/python -m sim.quota --seeds $(SEEDS) --jobs $(WORKERS) $(MORE)

mutants: SEEDS = 0-19
mutants: $(VENV)/.dev  ## plant mistakes, and list the simulated worlds and the tests that find them: docs/mutations.md
	@PYTHONPATH=tests $(BIN)/python -m sim.mutants --seeds $(SEEDS) --jobs $(WORKERS) $(MORE)
	@PYTHONPATH=tests $(BIN)/python -m planted

screenshots: $(VENV)/.dev $(ASSETS) programs  ## save a picture of every page into screenshots/: desktop and phone, light and dark
	@PYTHONPATH=tests $(BIN)/python tools/screenshots.py

# The tests drive a real browser, a real proxy and a real connection pooler; two peers of the benchmark keep their
# queues in Redis. Each entry is program:Debian package.
PROGRAMS := chromium:chromium nginx:nginx-light pgbouncer:pgbouncer
NEED := tests
bench: PROGRAMS = redis-server:redis-server npm:npm
bench: NEED = benchmarks
programs:
	@PATH="$$PATH:/usr/sbin"; missing=""; \
	  for entry in $(PROGRAMS); do \
	    command -v "$${entry%%:*}" >/dev/null 2>&1 || missing="$$missing $${entry#*:}"; \
	  done; \
	  if [ -z "$$missing" ]; then exit 0; fi; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "Installing$$missing for the $(NEED)"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
	      echo "$$missing could not be installed: their $(NEED) are skipped"; \
	  else \
	    echo "missing:$$missing. Install them (Debian: apt-get install$$missing), or their $(NEED) are skipped"; \
	  fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "feedzone needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing (Debian: apt-get install python3-venv)"; exit 1; }

# The lock includes the build requirements: without isolation, pip builds feedzone with exactly those versions.
INSTALL_FEEDZONE := $(PIP) --no-deps --no-build-isolation -e .

$(VENV)/.run: pyproject.toml $(RUN_LOCK) | $(VENV)/bin/python
	@echo "Installing feedzone into $(VENV)"
	@$(PIP) --require-hashes -r $(RUN_LOCK)
	@$(INSTALL_FEEDZONE)
	@touch $@

$(VENV)/.dev: pyproject.toml $(DEV_LOCK) | $(VENV)/bin/python
	@echo "Installing feedzone and its test dependencies into $(VENV)"
	@$(PIP) --require-hashes -r $(DEV_LOCK)
	@$(INSTALL_FEEDZONE)
	@touch $@ $(VENV)/.run

$(ASSETS): $(FRONTEND) hatch_build.py | $(VENV)/.run
	@echo "Building the pages' scripts and styles"
	@$(INSTALL_FEEDZONE)

clean:  ## delete .venv, the demo's data, and everything else that make has built
	rm -rf $(VENV) .demo src/feedzone/web/static frontend/node_modules screenshots .bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
