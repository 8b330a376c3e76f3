#!/usr/bin/env bash
# Run a command under a virtual display; without Xvfb, with Qt drawing off screen (then nothing that needs OpenGL works).
set -euo pipefail

if command -v xvfb-run >/dev/null && command -v xauth >/dev/null; then
    exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" "$@"
fi
QT_QPA_PLATFORM=offscreen exec "$@"
