#!/usr/bin/env bash
# Set up what the project needs, reusing what is already there: system libraries for Qt, a Python >= 3.11 that can make
# virtual environments, the virtual environment $VENV and the project in it.
# PYTHON chooses the interpreter, EXTRAS the optional parts to install; pip's own settings (PIP_CONSTRAINT ...) apply.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/system.sh
source scripts/system.sh

venv=${VENV:-.venv}
extras=${EXTRAS:-all,test}

main() {
    local python packages
    python=$(find_python)
    mapfile -t packages < <(missing_display_packages)
    can_make_environments "$python" || packages+=("$(venv_package "$python")")
    if ! install_packages "${packages[@]}"; then
        can_make_environments "$python" || exit 1
        say "Going on without them: windows can't be shown, everything else works."
    fi
    make_environment "$python"
}

can_make_environments() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "Python 3.11 or newer is needed, found ${PYTHON:-none}. Install it, or name it: make PYTHON=/path/to/python3 ..."
    exit 1
}

venv_package() {
    "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

# A stamp inside the environment tells whether it still fits pyproject.toml, so that second runs start at once.
make_environment() {
    local stamp=$venv/.installed wanted
    wanted="$extras $(cksum <pyproject.toml) ${PIP_CONSTRAINT:-}"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    say "Installing napari-recon[$extras] into $venv (the first time takes some minutes)"
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$1" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
    echo "$wanted" >"$stamp"
}

main
