#!/usr/bin/env bash
# The host of docs/images.md: /srv has the disk of a guest in several forms, and images.example is a web server that has
# them too. Needs namespaces of its own for mounts and the network. Usage: images-host.sh; says "ready".
set -euo pipefail
here=$(dirname "$0")/..
mount -t tmpfs tmpfs /srv
mount -t tmpfs tmpfs /run
ip link set lo up
echo '127.0.0.1 images.example' > /srv/hosts
mount --bind /srv/hosts /etc/hosts

"$here/make-sample.sh" /srv/web.img > /dev/null 2>&1
qemu-img convert -f raw -O qcow2 /srv/web.img /srv/web.qcow2
cp /srv/web.qcow2 /srv/copy-of-qcow2
mkdir /srv/backup
xz -0 --block-size=16MiB < /srv/web.img > /srv/backup/web.img.xz
gzip -1 < /srv/web.img > /srv/backup/web.img.gz
tar -C /srv -cf /srv/backup/web.tar web.img

exec 3> >(sed -u 's/^80$/ready/')
exec node "$here/support/web-server.mjs" /srv 80 >&3
