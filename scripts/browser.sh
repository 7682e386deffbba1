#!/usr/bin/env bash
# Installs Debian's Chromium, which the tests of the pages use, unless there is one.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  if command -v "$name"; then exit 0; fi
done
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "no Chromium found: install one, such as Debian's package 'chromium'" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
{
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
} >&2
command -v chromium
