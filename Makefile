# What a person does with this repository. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
ORACLE := .venv-oracle
DURATION ?=
FAULTS ?=
SEED ?=
ONLY ?=
STORE ?=
REPLICAS ?=
BROKEN ?=
DEAD_FOR ?=
LATENESS ?=
TRANSCRIPT ?=
RATE ?= 200
OUT ?=
JSON ?=
BESIDE ?=
ROUNDS ?=
FLAME ?=
TARGET ?= all
SECONDS ?= 60

# where Python may not keep what it has compiled, each start of pytest compiles all tests anew, for ten seconds or more
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test test-heat quick service servers image check lint types arch fmt oracle keystone ceilometer aodh aodhclient schemathesis shadow peers chaos fuzz audit bench bench-aodh bench-plots bench-step docs clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is needed (Debian: apt-get install python3-venv)"; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "installing what the tests need ..."
	@$(PIP) --editable '.[demo,dev]'
	@touch $@

setup: $(VENV)/.dev ## A virtualenv in .venv with everything; .venv/bin/autoscaler is the command

run: $(VENV)/.demo ## The main job, live: real workers scaled by real measures (DURATION=120 ends it by itself)
	@$(BIN)/autoscaler demo $(if $(DURATION),--duration $(DURATION))

test: setup servers quick service ## Everything, against real servers that it starts itself

quick: setup ## The tests that need no server
	$(BIN)/pytest -q -n 2 --dist worksteal --hypothesis-profile=quick -m "not service and not slow and not oracle and not heat"

service: setup servers ## The tests that start real Redis, Valkey, RabbitMQ and Mosquitto, the slow ones, and all that Hypothesis draws
	$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "(service or slow or hypothesis) and not oracle and not heat"

servers: ## Install the servers that the tests start, where that is allowed
	@.ci/servers

test-heat: setup .venv-heat/.installed .venv-aodh/.installed ## Grow and shrink groups of a real Heat, with a real Keystone, Aodh, RabbitMQ and MariaDB
	@.ci/servers mariadbd:mariadb-server-core,mariadb-client-core
	$(BIN)/pytest -q -m heat tests/heat

image: setup servers ## Build what the image holds, with all it depends on, and run it as the chart does; no container is needed
	AUTOSCALER_TEST_IMAGE=whole $(BIN)/pytest -q tests/integration/test_image.py

check: lint types arch quick ## Everything a commit must pass

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

arch: setup ## Who may import whom
	$(BIN)/lint-imports

fmt: setup ## Format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# a virtualenv of others' programs, by the requirements that stand beside the tests that need them
define OTHERS
	@$(PYTHON) -m venv $(@D)
	@echo "installing into $(@D) ..."
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
endef

.venv-%/.installed: tests/differential/%/requirements.txt
	$(OTHERS)

.venv-%/.installed: tests/integration/%/requirements.txt
	$(OTHERS)

.venv-%/.installed: tests/%/requirements.txt
	$(OTHERS)

.venv-%/.installed: bench/%/requirements.txt
	$(OTHERS)

.SECONDARY: .venv-aodh/.installed .venv-aodhclient/.installed .venv-beside/.installed .venv-ceilometer/.installed .venv-heat/.installed .venv-keystone/.installed \
    .venv-oracle/.installed .venv-schemathesis/.installed

oracle: setup $(ORACLE)/.installed ## Compare with the installed aodh, gnocchi and openstack-heat
	AUTOSCALER_ORACLE_PYTHON=$(ORACLE)/bin/python $(BIN)/pytest -q -m oracle tests/differential

keystone: setup .venv-keystone/.installed ## Ask a real Keystone
	$(BIN)/pytest -q -m oracle tests/integration/test_keystone.py tests/integration/test_keystone_controller.py

ceilometer: setup servers .venv-ceilometer/.installed ## Have a real Ceilometer publish to a running controller
	$(BIN)/pytest -q -m oracle tests/integration/test_ceilometer.py

