#!/usr/bin/env bash
# Every static check, with the tools of the virtual environment $VENV: style, types, import directions, shell syntax.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${VENV:-.venv}/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
"$bin/lint-imports"
for script in scripts/*.sh .ci/run; do
    bash -n "$script"
done
