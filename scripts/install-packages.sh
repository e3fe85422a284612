#!/bin/sh
# scripts/install-packages.sh - what a bare Debian 12 needs to build Spindle and run its tests.
#
# Asks apt only for what is missing; with everything there it touches nothing. CUDA is not
# needed: where nvcc is found, the build uses it.
set -eu

packages="gcc libc6-dev make cmake
  liblmdb-dev libzstd-dev libjansson-dev libxxhash-dev libutf8proc-dev
  libopenblas-dev libroaring-dev libmicrohttpd-dev libcmocka-dev"

missing=
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null; then
  as_root=sudo
else
  echo "install-packages: run this as root, or install sudo; missing:$missing" >&2
  exit 1
fi

echo "Installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # the list is words on purpose
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
  --no-install-recommends $missing >/dev/null
