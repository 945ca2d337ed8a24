# feedzone: `make demo` and `make test` work from a bare checkout with Python 3.11+ and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

# The simulated world: `make sim SEEDS=0-299 SCENARIO=hostile DAYS=7 ATHLETES=20`; MORE=--trace prints one seed's steps.
SEEDS ?= 0-299
SCENARIO ?= hostile
SIM = $(foreach option,DAYS:days ATHLETES:athletes PROCESSES:processes SETTLE:settle-hours ACTS:acts-a-day,\
  $(if $($(word 1,$(subst :, ,$(option)))),--$(word 2,$(subst :, ,$(option))) $($(word 1,$(subst :, ,$(option))))))

# What pages load is built with the package (hatch_build.py), and again when its sources have changed.
ASSETS := src/feedzone/web/static/manifest.json
FRONTEND := frontend/package.json frontend/package-lock.json frontend/build.mjs $(wildcard frontend/src/*)

.PHONY: demo test check format docs bench limiters sim quota mutants clean chromium screenshots
.NOTPARALLEL:

demo: $(VENV)/.run $(ASSETS)  ## everything running: sandbox Strava, feedzone, one link to open
	@$(BIN)/feedzone demo

test: $(VENV)/.dev $(ASSETS) chromium check  ## everything checked and tested, on both databases, in a real browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not alone"
	$(BIN)/python -m pytest -m alone $$(grep -rlw --include='test_*.py' 'mark\.alone' tests)

check: $(VENV)/.dev  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## docs/reference.md from the code
	$(BIN)/python tools/reference.py

bench: $(VENV)/.dev  ## figures: medians and ratios of one run
	$(BIN)/python -m bench

limiters: $(VENV)/.dev  ## feedzone and other limiters in the same simulated week: docs/limiters.md
	$(BIN)/python -m bench limiters --write

sim: $(VENV)/.dev  ## simulated worlds, as many and as large as you like (docs/simulation.md)
	@PYTHONPATH=tests $(BIN)/python -m sim --seeds $(SEEDS) --scenario $(SCENARIO) --jobs $(WORKERS) $(SIM) $(MORE)

quota: SEEDS = 0
quota: $(VENV)/.dev  ## days in which more waits than Strava allows: what is spent, and how long new activities take
	@PYTHONPATH=tests $(BIN)/python -m sim.quota --seeds $(SEEDS) --jobs $(WORKERS) $(MORE)

mutants: SEEDS = 0-19
mutants: $(VENV)/.dev  ## deliberate mistakes in the engine, and which worlds find them: docs/mutations.md
	@PYTHONPATH=tests $(BIN)/python -m sim.mutants --seeds $(SEEDS) --jobs $(WORKERS) $(MORE)

screenshots: $(VENV)/.dev $(ASSETS) chromium  ## every page, on desktop and phone, light and dark, into screenshots/
	@PYTHONPATH=tests $(BIN)/python tools/screenshots.py

chromium:
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "Installing chromium for the browser tests"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	  else \
	    echo "chromium is missing: install it (Debian: apt-get install chromium), or the browser tests are skipped"; \
	  fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "feedzone needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing (Debian: apt-get install python3-venv)"; exit 1; }

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "Installing feedzone into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing feedzone and its test dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run

$(ASSETS): $(FRONTEND) hatch_build.py | $(VENV)/.run
	@echo "Building what the pages load"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .

clean:
	rm -rf $(VENV) .demo src/feedzone/web/static frontend/node_modules screenshots .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
