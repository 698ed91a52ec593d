#!/usr/bin/env python3
"""Follows .events of a guest as tail -F does, over rotations and restarts, and writes all lines to --out.

Takes `begin` and `end` on standard input, and answers each with a line of JSON; at the end it waits first, until nothing
more has come for a while.
"""
import argparse
import errno
import json
import os
import select
import sys
import time


class Follower:
    def __init__(self, path, out):
        self.path = path
        self.out = open(out, "wb", buffering=0)
        self.fd = None
        self.ino = None
        self.at = 0
        self.rotations = 0
        self.last = time.monotonic()

    def drain(self):
        while part := os.pread(self.fd, 1 << 20, self.at):
            self.at += len(part)
            self.out.write(part)
            self.last = time.monotonic()

    def drain_open(self):
        """Whether the file that is open can go on being read; one whose mount is gone is opened again."""
        try:
            self.drain()
            self.ino = os.fstat(self.fd).st_ino
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
                raise
        opened = os.open(self.path, os.O_RDONLY)
        os.close(self.fd)
        self.fd = opened
        if os.fstat(opened).st_ino != self.ino:
            self.at = 0
            self.rotations += 1
        self.drain()
        return False

    def look(self):
        try:
            if self.fd is not None and not self.drain_open():
                return
            there = os.stat(self.path)
            if self.fd is not None and os.fstat(self.fd).st_ino == there.st_ino:
                return
            opened = os.open(self.path, os.O_RDONLY)
            if self.fd is not None:
                # Rotated: what the old one got last is read first.
                self.drain()
                os.close(self.fd)
                self.rotations += 1
            self.fd, self.at = opened, 0
            self.drain()
        except OSError:
            # Not there yet, or its server is being replaced; an open file whose server is gone stays where it was.
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--quiet", type=float, default=2, help="seconds without a line, at the end")
    parser.add_argument("--all", action="store_true", help="what was there before as well")
    options = parser.parse_args()
    follower = Follower(options.file, options.out)
    sys.stdin.readline()
    if not options.all:
        # From now on.
        follower.fd = os.open(options.file, os.O_RDONLY)
        follower.at = os.fstat(follower.fd).st_size
    print(json.dumps({"from": follower.at}), flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        follower.look()
    sys.stdin.readline()
    follower.last = time.monotonic()
    while time.monotonic() - follower.last < options.quiet:
        follower.look()
        time.sleep(0.05)
    print(json.dumps({"rotations": follower.rotations}), flush=True)


if __name__ == "__main__":
    main()
