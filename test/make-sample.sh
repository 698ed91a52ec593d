#!/usr/bin/env bash
# Makes a small guest's disk: a partition table, a root file system with a mount table, and a second file system for
# /srv. Needs no root. Usage: make-sample.sh IMAGE
set -euo pipefail
image=$1
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$(dirname "$image")" "$work/root"/{etc,bin,usr/lib,proc,sys,srv,root,var/log/nginx,home/ann} "$work/srv/www"

root_uuid=3e6be9de-8139-4c5a-9106-a43f08d823a6
srv_uuid=7d444840-9dc0-4f5b-8a2e-2d0a8c3b4c11
cat > "$work/root/etc/fstab" <<EOT
# <file system>                            <mount point>  <type>  <options>          <dump> <pass>
UUID=$root_uuid  /              ext4    errors=remount-ro  0      1
UUID=$srv_uuid  /srv           ext4    defaults           0      2
tmpfs                                      /tmp           tmpfs   defaults           0      0
EOT
echo web > "$work/root/etc/hostname"
printf 'PRETTY_NAME="A sample guest"\nID=sample\n' > "$work/root/etc/os-release"
printf 'root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n' > "$work/root/etc/passwd"
ln -s /etc/os-release "$work/root/etc/release"
for minute in $(seq 10 59); do
  echo "Jan 31 12:$minute:01 web sshd[4711]: Failed password for root from 203.0.113.$minute port 40022 ssh2"
done > "$work/root/var/log/auth.log"
head -c 3000000 /dev/zero | tr '\0' 'x' > "$work/root/var/log/nginx/access.log"
echo '<h1>It works</h1>' > "$work/srv/www/index.html"

rm -f "$image"
truncate -s 128M "$image"
printf 'label: gpt\nsize=96MiB, type=linux, name=root\ntype=linux, name=srv\n' | sfdisk -q "$image"
mke2fs -q -F -t ext4 -L root -U "$root_uuid" -d "$work/root" -E offset=$((1 << 20)) "$image" 96m
mke2fs -q -F -t ext4 -L srv -U "$srv_uuid" -d "$work/srv" -E offset=$((97 << 20)) "$image" 30m
