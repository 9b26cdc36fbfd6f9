#!/bin/sh
# Install the system libraries that Qt, OpenGL and the virtual display need, and the DICOM programs
# and the database server that tests talk to (Debian, Ubuntu).
# As root: installs what is missing. Otherwise: says what to install. Elsewhere: does nothing.
set -eu

python=${1:-python3}
wanted="xvfb xauth libegl1 libgl1 libopengl0 libglib2.0-0 libdbus-1-3 libfontconfig1
libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xfixes0 libxcb-util1
fonts-dejavu-core dcmtk postgresql"

[ "$(uname -s)" = Linux ] || exit 0
command -v dpkg-query >/dev/null 2>&1 || exit 0

installed() { # Ubuntu 24.04 renamed some packages NAMEt64
    dpkg-query -W -f='${db:Status-Status}\n' "$1" "$1t64" 2>/dev/null | grep -qx installed
}

missing=
for package in $wanted; do
    installed "$package" || missing="$missing $package"
done
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "System libraries are missing; if napari or the tests fail, run:" >&2
    echo "  sudo apt-get install$missing" >&2
    exit 0
fi
echo "Installing system libraries:$missing"
apt-get update -qq
# RUNLEVEL=1: what is installed does not start; tests start a database server of their own.
# shellcheck disable=SC2086  # one word for each package
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
