#!/usr/bin/env bash
# The host of docs/guide.md: two guests whose disks are in /srv, the first of them at work, served at /cloud. Needs a mount
# namespace of its own, in which all of this stays. Usage: guide-host.sh MAIN; says "serving" when it does.
set -euo pipefail
main=$1
here=$(dirname "$0")/..
mount -t tmpfs tmpfs /srv
mount -t tmpfs tmpfs /var/lib/slashcloud
mkdir /srv/inside

for guest in web db; do
  "$here/make-sample.sh" "/srv/$guest.img" > /dev/null 2>&1
  root=/srv/inside/$guest
  mkdir "$root"
  mount -o "loop,offset=$((1 << 20)),sizelimit=$((96 << 20))" "/srv/$guest.img" "$root"
  mkdir -p "$root/etc/ssh" "$root/usr/bin" "$root/tmp"
  chmod 1777 "$root/tmp"
  echo $guest > "$root/etc/hostname"
  [ $guest = db ] && login=yes || login=no
  printf 'Port 22\nPermitRootLogin %s\n' "$login" > "$root/etc/ssh/sshd_config"
  echo 'a program' > "$root/usr/bin/passwd"
  chmod 4755 "$root/usr/bin/passwd"
  echo 'line of the system' > "$root/var/log/syslog"
  umount "$root"
done

mkdir /srv/inside/guest
"$here/sample-guest.sh" /srv/web.img /srv/inside/guest &
node "$main" up --host host1 web=/srv/web.img db=/srv/db.img
