#!/usr/bin/env bash
# Lets the guest of make-sample.sh live: the kernel has its root file system mounted and programs write to it. Needs root,
# and a mount namespace of its own (unshare --mount), so that nobody else sees that mount and it goes when this ends,
# however it ends. Usage: sample-guest.sh IMAGE FOLDER
set -euo pipefail
image=$1
root=$2
mkdir -p "$root"
mount -o loop,offset=$((1 << 20)),sizelimit=$((96 << 20)) "$image" "$root"

log=$root/var/log/app.log
round=0

# What a web shop logs, made durable at once.
line() {
  printf '%s shop[812]: GET /orders/%d 200 %d ms\n' "$(date +%FT%T.%3NZ -u)" $((1000 + round)) $((RANDOM % 90 + 3)) >> "$log"
  sync "$log"
}

# As logrotate does.
rotate() {
  mv -f "$log.1" "$log.2" 2> /dev/null || true
  mv "$log" "$log.1"
  : > "$log"
}

# As an editor does: the new file is written beside the old one, and takes its place.
edit() {
  printf 'Notes of round %d\n' "$round" > "$root/home/ann/.notes.new"
  mv "$root/home/ann/.notes.new" "$root/home/ann/notes.txt"
}

# A mailbox: comes in, is read, goes.
mail() {
  mkdir -p "$root"/home/ann/Maildir/{new,cur}
  printf 'Subject: order %d\n' "$round" > "$root/home/ann/Maildir/new/$round"
  [ ! -e "$root/home/ann/Maildir/new/$((round - 5))" ] ||
    mv "$root/home/ann/Maildir/new/$((round - 5))" "$root/home/ann/Maildir/cur/$((round - 5)):2,S"
  rm -f "$root/home/ann/Maildir/cur/$((round - 50)):2,S"
}

login() {
  printf '%s web sshd[4711]: Failed password for root from 203.0.113.%d port 40022 ssh2\n' \
    "$(date '+%b %e %T')" $((RANDOM % 250 + 1)) >> "$root/var/log/auth.log"
}

while true; do
  round=$((round + 1))
  [ $((round % 5)) -ne 0 ] || mail
  [ $((round % 7)) -ne 0 ] || edit
  [ $((round % 11)) -ne 0 ] || login
  [ $((round % 60)) -ne 0 ] || rotate
  line
  sleep 0.5
done
