#!/usr/bin/env bash
# Build the documentation into site/; any broken link or missing page is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${VENV:-.venv}/bin/python
"$python" -c 'import material' 2>/dev/null || "$python" -m pip install --quiet --editable ".[docs]"
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --site-dir "${SITE:-site}"
