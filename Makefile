# Targets that need the environment make it first, and again only when what it is made from changed.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help train sweep report claims tensorboard predict test check format bench pictures clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo 'ARGS passes through: make train ARGS="activation=silu"; PYTHON chooses: make test PYTHON=python3.12'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(STAMP) ## one run: conf/train.yaml, with ARGS as overrides
	$(BIN)/python src/train.py $(ARGS)

SWEEP := activation=relu,silu optimizer=sgd,adam optimizer.lr=0.01,0.03,0.1,0.3,1.0 'seed=range(0,10)'

sweep: $(STAMP) ## 200 runs at once, or with ARGS others: make sweep ARGS="experiment=optimizers"
	$(BIN)/python src/train.py --multirun $(if $(findstring experiment=,$(ARGS)),,$(SWEEP)) $(ARGS)

report: $(STAMP) ## the page of the newest sweep, or of another: make report ARGS="sweep=outputs/…"
	$(BIN)/python src/report.py $(ARGS)

CLAIMS := $(patsubst conf/experiment/%.yaml,%,$(shell grep -l '^claims:' conf/experiment/*.yaml))

claims: $(STAMP) ## the sweeps of the lessons' claims, and what they say; minutes, and again seconds
	@status=0; for experiment in $(CLAIMS); do \
		echo "$$experiment"; $(BIN)/python src/train.py --multirun experiment=$$experiment \
			hydra.sweep.dir=outputs/claims/$$experiment $(ARGS) || status=$$?; \
		test $$status -lt 2 || exit $$status; \
	done; \
	$(BIN)/python src/report.py sweep=outputs/claims && exit $$status

tensorboard: $(STAMP) ## curves and histograms of all runs, on http://localhost:6006
	$(BIN)/tensorboard --logdir outputs $(ARGS)

predict: $(STAMP) ## ask the newest run: make predict ARGS="'inputs=[[8,7,75,80]]'"
	$(BIN)/python src/predict.py $(ARGS)

# One thread each, since there are as many processes as cores.
test: $(STAMP) ## the tests, on all cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto $(ARGS)

check: $(STAMP) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## benchmarks, as ratios measured side by side
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/population.py $(ARGS)
	$(BIN)/python bench/report.py

pictures: $(STAMP) ## take the README's pictures again (needs Chromium)
	$(BIN)/python -m pytest tests/test_tensorboard.py tests/test_report_browser.py --pictures docs

clean: ## remove the environment and caches; outputs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
