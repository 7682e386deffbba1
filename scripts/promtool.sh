#!/usr/bin/env bash
# Installs promtool, which checks the alert rules, from Debian's package 'prometheus' unless it is there.
set -euo pipefail
if command -v promtool; then exit 0; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "no promtool found: install one, such as the one of Debian's package 'prometheus'" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1 # the package would start a server
{
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends prometheus
} >&2
command -v promtool
