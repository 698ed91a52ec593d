#!/bin/bash
# The first program of a guest with real logical volumes: a user-mode kernel whose root is the host's own, for reading.
# Does what it is told on its console, a line of shell each, and says "did N" or "failed N". $1 (by init's arguments): a
# folder of the host's that is at /mnt/host, for writing.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir /mnt/host
mount -t hostfs -o "$1" none /mnt/host
modules=/usr/lib/uml/modules/$(uname -r)/kernel/drivers/md
for name in dm-mod dm-bufio persistent-data/dm-persistent-data dm-bio-prison dm-thin-pool dm-cache dm-cache-smq dm-snapshot; do
  busybox insmod "$modules/$name.ko" || { echo "failed 0"; poweroff -f; }
done

config='devices{scan="/dev" use_devicesfile=0} global{use_lvmpolld=0 thin_check_executable="" cache_check_executable=""}
  backup{backup=0 archive=0} activation{udev_sync=0 udev_rules=0 monitoring=0}'
# lvm COMMAND ...
lvm() { command lvm "$1" --yes --config "$config" "${@:2}"; }

number=0
echo "did 0"
while read -r line; do
  number=$((number + 1))
  if (set -e; eval "$line") > /run/said 2>&1 < /dev/null; then
    echo "did $number"
  else
    cat /run/said
    echo "failed $number"
  fi
done
