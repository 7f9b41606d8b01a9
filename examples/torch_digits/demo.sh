#!/usr/bin/env bash
# The digits with PyTorch on this machine's processor, in an environment of its own: .torch-venv.
# Run again, it only brings the environment up to date.
#   PYTHON=/path/to/python3   another interpreter than the repository's own
#   TORCH='torch==2.9.0'      another build; pip's options may follow
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$PWD/.torch-venv
python=${PYTHON:-.venv/bin/python}
scratch=$(mktemp -d)
log=$scratch/log
trap 'rm -rf "$scratch"' EXIT
unset PYTHONPATH VIRTUAL_ENV

fail() {
  tail -n 15 "$log" >&2
  echo "torch-demo: $1" >&2
  exit 1
}

quietly() { "$@" >"$log" 2>&1; }

has() { quietly "$venv/bin/python" -c "$1"; }

pip() { quietly "$venv/bin/python" -m pip --disable-pip-version-check install "$@"; }

environment() {
  has "" || quietly "$python" -m venv --clear "$venv" ||
    fail "$python made no environment. Name another one: PYTHON=/path/to/python3 make torch-demo"
}

torch() {
  # a build without CUDA first: the plain package of a Linux machine brings gigabytes that a processor has no use for
  local choices=("torch==2.13.0+cpu" "torch==2.13.0" "torch") choice
  if [ -n "${TORCH:-}" ]; then choices=("$TORCH"); elif has "import torch"; then return; fi
  for choice in "${choices[@]}"; do
    # shellcheck disable=SC2086  # pip's options may follow the name
    if pip $choice && has "import torch"; then return; fi
  done
  fail "no torch: tried ${choices[*]}. Name another one: TORCH='torch==…' make torch-demo"
}

packages() {
  # editable: a changed line counts at once, and only a changed pyproject.toml asks for pip
  local folders=(protocol client/python kernel plugins/*/*) stamp
  stamp=$(cat "${folders[@]/%//pyproject.toml}" | cksum)
  if [ "$stamp" = "$(cat "$venv/stamp" 2>/dev/null)" ] && has "import fedk, fedk_client, sklearn"; then return; fi
  pip hatchling editables scikit-learn && pip --no-build-isolation "${folders[@]/#/--editable=./}" ||
    fail "the packages of this repository cannot be installed into $venv"
  echo "$stamp" >"$venv/stamp"
}

environment
torch
packages
PATH=$venv/bin:$PATH
fedk run examples/torch_digits/client.py:app --clients 5 --rounds 5 --data-dir "$scratch/data" --json \
  >"$scratch/run.json" 2>"$log" || fail "fedk run ended with exit code $?"
python - "$scratch/run.json" <<'PRINT'
import json
import sys

with open(sys.argv[1]) as file:
    run = json.load(file)
print(f"PyTorch, 5 clients, {run['rounds']} rounds: validate.accuracy {run['metrics']['validate.accuracy']:.3f}")
PRINT
