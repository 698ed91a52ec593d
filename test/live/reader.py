#!/usr/bin/env python3
"""A user who looks at the tree all the time, and writes down what was seen and when (--out), for check.py.

Directories are held open, so that each look is one step from a directory that is known by its inode. Files are held open
as well, over their renaming and deletion. Ends on the line `end`.
"""
import argparse
import errno
import json
import os
import random
import select
import stat
import sys
import time

from stamps import runs
from view import state

MOST_HELD = 24
MOST_FOLDERS = 40
# The server is being replaced, or the mount is: that is not the guest's doing.
AWAY = {errno.ENOTCONN, errno.ECONNABORTED}


class Reader:
    def __init__(self, options):
        self.tree = options.tree
        self.root = os.stat(self.tree).st_ino & 0xFFFFFFFF
        self.random = random.Random(options.seed)
        self.rest = options.rest / 1000
        self.out = open(options.out, "w", buffering=1 << 16)
        self.observations = 0
        self.folders = {}  # By inode: a descriptor, and the names last seen.
        self.held = []  # Descriptors of files.

    def observe(self, kind, look, *about):
        """Writes down [kind, about..., what was seen or the error's number]; returns it as well."""
        started = time.monotonic_ns()
        try:
            seen = look()
        except OSError as error:
            seen = error.errno
        ended = time.monotonic_ns()
        self.out.write(json.dumps([kind, started, ended, *about, seen], separators=(",", ":")) + "\n")
        self.observations += 1
        if isinstance(seen, int) and seen in AWAY:
            # What the kernel still knows of that mount tells nothing of the next one.
            raise OSError(seen, "the mount is gone")
        return seen

    def forget(self):
        for fd, _ in self.folders.values():
            os.close(fd)
        for fd in self.held:
            os.close(fd)
        self.folders.clear()
        self.held.clear()

    def folder(self):
        if self.root not in self.folders:
            self.folders[self.root] = (os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY), [])
        ino = self.random.choice(list(self.folders))
        return ino, *self.folders[ino]

    def list(self):
        ino, fd, _ = self.folder()
        names = self.observe("list", lambda: [name for name in os.listdir(fd)], ino)
        if isinstance(names, int):
            if ino != self.root:
                os.close(self.folders.pop(ino)[0])
            return
        # As bytes: os.listdir of a descriptor decodes with surrogates, which fsencode undoes.
        self.folders[ino] = (fd, names)
        if len(self.folders) > MOST_FOLDERS:
            victim = self.random.choice([other for other in self.folders if other != self.root])
            os.close(self.folders.pop(victim)[0])

    def name(self):
        ino, fd, names = self.folder()
        return (ino, fd, self.random.choice(names)) if names else (ino, fd, None)

    def stat(self):
        ino, fd, name = self.name()
        if name is None:
            return self.list()
        found = self.observe("stat", lambda: state(os.stat(name, dir_fd=fd, follow_symlinks=False)), ino, name)
        if isinstance(found, int):
            return
        if stat.S_ISDIR(found[1]) and found[0] not in self.folders:
            self.enter(fd, name)
        elif stat.S_ISLNK(found[1]):
            self.observe("link", lambda: os.readlink(name, dir_fd=fd), ino, name)
        elif stat.S_ISREG(found[1]) and self.random.random() < 0.3:
            self.attributes(ino, fd, name)

    def enter(self, fd, name):
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        except OSError:
            return
        try:
            ino = os.fstat(inner).st_ino & 0xFFFFFFFF
        except OSError:
            os.close(inner)
            return
        if ino in self.folders:
            os.close(self.folders[ino][0])
        self.folders[ino] = (inner, [])

    def attributes(self, ino, fd, name):
        path = f"/proc/self/fd/{fd}/{name}"

        def look():
            # Names and values are two calls, so only what is asked for by name is one answer.
            attribute = "user." + self.random.choice("abc")
            try:
                return [attribute, os.getxattr(path, attribute, follow_symlinks=False).decode("latin-1")]
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
                return [attribute, None]

        self.observe("xattr", look, ino, name)

    def read(self):
        ino, fd, name = self.name()
        if name is None:
            return self.list()
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode):
                return
            file = os.open(name, flags, dir_fd=fd)
        except OSError:
            return
        self.read_all(file)
        if self.random.random() < 0.25 and len(self.held) < MOST_HELD:
            self.held.append(file)
        else:
            os.close(file)

    def read_held(self):
        if not self.held:
            return self.read()
        file = self.random.choice(self.held)
        self.read_all(file)
        if self.random.random() < 0.05:
            self.held.remove(file)
            os.close(file)

    def read_all(self, file):
        def look():
            status = state(os.fstat(file))
            at = time.monotonic_ns()
            if not stat.S_ISREG(status[1]):
                return [status, at, []]
            data = b""
            while part := os.pread(file, 1 << 20, len(data)):
                data += part
            return [status, at, len(data), runs(data)]

        self.observe("read", look)

    def run(self):
        actions = [self.list] * 3 + [self.stat] * 6 + [self.read] * 4 + [self.read_held] * 3
        while True:
            try:
                self.random.choice(actions)()
            except OSError as error:
                if error.errno not in AWAY and error.errno != errno.ENOENT:
                    raise
                self.forget()
                time.sleep(0.01)
            if select.select([sys.stdin], [], [], self.rest * self.random.random())[0]:
                break
        sys.stdin.readline()
        self.forget()
        self.out.close()
        print(json.dumps({"observations": self.observations}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tree", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rest", type=float, default=2, help="ms between two looks at most")
    Reader(parser.parse_args()).run()


if __name__ == "__main__":
    main()
