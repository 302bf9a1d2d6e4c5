#!/usr/bin/env bash
# Debian packages some tests need (redis-server for cluster tests). Only when root and apt are there; else those tests are
# skipped by name.
set -eu
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "note: not root or no apt-get; tests that need ${missing[*]} will be skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
