#!/usr/bin/env bash
# `npm run try [-- NAME=IMAGE...]`: installs, builds, and serves a sample guest that it makes, or yours.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -d node_modules ] || npm install --no-save --no-audit --no-fund --loglevel=error
npm run --silent build

if [ "$#" -eq 0 ]; then
  image=/tmp/slashcloud-try/web.img
  test/make-sample.sh "$image"
  set -- "web=$image"
  guest=web
else
  guest=${1%%=*}
  [ "$guest" != "$1" ] || guest=$(basename "$1")
fi

if [ "$(id -u)" -eq 0 ]; then mount=/cloud; else mount=$HOME/cloud; fi
mkdir -p "$mount"
here=$mount/$(hostname)/$guest

cat <<EOT

In another terminal:

  ls -l $here
  grep -r password $here/var/log
  find $here -size +1M
  df -h $here
  ls $here/.volumes

Ctrl-C here unmounts.

EOT
exec node dist/main.js up --mount "$mount" "$@"
