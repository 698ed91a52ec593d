#!/usr/bin/env python3
"""A guest at work: several processes that write, append, rename, link, cut and delete, and fsync all the time.

Runs until it is killed. What each process does is the same on every run; how they mix is not.
"""
import argparse
import ctypes
import os
import random
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE = 1, 2
PR_SET_PDEATHSIG, SIGKILL = 1, 9
# A block of data that begins like a block of the journal's own has to be escaped (JBD2_FLAG_ESCAPE).
JBD2_MAGIC = b"\xc0\x3b\x39\x98"


class Worker:
    def __init__(self, top, number, options):
        self.random = random.Random(number * 7919 + options.seed)
        self.options = options
        self.folder = os.path.join(top, f"worker-{number}")
        os.makedirs(self.folder)
        os.chdir(self.folder)
        self.files = []
        self.folders = ["."]
        self.orphans = []
        self.count = 0

    def name(self):
        self.count += 1
        return f"{self.random.choice(self.folders)}/f{self.count}-{'n' * self.random.randrange(60)}"

    def data(self, most=20000):
        length = self.random.randrange(1, most)
        if self.random.random() < 0.3:
            block = self.options.block
            return (JBD2_MAGIC + self.random.randbytes(block - 4)) * (length // block + 1)
        return self.random.randbytes(length)

    def sync(self, fd):
        if self.random.random() < self.options.sync:
            (os.fsync if self.random.random() < 0.7 else os.fdatasync)(fd)

    def sync_folder(self, path):
        # The fsync of a directory is always a full commit (ext4_fsync_journal).
        if self.options.fast and self.random.random() < 0.98:
            return
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        self.sync(fd)
        os.close(fd)

    def pick(self):
        return self.random.choice(self.files) if self.files else None

    def create(self):
        name = self.name()
        fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, self.data())
        self.sync(fd)
        os.close(fd)
        self.files.append(name)

    def append(self):
        name = self.pick()
        if name:
            fd = os.open(name, os.O_WRONLY | os.O_APPEND)
            for _ in range(self.random.randrange(1, 6)):
                os.write(fd, b"a line of a log %d\n" % self.count * self.random.randrange(1, 20))
                self.sync(fd)
            os.close(fd)

    def overwrite(self):
        name = self.pick()
        if name:
            fd = os.open(name, os.O_RDWR)
            os.pwrite(fd, self.data(3000), self.random.randrange(0, 200000))
            self.sync(fd)
            os.close(fd)

    def replace(self):
        name = self.pick()
        if name:
            new = name + ".new"
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(fd, self.data())
            self.sync(fd)
            os.close(fd)
            os.rename(new, name)
            self.sync_folder(name)

    def rename(self):
        name = self.pick()
        if name:
            new = self.name()
            os.rename(name, new)
            self.files.remove(name)
            self.files.append(new)
            self.sync_folder(new)

    def rotate(self):
        for i in range(4, 0, -1):
            if os.path.exists(f"log.{i}"):
                os.rename(f"log.{i}", f"log.{i + 1}")
        if os.path.exists("log"):
            os.rename("log", "log.1")
        with open("log", "wb") as log:
            log.write(b"rotated %d\n" % self.count)
            log.flush()
            self.sync(log.fileno())

    def unlink(self):
        name = self.pick()
        if name and len(self.files) > 20:
            os.unlink(name)
            self.files.remove(name)
            self.sync_folder(name)

    def orphan(self):
        """Deleted while it is open."""
        name = self.name()
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        os.write(fd, self.data(100000))
        self.sync(fd)
        os.unlink(name)
        self.orphans.append(fd)
        if len(self.orphans) > 10:
            os.close(self.orphans.pop(0))

    def truncate(self):
        name = self.pick()
        if name:
            os.truncate(name, self.random.randrange(0, 60000))

    def large(self):
        """Large enough that cutting it short takes more than one transaction, in pieces so that it has a deep map."""
        name = self.name()
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        block = self.options.block
        for i in range(400):
            os.pwrite(fd, b"%08d" % i * 64, i * 3 * block)
        self.sync(fd)
        os.ftruncate(fd, self.random.randrange(1000) * block)
        os.close(fd)
        self.files.append(name)

    def reserve(self):
        name = self.pick()
        if name and self.options.extents:
            fd = os.open(name, os.O_RDWR)
            block = self.options.block
            libc.fallocate(fd, self.random.choice((0, KEEP_SIZE)), ctypes.c_long(self.random.randrange(20) * block),
                           ctypes.c_long(30 * block))
            libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(self.random.randrange(30000)), ctypes.c_long(9000))
            self.sync(fd)
            os.close(fd)

    def folder_made(self):
        name = f"{self.random.choice(self.folders)}/d{self.count}"
        self.count += 1
        if name.count("/") < 12:
            os.mkdir(name)
            self.folders.append(name)
            self.sync_folder(name)

    def folder_filled(self):
        """Grows a directory over several blocks, then deletes it: its blocks come back as data (and are revoked)."""
        name = f"filled{self.count}"
        self.count += 1
        os.mkdir(name)
        for i in range(120):
            os.close(os.open(f"{name}/{'x' * 40}{i}", os.O_CREAT | os.O_WRONLY))
        self.sync_folder(f"{name}/x")
        if self.random.random() < 0.7:
            for i in range(120):
                os.unlink(f"{name}/{'x' * 40}{i}")
            os.rmdir(name)
            self.create()

    def link(self):
        name = self.pick()
        if name:
            new = self.name()
            os.link(name, new)
            self.files.append(new)
            self.sync_folder(new)

    def symlink(self):
        name = self.name()
        os.symlink("t" * self.random.choice((5, 59, 60, 300)), name)
        self.sync_folder(name)

    def attribute(self):
        name = self.pick()
        if name:
            for i in range(3):
                os.setxattr(name, f"user.a{i}", self.random.randbytes(self.random.choice((5, 40, 300))))
            fd = os.open(name, os.O_RDONLY)
            self.sync(fd)
            os.close(fd)

    def inode(self):
        name = self.pick()
        if name:
            os.chmod(name, self.random.choice((0o600, 0o644, 0o755, 0o4711)))
            os.chown(name, self.random.randrange(100000), self.random.randrange(100000))
            os.utime(name, ns=(self.random.randrange(1 << 60), self.random.randrange(1 << 60)))

    def run(self):
        steps = ([self.create] * 5 + [self.append] * 6 + [self.overwrite] * 3 + [self.replace] * 3 + [self.rename] * 2
                 + [self.unlink] * 3 + [self.orphan, self.truncate, self.truncate, self.large, self.reserve, self.rotate]
                 + [self.folder_made, self.folder_filled, self.link, self.symlink, self.attribute, self.inode])
        if self.options.fast:
            steps = [self.create, self.append, self.append, self.append, self.overwrite, self.unlink, self.link,
                     self.truncate, self.folder_made, self.reserve]
        end = time.monotonic() + self.options.seconds
        while time.monotonic() < end:
            try:
                self.random.choice(steps)()
            except OSError as error:
                if error.errno != 28:
                    raise
                # Full: make room.
                while len(self.files) > 20:
                    os.unlink(self.files.pop())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("top")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--block", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sync", type=float, default=0.6, help="how often a change is fsynced, 0 to 1")
    parser.add_argument("--seconds", type=float, default=60, help="ends by itself after this time")
    parser.add_argument("--fast", action="store_true", help="only what a fast commit can hold")
    parser.add_argument("--extents", action="store_true", help="the file system has fallocate")
    options = parser.parse_args()
    for number in range(options.workers):
        if os.fork() == 0:
            libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
            Worker(os.path.abspath(options.top), number, options).run()
            os._exit(0)
    print("working", flush=True)
    failed = 0
    for _ in range(options.workers):
        _, status = os.wait()
        failed |= status
    sys.exit(1 if failed else 0)


main()
