# Shell functions: which system packages are missing, and installing them when that is allowed.
# shellcheck shell=bash

say() {
    echo ">> $*" >&2
}

# Each shared library that Qt's X11 plugin, software OpenGL and the virtual display load, and the Debian package it is in.
display_libraries() {
    cat <<'LIBRARIES'
libEGL.so.1 libegl1
libGL.so.1 libgl1
libGLX_mesa.so.0 libglx-mesa0
libglib-2.0.so.0 libglib2.0-0
libxkbcommon.so.0 libxkbcommon0
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-xkb.so.1 libxcb-xkb1
libxcb-sync.so.1 libxcb-sync1
libxcb-xfixes.so.0 libxcb-xfixes0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libX11-xcb.so.1 libx11-xcb1
LIBRARIES
}

# Looking for libraries rather than packages also works where packages have other names.
missing_display_packages() {
    local present library package
    [ "$(uname -s)" = Linux ] || return 0
    present=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true)
    while read -r library package; do
        grep -qF "$library " <<<"$present" || echo "$package"
    done < <(display_libraries)
    command -v Xvfb >/dev/null || echo xvfb
    command -v xauth >/dev/null || echo xauth
}

virtual_display_works() {
    [ -z "$(missing_display_packages)" ] && command -v xvfb-run >/dev/null
}

# Run a command as root, without ever asking for a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo --non-interactive "$@"
    fi
}

may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo --non-interactive true 2>/dev/null; }
}

# install_packages PACKAGE...: install Debian packages, or say which are missing and fail.
install_packages() {
    [ $# -gt 0 ] || return 0
    if may_install; then
        say "Installing system packages: $*"
        as_root apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null &&
            return
    fi
    say "These system packages are missing, for windows or virtual environments: $*"
    say "Install them (Debian, Ubuntu: sudo apt install $*), then run this again."
    return 1
}
