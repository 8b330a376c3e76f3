#!/usr/bin/env bash
# Set up, then run the tests under a virtual display; without one, those that need OpenGL are skipped.
# A process per core runs them, four at most. PYTEST_ARGS is passed on, e.g. PYTEST_ARGS="-n 0 -k region".
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
arguments=(-n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder)
eval "arguments+=(${PYTEST_ARGS:-})"
exec scripts/on_display.sh "${VENV:-.venv}/bin/python" -m pytest "${arguments[@]}"