aodh: setup .venv-aodh/.installed ## Move alarms of a real Aodh into a running controller, and back
	@.ci/servers mariadbd:mariadb-server-core,mariadb-client-core
	$(BIN)/pytest -q -m oracle tests/integration/test_aodh.py

aodhclient: setup .venv-aodhclient/.installed ## Have Aodh's own client talk to a running controller (TRANSCRIPT=FILE keeps what it said)
	AUTOSCALER_TEST_TRANSCRIPT=$(TRANSCRIPT) $(BIN)/pytest -q -m oracle tests/integration/test_aodhclient.py

schemathesis: setup .venv-schemathesis/.installed ## Ask every path of the API what its OpenAPI document allows
	$(BIN)/pytest -q -m oracle tests/integration/test_openapi.py

peers: oracle keystone ceilometer aodh aodhclient schemathesis ## All of these

shadow: setup ## Stand beside an Aodh and its Gnocchi, which AUTOSCALER_TEST_AODH_URL, _GNOCCHI_URL, _AODH_BROKER name, for DURATION seconds
	AUTOSCALER_TEST_SHADOW_SECONDS=$(or $(DURATION),600) $(BIN)/pytest -q -s -m oracle tests/differential/test_live_shadow.py

chaos: setup servers ## Faults of every kind, and whether anything was lost (FAULTS=1000 SEED=1; more in docs/guides/chaos.md)
	@$(BIN)/python -m tests.chaos $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)') \
	    $(if $(STORE),--store $(STORE)) $(if $(REPLICAS),--replicas $(REPLICAS)) $(if $(BROKEN),--broken $(BROKEN)) \
	    $(if $(DEAD_FOR),--dead-for $(DEAD_FOR)) $(if $(LATENESS),--lateness $(LATENESS))

$(VENV)/.fuzz: $(VENV)/.dev
	@echo "installing atheris ..."
	@$(PIP) --editable '.[demo,dev,fuzz]'
	@touch $@

fuzz: $(VENV)/.fuzz ## Send anything to all that strangers can send to, each target for SECONDS (TARGET=promql for one)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGET)

$(VENV)/.audit: $(VENV)/.dev
	@$(PIP) pip-audit
	@touch $@

audit: $(VENV)/.audit ## Known faults of what is pinned (asks the internet, and fails where it cannot), and insecure code of ours
	$(BIN)/ruff check --select S autoscaler docs
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

bench-aodh: setup servers .venv-beside/.installed ## The same alarms and measures to us and to a real Aodh and Gnocchi (ONLY=aodh-default JSON=FILE)
	@.ci/servers mariadbd:mariadb-server-core,mariadb-client-core
	AUTOSCALER_TEST_AODH_PYTHON=.venv-beside/bin/python $(BIN)/python -m bench.beside $(if $(ONLY),--only $(ONLY)) \
	    $(if $(JSON),--json $(JSON))

bench-step: setup servers ## From a load step to a serving member, in its parts (ONLY="1 10" BESIDE=FILE of bench-aodh, JSON=FILE)
	$(BIN)/python -m bench.step $(if $(ONLY),--only $(ONLY)) $(if $(BESIDE),--beside $(BESIDE)) $(if $(JSON),--json $(JSON))

.PHONY: soak
soak: SECONDS = 3600
soak: setup servers ## An hour at a steady rate past hours, nights and a leap day, with floods (SECONDS=3600 RATE=200 OUT=FOLDER of the plots)
	$(BIN)/python -m bench.soak --seconds $(SECONDS) --rate $(RATE) $(if $(OUT),--out $(OUT))

bench-plots: setup servers ## How the cost of a measure grows with series, alarms, members, periods, controllers (ONLY=series OUT=docs/performance)
	$(BIN)/python -m bench.growth $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(OUT),--out $(OUT))

bench: setup servers ## How fast it is, held against the same brokers and Redis doing nothing (ROUNDS=5 ONLY=batches JSON=FILE FLAME=FILE)
	$(BIN)/python -m bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON)) \
	    $(if $(FLAME),--flame $(FLAME))

docs: setup ## Make the reference pages anew
	$(BIN)/python docs/reference/make.py

clean: ## Remove what the targets above have made
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
