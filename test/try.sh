#!/usr/bin/env bash
# `npm run try [-- NAME=IMAGE...]`: installs, builds, and serves a sample guest that it makes and that is alive, or yours.
# SLASHCLOUD_MAIN: a program built elsewhere. SLASHCLOUD_TRY: where the sample is kept. SLASHCLOUD_MOUNT: the mount point.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${SLASHCLOUD_MAIN:-}" ]; then
  [ -d node_modules ] || npm install --no-save --no-audit --no-fund --loglevel=error
  npm run --silent build
fi
main=$(realpath "${SLASHCLOUD_MAIN:-dist/main.js}")
if [ "$(id -u)" -eq 0 ]; then mount=/cloud; else mount=$HOME/cloud; fi
mount=${SLASHCLOUD_MOUNT:-$mount}
folder=${SLASHCLOUD_TRY:-/tmp/slashcloud-try}
mkdir -p "$mount" "$folder"

# Whatever ends this, nothing is left: no process, no mount, and so no loop device.
started=()
end() {
  trap - EXIT INT TERM HUP
  [ "${#started[@]}" -eq 0 ] || kill -TERM "${started[@]}" 2> /dev/null || true
  wait
  # Left where the program was killed.
  if grep -q " $mount fuse" /proc/self/mounts; then umount -l "$mount"; fi
}
trap end EXIT
trap 'exit 0' INT
trap 'exit 143' TERM HUP

log=
if [ "$#" -eq 0 ]; then
  image=$folder/web.img
  # What was kept of the sample before is not of this one.
  state=$folder/sample-state
  rm -rf "$state"
  test/make-sample.sh "$image"
  set -- "web=$image"
  guest=web
  if [ "$(id -u)" -eq 0 ]; then
    log=var/log/app.log
    setpriv --pdeathsig KILL unshare --mount --propagation private test/sample-guest.sh "$image" "$folder/root" &
    started+=($!)
  fi
else
  state=$folder/state
  guest=${1%%=*}
  [ "$guest" != "$1" ] || guest=$(basename "$1")
fi
here=$mount/$(hostname)/$guest

cat <<EOT

In another terminal:

  ls -l $here
EOT
[ -z "$log" ] || echo "  tail -F $here/$log"
cat <<EOT
  tail -F $here/.events
  $main events --follow --state $state
  grep -r password $here/var/log
  find $here -size +1M
  df -h $here
  ls $here/.volumes

Ctrl-C here unmounts.

EOT
setpriv --pdeathsig TERM node "$main" up --mount "$mount" --state "$state" "$@" &
started+=($!)
wait $!
