#!/usr/bin/env bash
# Set up, then run the tests under a virtual display. Without one, those that need OpenGL are left out.
# PYTEST_ARGS is passed on, e.g. PYTEST_ARGS="-k region".
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/system.sh
source scripts/system.sh

scripts/setup.sh
more=()
if ! virtual_display_works; then
    more=(-m "not gl")
fi
eval "more+=(${PYTEST_ARGS:-})"
exec scripts/on_display.sh "${VENV:-.venv}/bin/python" -m pytest "${more[@]}"
