#!/usr/bin/env bash
# Set up, then run the tests under a virtual display. Without one, those that need OpenGL are left out.
# PYTEST_ARGS is passed on, e.g. PYTEST_ARGS="-k region".
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
pytest=("${VENV:-.venv}/bin/python" -m pytest)
if ! command -v xvfb-run >/dev/null || ! command -v xauth >/dev/null; then
    pytest+=(-m "not gl")
fi
more=()
eval "more=(${PYTEST_ARGS:-})"
exec scripts/on_display.sh "${pytest[@]}" "${more[@]}"
