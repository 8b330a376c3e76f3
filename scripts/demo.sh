#!/usr/bin/env bash
# Set up, then reconstruct the sample light field: in napari when there is a display, else into files and a picture.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
exec "${VENV:-.venv}/bin/napari-recon" demo "$@"
