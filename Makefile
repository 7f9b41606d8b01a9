.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PYTHONPATH
export UV_COMPILE_BYTECODE := 1
export UV_PYTHON_DOWNLOADS := never
export NO_MKDOCS_2_WARNING := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
SRC := $(wildcard protocol/src kernel/src client/*/src plugins/*/*/src)
empty :=
space := $(empty) $(empty)
export MYPYPATH := $(subst $(space),:,$(SRC))
PROTO := protocol/src/fedk_protocol/v1

.PHONY: help env demo test chaos soak check fmt upgrade dist proto bench bench-tier bench-peers flames docs torch-demo

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one: make env PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv && .venv/bin/python -m pip install -q 'uv>=0.13,<0.14'

env: .venv/bin/uv ## make or renew .venv (no stamp file: a stamp misses deleted plugins)
	@uv sync -q --all-packages --all-extras

demo: env ## five clients train one model on real digits; then the table
	fedk run examples/digits/client.py:app --clients 5 --rounds 20 --set epochs=2 --data-dir demo-data
	python examples/digits/compare.py --data-dir demo-data

test: env ## all tests, or T=plugins/aggregators/fedavg
	$(if $(T),pytest $(T),pytest -n auto --dist worksteal protocol kernel client plugins tests/simulation tests/plugins tests/examples && pytest -n 2 --dist loadgroup tests --ignore tests/simulation --ignore tests/plugins --ignore tests/examples)

chaos: env ## kill servers and clients, again and again; prints the figures
	pytest tests/faults tests/tier -m "chaos or not chaos" -q -p no:cacheprovider

soak: env ## simulated schedules by the ten thousand (S=seconds, 600), then every mutant of the machine
	python -m tests.simulation.soak $(or $(S),600) && python -m tests.simulation.mutants

check: env ## lint, format, types, import contracts
	ruff check && ruff format --check && mypy && python scripts/contracts.py > .venv/importlinter.ini && lint-imports --config .venv/importlinter.ini

fmt: env ## format, and fix what can be fixed
	ruff check --fix && ruff format

upgrade: .venv/bin/uv ## newest versions that the ranges allow
	uv lock -q --upgrade && uv sync -q --all-packages --all-extras

dist: env ## wheels of all packages into dist/
	rm -rf dist && uv build -q --all-packages --wheel --no-build-isolation -o dist

proto: .venv/bin/uv ## stubs from the .proto files
	uv run --no-project --isolated --with 'grpcio-tools==1.76.*' --with mypy-protobuf --with 'setuptools<81' \
	  python -m grpc_tools.protoc -I protocol/src --python_out=protocol/src --grpc_python_out=protocol/src \
	  --mypy_out=protocol/src --mypy_grpc_out=protocol/src $(PROTO)/*.proto

bench: env ## measure against the physical limit; docs/benchmarks.md
	python -m benchmarks.run

bench-tier: env ## what combiners take off their root
	python -m benchmarks.run --only tier

bench-peers: env ## the same work on other servers, each in an environment of its own
	python -m benchmarks.peers

flames: env ## where the server's time goes, as pictures
	python -m benchmarks.flames

docs: env ## the documentation site into site/
	mkdocs build -q --strict

torch-demo: .venv/bin/uv ## the digits with PyTorch, in an environment of its own
	examples/torch_digits/demo.sh
