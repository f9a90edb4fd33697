# Needs make, a POSIX shell and Python 3.11 or newer; everything else goes into .venv.

PYTHON := .venv/bin/python
STARTED := $(shell date +%s)

INSTALL := requirements/install.sh requirements/constraints.txt
UP_FILES := $(addprefix requirements/,api.txt moderator.txt monitor.txt tools.txt)
TRAIN_FILES := $(addprefix requirements/,train.txt encoder.txt)
# A stamp is newer than the files it was installed from, so that a second call has nothing to do.
UP := .venv/.installed-up
TRAIN := .venv/.installed-train
DEV := .venv/.installed-dev
AWS := .venv/.installed-aws
RAY := .venv/.installed-ray

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-train install-ray up starter test test-full images secrets test-images lint lint-workflows docs docs-commands audit benchmark-change format lock clean deploy destroy aws-run

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

install: $(UP) ## Install what `make up` needs (no torch)

install-dev: $(DEV) ## Install what `make test` needs

install-train: $(TRAIN) ## Install what training needs, the starter's encoder included

install-ray: $(RAY) ## Install what `moderation score --engine ray` needs

up: $(UP) ## Start the API, both apps and the worker; Ctrl-C stops them
	@$(PYTHON) -m cli up

starter: $(TRAIN) ## Train the starter from its data: two stages, each with a teacher, then its figures (docs/training.md; hours)
	@$(PYTHON) -m train.data configs/train/starter.yaml --split train --output runs/starter-train.parquet
	@for stage in graded starter graded-second starter-second; do $(PYTHON) -m train configs/train/$$stage.yaml || exit 1; done
	@rm -rf runs/starter-second/measured
	@$(PYTHON) -m train.quality configs/train/starter-second.yaml --bundle runs/starter-second/bundle \
		--output runs/starter-second/measured

test: $(DEV) ## Lint, check types and layers, run all tests but the long ones
	@$(call checks,)

test-full: $(DEV) ## The same with the long tests (chaos, soak, scale, upgrade)
	@$(call checks,-m "not images")

images: ## Build the container images (see docker/build.sh)
	@docker/build.sh

secrets: ## Make the secrets of docker/compose.yaml that are not there yet
	@docker/secrets.sh

test-images: $(DEV) ## Build the images and try them with Docker; STAND_INS=1 where there is no registry
	@$(if $(STAND_INS),tests/images/stand-ins.sh) sh -ec 'TORCH_BACKEND=$${TORCH_BACKEND-cpu} \
		docker/build.sh api moderator monitor tools train api-gpu && $(PYTHON) -m pytest -q tests/images -m images'

lint: $(DEV) ## Check style, types and layers
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m ruff format --quiet --check .
	@$(PYTHON) -m mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo

lint-workflows: $(DEV) ## Check .github against its schemas and for unsafe steps
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-actions .github/actions/*/action.yml
	@.venv/bin/zizmor --offline --quiet --min-severity medium .github

docs: $(DEV) ## Build the documentation as a website in build/site; a broken link is an error
	@rm -rf build/docs build/site && mkdir -p build/docs
	@git ls-files -z --cached --others --exclude-standard -- '*.md' docs/img docker LICENSE | xargs -0 cp --parents -t build/docs
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

docs-commands: $(DEV) ## Run every documented command in a clean clone
	@$(PYTHON) -m tests.docs.commands

audit: $(DEV) ## Look pinned packages up among known vulnerabilities
	@$(PYTHON) -m pip_audit --progress-spinner off --no-deps --disable-pip -r requirements/constraints.txt

benchmark-change: $(DEV) ## Speed of the working tree beside another commit: BASE=origin/main
	@$(PYTHON) -m benchmarks.change $(BASE)

format: $(DEV) ## Format the code and fix what ruff can fix
	@$(PYTHON) -m ruff check --quiet --fix --exit-zero .
	@$(PYTHON) -m ruff format --quiet .

lock: $(DEV) ## Resolve requirements/constraints.txt anew
	@UV_SYSTEM_CERTS=1 $(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 requirements/dev.txt \
		-o requirements/constraints.txt --no-annotate --custom-compile-command "make lock"

deploy: $(AWS) ## To AWS: ENV=prod, DRY_RUN=1, YES=1, SERVICE=api, RELEASE=commit, IMAGES=registry (docs/aws.md)
	@$(PYTHON) docker/aws/deploy.py deploy $(ENV) $(if $(DRY_RUN),--dry-run) $(if $(YES),--yes) \
		$(addprefix --service ,$(SERVICE)) $(addprefix --release ,$(RELEASE)) $(addprefix --images-from ,$(IMAGES))

destroy: $(AWS) ## Delete what is on AWS: ENV=prod
	@$(PYTHON) docker/aws/deploy.py destroy $(ENV) $(if $(YES),--yes)

aws-run: $(AWS) ## Run a command there once: ENV=prod RUN="keys list"
	@$(PYTHON) docker/aws/deploy.py run $(if $(OWNER),--owner) $(if $(HANDOVER),--handover $(HANDOVER)) $(ENV) $(RUN)

clean: ## Remove .venv and caches; data under var/ stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UP): $(INSTALL) $(UP_FILES)
	@requirements/install.sh up
	@touch $@

$(TRAIN): $(INSTALL) $(TRAIN_FILES)
	@requirements/install.sh train
	@touch $@

$(RAY): $(INSTALL) $(UP_FILES) requirements/ray.txt
	@requirements/install.sh ray
	@touch $(UP) $@

$(DEV): $(INSTALL) $(UP_FILES) $(TRAIN_FILES) requirements/ray.txt requirements/dev.txt
	@requirements/install.sh dev
	@touch $(UP) $(TRAIN) $(RAY) $@

$(AWS): $(UP) requirements/aws.txt
	@requirements/install.sh aws
	@touch $@

# $(call checks,PYTEST ARGUMENTS): lint and tests, then their number and the time since `make` began.
checks = $(MAKE) --no-print-directory lint && $(PYTHON) -m pytest -q -n logical --maxprocesses 4 --dist loadfile --junitxml=.venv/tests.xml $(1) && \
	tests=$$(sed -n 's/.*<testsuite [^>]*tests="\([0-9]*\)".*/\1/p' .venv/tests.xml) && \
	seconds=$$(( $$(date +%s) - $(STARTED) )) && \
	echo "$$tests tests in $$(( seconds / 60 )) min $$(( seconds % 60 )) s, installation and lint included"
