#!/usr/bin/env bash
# Run a command under a virtual display; where that is not possible, with Qt drawing off screen (nothing that needs OpenGL
# works then). Other systems than Linux have a display of their own.
set -euo pipefail
# shellcheck source=scripts/system.sh
source "$(dirname "$0")/system.sh"

if [ "$(uname -s)" != Linux ]; then
    exec "$@"
elif virtual_display_works; then
    exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" "$@"
fi
QT_QPA_PLATFORM=offscreen exec "$@"
