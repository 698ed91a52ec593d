#!/bin/sh
# Takes other tests' mounts out of a mount namespace of one's own (unshare --mount --propagation private), and runs a program
# in it. They would stay mounted there after they have been unmounted here: their loop devices stay in use, their drivers run
# on, and the same image cannot be mounted in another way. Usage: own-mounts.sh KEPT PROGRAM [ARGUMENT...]; KEPT is a mount
# point that stays.
set -eu
kept=$1
shift
# The fifth field is the mount point (proc_pid_mountinfo(5)); those within others come after them.
awk -v kept="$kept" '$5 ~ "/slashcloud-" && $5 != kept { print $5 }' /proc/self/mountinfo | tac |
  while read -r place; do umount -l "$(printf %b "$place")" || true; done
exec "$@"
