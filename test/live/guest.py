#!/usr/bin/env python3
"""A guest at work, and whether the tree follows it.

Does random operations in a file system that the kernel has mounted, one system call after the other, and writes down
what each changed (--history). Every now and then it calls sync or fsync, stands still, and waits until the tree shows
what the kernel shows. What it does is the same for the same seed.

Takes commands on standard input, and answers each with a line of JSON:
  work SECONDS   operations, with the tree compared at each sync
  blind COUNT    operations, while nobody serves a tree
  end
"""
import argparse
import ctypes
import json
import os
import random
import stat
import sys
import time
from pathlib import Path

from stamps import UNIT, stamped
from view import BLOCKS, SIZE, attributes, content, look, state, walk

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
libc.syncfs.argtypes = [ctypes.c_int]
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

MOST_FILES, MOST_FOLDERS, MOST_LINKS = 110, 24, 25
MOST_BYTES = 64 << 10
# A comparison that takes longer than this is told of, ns.
SLOW = 250_000_000
DEEPEST = 6


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def text(name):
    return name.decode("latin-1")


class Node:
    def __init__(self, ino, kind, file_id=0):
        self.ino = ino
        self.kind = kind
        self.file_id = file_id
        self.size = 0
        self.paths = set()


class Guest:
    def __init__(self, options):
        self.options = options
        self.inside = os.fsencode(options.inside)
        self.tree = os.fsencode(options.tree)
        self.random = random.Random(options.seed)
        self.history = open(options.history, "w", buffering=1 << 16)
        self.top = os.open(self.inside, os.O_RDONLY)
        self.index = 0
        self.count = 0
        self.nodes = {b"": Node(os.fstat(self.top).st_ino, "d")}
        self.known = {}  # Attributes as last written down, by inode.
        self.touched = {b""}  # Paths since the last sync.
        self.dirty = set()  # Inodes whose bytes may not have been written back.
        self.zeroed = set()  # Inodes with zeros that were not there at the last sync.
        self.held = set()  # When and where zeros at a file's end were not shown.
        self.open_orphans = []
        self.syncs = self.checked = 0
        self.slow = []
        self.times = []
        # When the tree was last seen to differ, ns after the sync; 0: never.
        self.behind = []
        self.failures = []
        self.since_full = 0
        self.write_down("start", time.monotonic_ns(), [b""], [])

    # What happened

    def write_down(self, operation, started, paths, data, more=()):
        """One system call: looks at the paths that it may have changed."""
        ended = time.monotonic_ns()
        names, inodes = [], []
        seen = set()
        for path in {p for path in paths for p in (path, os.path.dirname(path))} | {b""}:
            status = look(os.path.join(self.inside, path))
            self.touched.add(path)
            node = self.nodes.get(path)
            if node is not None:
                for other in node.paths:
                    self.touched.add(other)
            if path != b"":
                parent = self.nodes.get(os.path.dirname(path))
                if parent is not None:
                    names.append([parent.ino, text(os.path.basename(path)), status[0] if status else 0])
            if status and status[0] not in seen:
                seen.add(status[0])
                if self.known.get(status[0]) != status:
                    self.known[status[0]] = status
                    inodes.append([status[0], status[1:]])
        for ino, status in more:
            if ino not in seen:
                self.known[ino] = status
                inodes.append([ino, status and status[1:]])
        line = {"i": self.index, "op": operation, "t": [started, ended], "n": names, "a": inodes}
        if data:
            line["d"] = data
        self.history.write(json.dumps(line, separators=(",", ":")) + "\n")

    def step(self, operation, action, paths, data=(), more=None):
        self.index += 1
        self.count += 1
        started = time.monotonic_ns()
        result = action()
        self.write_down(operation, started, paths, [list(part) for part in data], more() if more else ())
        return result

    def at(self, path):
        return os.path.join(self.inside, path)

    # Choosing

    def some(self, kind, ok=lambda path, node: True):
        found = [path for path, node in self.nodes.items() if node.kind == kind and ok(path, node)]
        return self.random.choice(found) if found else None

    def file(self):
        return self.some("f")

    def number(self, kind):
        return sum(1 for node in self.nodes.values() if node.kind == kind)

    def fresh(self, folder=None):
        if folder is None:
            folder = self.some("d", lambda path, _: path.count(b"/") < DEEPEST)
        chance = self.random.random()
        name = b"%d" % self.index
        if chance < 0.05:
            name += "\u00fc\U0001f600".encode() if self.options.ntfs else b"\xff\xfe \n\x80"
        elif chance < 0.1:
            # ntfs-3g leaves a file behind that another with a very long name has replaced.
            name += b"n" * self.random.randrange(100, 200 if self.options.ntfs else 240)
        else:
            name += b"-" + b"name" * self.random.randrange(6)
        return os.path.join(folder, name)

    def amount(self, most):
        """Bytes: mostly few, a multiple of UNIT."""
        return UNIT * (1 + int((most // UNIT - 1) * self.random.random() ** 3))

    # The model

    def bind(self, path, node):
        self.nodes[path] = node
        node.paths.add(path)

    def unbind(self, path):
        node = self.nodes.pop(path)
        node.paths.discard(path)
        return node

    def gone(self, node):
        """What to write down of an inode that has lost a name."""
        if node.paths:
            other = self.at(next(iter(node.paths)))
            return lambda: [(node.ino, look(other))]
        return lambda: [(node.ino, None)]

    def new_file(self, path, operation="create"):
        fd = self.step_open(operation, path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        return fd

    def step_open(self, operation, path, flags):
        file_id = self.index + 1

        def action():
            fd = os.open(self.at(path), flags, 0o644)
            node = Node(os.fstat(fd).st_ino, "f", file_id)
            self.bind(path, node)
            self.born.append(["f", node.ino, file_id])
            return fd

        self.born = []
        self.index += 1
        self.count += 1
        started = time.monotonic_ns()
        fd = action()
        self.write_down(operation, started, [path], self.born)
        return fd

    def write(self, fd, node, offset, length, operation, paths=None):
        # FUSE passes on what begins within a page up to the page's end, and then the rest.
        if self.options.ntfs and offset % 4096 + length > 4096:
            first = 4096 - offset % 4096
            self.write(fd, node, offset, first, operation, paths)
            return self.write(fd, node, offset + first, length - first, operation, paths)
        end = offset + length
        self.dirty.add(node.ino)
        payload = stamped(node.file_id, offset, length, self.index + 1)
        size, node.size = node.size, max(node.size, end)
        self.step(
            operation,
            lambda: os.pwrite(fd, payload, offset),
            paths if paths is not None else sorted(node.paths)[:1],
            [["w", node.file_id, offset, length, size]],
            None if node.paths else lambda: [(node.ino, state(os.fstat(fd)))],
        )

    # Operations

    def create(self):
        if self.number("f") >= MOST_FILES:
            return self.unlink()
        path = self.fresh()
        fd = self.new_file(path)
        node = self.nodes[path]
        for _ in range(self.random.randrange(3)):
            self.write(fd, node, node.size, self.amount(16 << 10), "write")
        self.maybe_fsync(fd, path)
        os.close(fd)

    def append(self):
        path = self.file()
        if path is None or self.nodes[path].size > MOST_BYTES:
            return self.create()
        fd = os.open(self.at(path), os.O_RDWR)
        node = self.nodes[path]
        for _ in range(self.random.randrange(1, 4)):
            self.write(fd, node, node.size, self.amount(4 << 10), "append")
            self.maybe_fsync(fd, path)
        os.close(fd)

    def overwrite(self):
        path = self.some("f", lambda _, node: node.size > 0)
        if path is None:
            return self.create()
        fd = os.open(self.at(path), os.O_RDWR)
        node = self.nodes[path]
        offset = self.random.randrange(node.size // UNIT) * UNIT
        self.write(fd, node, offset, min(self.amount(8 << 10), max(MOST_BYTES - offset, 0) + UNIT), "overwrite")
        self.maybe_fsync(fd, path)
        os.close(fd)

    def cut(self):
        path = self.some("f", lambda _, node: node.size > 0)
        if path is None:
            return self.create()
        node = self.nodes[path]
        size = self.random.choice([0, self.random.randrange(node.size // UNIT) * UNIT])
        node.size = size
        self.dirty.add(node.ino)
        self.step("truncate", lambda: os.truncate(self.at(path), size), [path], [["t", node.file_id, size]])

    def extend(self):
        path = self.some("f", lambda _, node: node.size < MOST_BYTES)
        if path is None:
            return self.cut()
        node = self.nodes[path]
        size = node.size + self.amount(16 << 10)
        node.size = size
        self.dirty.add(node.ino)
        self.zeroed.add(node.ino)
        self.step("extend", lambda: os.truncate(self.at(path), size), [path], [["t", node.file_id, size]])

    def with_range(self, operation, mode, extends):
        path = self.some("f", lambda _, node: node.size > 0)
        if path is None or not self.options.extents:
            return self.overwrite()
        node = self.nodes[path]
        offset = self.random.randrange(node.size // UNIT) * UNIT
        length = self.amount(20 << 10)
        if extends:
            offset, node.size = node.size, node.size + length
        self.dirty.add(node.ino)
        self.zeroed.add(node.ino)
        fd = os.open(self.at(path), os.O_RDWR)
        self.step(
            operation,
            lambda: fallocate(fd, mode, offset, length),
            [path],
            [["e", node.file_id, node.size] if extends else ["z", node.file_id, offset, length]],
        )
        os.close(fd)

    def punch(self):
        self.with_range("punch", PUNCH_HOLE | KEEP_SIZE, False)

    def zero(self):
        self.with_range("zero", ZERO_RANGE | KEEP_SIZE, False)

    def reserve(self):
        """Unwritten blocks, and later their bytes."""
        self.with_range("fallocate", 0, True)

    def rename(self):
        path = self.some("f") if self.random.random() < 0.8 else self.some("l")
        if path is None:
            return self.create()
        same = self.random.random() < 0.5
        self.move(path, self.fresh(os.path.dirname(path) if same else None))

    def replace(self):
        path, over = self.file(), self.file()
        if path is None or self.nodes[path] is self.nodes[over]:
            return self.create()
        self.move(path, over)

    def move(self, path, to):
        replaced = self.unbind(to) if to in self.nodes else None
        node = self.nodes[path]
        below = [other for other in self.nodes if other.startswith(path + b"/")]

        def action():
            os.rename(self.at(path), self.at(to))
            for old in [path, *below]:
                moved = self.unbind(old)
                self.bind(to + old[len(path) :], moved)

        more = self.gone(replaced) if replaced else None
        if replaced and not replaced.paths:
            self.dirty.discard(replaced.ino)
        for other in below:
            self.touched.add(other)
            self.touched.add(to + other[len(path) :])
        self.step("rename", action, [path, to], (), more)
        del node

    def move_folder(self):
        path = self.some("d", lambda path, _: path != b"")
        if path is None:
            return self.mkdir()
        targets = [
            other
            for other, node in self.nodes.items()
            if node.kind == "d" and not (other + b"/").startswith(path + b"/") and other.count(b"/") < DEEPEST - 2
        ]
        self.move(path, self.fresh(self.random.choice(targets)))

    def link(self):
        path = self.some("f", lambda _, node: len(node.paths) < 4)
        if path is None or self.number("f") >= MOST_FILES:
            return self.unlink()
        to = self.fresh()
        node = self.nodes[path]

        def action():
            os.link(self.at(path), self.at(to))
            self.bind(to, node)

        self.step("link", action, [path, to])

    def unlink(self):
        kind = "l" if self.number("l") > MOST_LINKS or self.random.random() < 0.2 else "f"
        path = self.some(kind)
        if path is None:
            return self.create()
        node = self.unbind(path)
        if not node.paths:
            self.dirty.discard(node.ino)
        self.step("unlink", lambda: os.unlink(self.at(path)), [path, *node.paths], (), self.gone(node))

    def mkdir(self):
        if self.number("d") >= MOST_FOLDERS:
            return self.rmdir()
        path = self.fresh()

        def action():
            os.mkdir(self.at(path))
            self.bind(path, Node(os.lstat(self.at(path)).st_ino, "d"))

        self.step("mkdir", action, [path])

    def rmdir(self):
        path = self.some("d", lambda path, _: path and not any(p.startswith(path + b"/") for p in self.nodes))
        if path is None:
            path = self.some("d", lambda path, _: path != b"")
            if path is None:
                return self.create()
            inner = sorted((p for p in self.nodes if p.startswith(path + b"/")), key=len, reverse=True)
            if len(inner) > 12:
                return self.unlink()
            for other in inner:
                if self.nodes[other].kind == "d":
                    self.remove_folder(other)
                else:
                    node = self.unbind(other)
                    if not node.paths:
                        self.dirty.discard(node.ino)
                    self.step(
                        "unlink", lambda: os.unlink(self.at(other)), [other, *node.paths], (), self.gone(node)
                    )
        self.remove_folder(path)

    def remove_folder(self, path):
        node = self.unbind(path)
        self.step("rmdir", lambda: os.rmdir(self.at(path)), [path], (), self.gone(node))

    def symlink(self):
        if self.number("l") >= MOST_LINKS:
            return self.unlink()
        path = self.fresh()
        # Relative and downward, so that the tree shows the text as it is; a long one needs a block of its own.
        target = b"to-%d" % self.index + b"/deeper" * self.random.choice([0, 1, 30])

        def action():
            os.symlink(target, self.at(path))
            self.bind(path, Node(os.lstat(self.at(path)).st_ino, "l"))

        self.index_target = target
        self.index += 1
        self.count += 1
        started = time.monotonic_ns()
        action()
        self.write_down("symlink", started, [path], [["l", self.nodes[path].ino, text(target)]])

    def any_path(self):
        return self.random.choice(list(self.nodes)) or self.file() or b""

    def chmod(self):
        path = self.any_path()
        if path == b"" or self.nodes[path].kind == "l":
            return self.chown()
        mode = self.random.choice([0o600, 0o644, 0o755, 0o640, 0o711, 0o1777])
        self.step("chmod", lambda: os.chmod(self.at(path), mode), [path])

    def chown(self):
        path = self.any_path()
        owner = self.random.randrange(70000), self.random.randrange(70000)
        self.step("chown", lambda: os.lchown(self.at(path), *owner), [path])

    def utimes(self):
        path = self.any_path()
        times = self.random.randrange(2**33 * 10**9), self.random.randrange(2**33 * 10**9)
        self.step("utimes", lambda: os.utime(self.at(path), ns=times, follow_symlinks=False), [path])

    def set_attribute(self):
        path = self.any_path()
        if self.nodes[path].kind not in "fd":
            return self.chown()
        name = "user.%s" % self.random.choice("abc")
        value = b"v%d-" % self.index * self.random.choice([1, 1, 3, 25])
        ino = self.nodes[path].ino
        self.step(
            "setxattr", lambda: os.setxattr(self.at(path), name, value), [path], [["x", ino, name, text(value)]]
        )

    def remove_attribute(self):
        path = self.any_path()
        if self.nodes[path].kind not in "fd":
            return self.set_attribute()
        names = [name for name in os.listxattr(self.at(path)) if name.startswith("user.")]
        if not names:
            return self.set_attribute()
        name = self.random.choice(names)
        ino = self.nodes[path].ino
        self.step("removexattr", lambda: os.removexattr(self.at(path), name), [path], [["x", ino, name, None]])

    def rotate(self):
        """As logrotate does: the log gets another name, and a new one begins."""
        if b"log" in self.nodes:
            for n in range(3, 0, -1):
                node = self.nodes.get(b"log.%d" % n)
                # Two names of one file: rename(2) leaves both.
                if node is not None and node is not self.nodes.get(b"log.%d" % (n + 1)):
                    self.move(b"log.%d" % n, b"log.%d" % (n + 1))
            if self.nodes[b"log"] is self.nodes.get(b"log.1"):
                return self.unlink()
            self.move(b"log", b"log.1")
        fd = self.new_file(b"log")
        self.write(fd, self.nodes[b"log"], 0, self.amount(2 << 10), "write")
        self.maybe_fsync(fd, b"log")
        os.close(fd)

    def copy_and_truncate(self):
        path = self.file()
        if path is None or self.number("f") >= MOST_FILES:
            return self.unlink()
        node = self.nodes[path]
        to = self.fresh()
        fd = self.new_file(to)
        if node.size:
            self.write(fd, self.nodes[to], 0, node.size, "write")
        os.close(fd)
        node.size = 0
        self.dirty.add(node.ino)
        self.step("truncate", lambda: os.truncate(self.at(path), 0), [path], [["t", node.file_id, 0]])

    def orphan(self):
        """Deleted while it is open, and written to further on."""
        if len(self.open_orphans) > 5:
            return self.close_orphan()
        path = self.some("f", lambda _, node: len(node.paths) == 1)
        if path is None:
            return self.create()
        fd = os.open(self.at(path), os.O_RDWR)
        node = self.unbind(path)
        self.dirty.discard(node.ino)
        self.open_orphans.append((fd, node))
        self.step(
            "unlink", lambda: os.unlink(self.at(path)), [path], (), lambda: [(node.ino, state(os.fstat(fd)))]
        )
        if self.random.random() < 0.5:
            self.write(fd, node, node.size, self.amount(4 << 10), "append", [])

    def close_orphan(self):
        fd, node = self.open_orphans.pop(0)
        self.step("close", lambda: os.close(fd), [], (), lambda: [(node.ino, None)])

    def special(self):
        if self.number("p") > 6:
            path = self.some("p")
            node = self.unbind(path)
            return self.step("unlink", lambda: os.unlink(self.at(path)), [path], (), self.gone(node))
        path = self.fresh()

        def action():
            if self.random.random() < 0.5:
                os.mkfifo(self.at(path))
            else:
                os.mknod(self.at(path), stat.S_IFCHR | 0o600, os.makedev(8, self.random.randrange(300)))
            self.bind(path, Node(os.lstat(self.at(path)).st_ino, "p"))

        self.step("mknod", action, [path])

    WEIGHTS = {
        create: 12, append: 16, overwrite: 9, cut: 4, extend: 4, punch: 3, zero: 2, reserve: 4, rename: 8,
        replace: 4, move_folder: 2, link: 4, unlink: 8, mkdir: 4, rmdir: 2, symlink: 4, chmod: 3, chown: 3,
        utimes: 3, set_attribute: 4, remove_attribute: 2, rotate: 3, copy_and_truncate: 2, orphan: 3,
        close_orphan: 1, special: 1,
    }  # fmt: skip

    def operate(self):
        allowed = self.WEIGHTS if not self.options.whole else {
            of: weight for of, weight in self.WEIGHTS.items() if of not in (Guest.cut, Guest.extend)
        }
        if self.options.ntfs:
            # ntfs-3g would give what is deleted while it is open another name until it is closed.
            allowed = {of: weight for of, weight in allowed.items() if of not in (Guest.orphan, Guest.close_orphan)}
        operations, weights = zip(*allowed.items())
        (operation,) = self.random.choices(operations, weights)
        if operation is Guest.close_orphan and not self.open_orphans:
            operation = Guest.orphan
        operation(self)

    # Syncs

    def transactions(self):
        """How many transactions the journal has committed; None: it does not tell."""
        try:
            return int(Path(self.options.jbd2).read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def fast_commits(self):
        """How many fast commits there have been; None: it does not tell."""
        try:
            return int(Path(self.options.fast_commits).read_text().split()[2])
        except (OSError, ValueError, IndexError):
            return None

    def commits(self):
        return self.transactions(), self.fast_commits()

    def maybe_fsync(self, fd, path):
        if self.random.random() >= self.options.fsync:
            return
        before = self.commits()
        started = time.monotonic_ns()
        if self.random.random() < 0.85:
            os.fsync(fd)
            self.synced("fsync", path, before, started)
        else:
            # Times need not be on the disk after it; but it may have committed, and all else with it.
            os.fdatasync(fd)
            self.write_commits("fdatasync", before, started)

    def write_commits(self, kind, before, started):
        after = self.commits()
        line = {"s": self.index, "kind": kind, "t": [started, time.monotonic_ns()]}
        line["jbd2"], line["fast"] = ([was, now] for was, now in zip(before, after))
        if after != before:
            self.history.write(json.dumps(line, separators=(",", ":")) + "\n")

    def sync(self):
        before = self.commits()
        started = time.monotonic_ns()
        if libc.syncfs(self.top) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
        self.synced("sync", None, before, started)

    def synced(self, kind, path, before, started):
        ended = time.monotonic_ns()
        self.syncs += 1
        line = {"s": self.index, "kind": kind, "t": [started, ended]}
        line["jbd2"], line["fast"] = ([was, now] for was, now in zip(before, self.commits()))
        if kind == "sync":
            # What was written back has blocks now.
            self.dirty.clear()
            self.zeroed.clear()
            changed = []
            for node in {self.nodes[p] for p in self.touched if p in self.nodes}:
                status = look(self.at(next(iter(node.paths)) if node.paths else b""))
                if status and self.known.get(status[0]) != status:
                    self.known[status[0]] = status
                    changed.append([status[0], status[1:]])
            line["a"] = changed
        else:
            self.dirty.discard(self.nodes[path].ino)
        if not self.blind and (kind == "sync" or self.options.compare_fsync):
            line["equal"] = self.compare(kind, path, ended)
        self.history.write(json.dumps(line, separators=(",", ":")) + "\n")
        if kind == "sync":
            self.touched = {b""}

    def compare(self, kind, path, since):
        """Waits until the tree shows what the kernel shows; returns when it did, or None."""
        self.checked += 1
        self.since_full += 1
        expected = walk(self.inside)
        everything = kind == "sync" and self.since_full >= 25
        if everything:
            self.since_full = 0
        # Whether nothing but what the fsync was for need be there.
        partly = path is not None and self.options.only_synced
        if partly:
            expected = {at: status for at, status in expected.items() if at == path}
        # Zeros at the end of a file are shown when all has been written back.
        loose = self.dirty | self.zeroed
        touched = self.touched if path is None else {path}
        deep = expected if everything else [p for p in touched if p in expected]
        contents = {p: content(self.at(p)) for p in deep if stat.S_ISREG(expected[p][1]) and expected[p][0] not in loose}
        extended = {p: attributes(self.at(p)) for p in deep}
        limit = since + self.options.limit * 1_000_000
        last = []
        behind = 0
        while True:
            # What is being looked at was so when the look began.
            differences = self.differences(expected, contents, extended, loose, touched, partly)
            now = time.monotonic_ns()
            if not differences:
                self.times.append(now - since)
                self.behind.append(behind)
                if behind > SLOW and len(self.slow) < 10:
                    self.slow.append(f"{behind / 1e6:.0f} ms after {kind} at {self.index}: {last[:2]}"[:500])
                return now
            last = differences
            behind = now - since
            if now > limit:
                self.failures.append(f"after {kind} at operation {self.index}, not equal in {self.options.limit} ms:")
                self.failures += differences[:10]
                self.failures.append(self.blame(expected, contents, extended, loose, touched, partly))
                self.times.append(now - since)
                self.behind.append(behind)
                return None
            time.sleep(0.0005)

    def differences(self, expected, contents, extended, loose, touched, partly):
        try:
            # First what is likely to be late.
            for path in touched:
                want = self.loosened(expected.get(path), loose)
                got = look(os.path.join(self.tree, path))
                if got is not None and path in expected and stat.S_ISLNK(got[1]):
                    got += (os.readlink(os.path.join(self.tree, path)),)
                got = self.loosened(got, loose)
                if (path in expected or not partly) and not self.same(path, want, got):
                    return [f"{path!r}: kernel {want}, tree {got}"]
            if not partly:
                found = walk(self.tree)
                out = []
                for path in expected.keys() | found.keys():
                    want, got = (self.loosened(of.get(path), loose) for of in (expected, found))
                    if not self.same(path, want, got):
                        out.append(f"{path!r}: kernel {want}, tree {got}")
                if out:
                    return out
            for path, want in contents.items():
                got = content(os.path.join(self.tree, path))
                if want != got and not (got is not None and want.startswith(got) and not any(want[len(got) :])):
                    at = next((n for n, (a, b) in enumerate(zip(want, got or b"")) if a != b), None)
                    return [f"{path!r}: bytes differ, first at {at} ({len(want)}, {got and len(got)} bytes)"]
            for path, want in extended.items():
                got = attributes(os.path.join(self.tree, path))
                if want != got:
                    return [f"{path!r}: attributes: kernel {want}, tree {got}"]
        except OSError as error:
            return [f"{error}"]
        return []

    def same(self, path, want, got):
        """Whether two views are the same, but for zeros at a file's end that are held back."""
        if want == got:
            return True
        if want is None or got is None or not stat.S_ISREG(want[1]) or len(want) != len(got):
            return False
        if want[:SIZE] + want[SIZE + 1 :] != got[:SIZE] + got[SIZE + 1 :] or got[SIZE] >= want[SIZE]:
            return False
        if any(content(self.at(path))[got[SIZE] :]):
            return False
        self.held.add((self.index, path))
        return True

    def blame(self, *compared):
        """Who is wrong: what the kernel remembers of the tree, or the tree."""
        Path("/proc/sys/vm/drop_caches").write_text("3")
        left = self.differences(*compared)
        if self.options.hold:
            print(f"{left}\n{self.failures}\nheld: pid {os.getpid()}", file=sys.stderr, flush=True)
            time.sleep(1 << 30)
        return "without the kernel's caches: " + (left[0] if left else "equal")

    @staticmethod
    def loosened(status, loose):
        """Without the size of what has not been written back: that is not on the disk yet."""
        if status is None or status[0] not in loose:
            return status
        return status[:SIZE] + status[SIZE + 1 : BLOCKS] + status[BLOCKS + 1 :]

    # Commands

    blind = False

    def work(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.failures:
            for _ in range(self.random.randrange(1, self.options.between)):
                self.operate()
                if self.options.pause:
                    time.sleep(self.random.random() * self.options.pause / 1000)
            self.sync()
        self.history.flush()

    def work_blind(self, count):
        self.blind = True
        try:
            until = self.count + count
            while self.count < until:
                self.operate()
                if self.random.random() < 0.05:
                    self.sync()
        finally:
            self.blind = False
        self.history.flush()

    def report(self):
        times, behind = sorted(self.times), sorted(self.behind)
        of = lambda part: round(times[min(len(times) - 1, int(len(times) * part))] / 1e6, 1) if times else None
        return {
            "operations": self.count,
            "syncs": self.syncs,
            "compared": self.checked,
            "median": of(0.5),
            "p99": of(0.99),
            "max": of(1),
            "slowly": sum(1 for t in times if t > SLOW),
            "late": sum(1 for t in behind if t > SLOW),
            "latest": round(behind[-1] / 1e6, 1) if behind else None,
            "slow": self.slow,
            "held": len(self.held),
            "failures": self.failures,
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inside", required=True, help="where the kernel has the file system")
    parser.add_argument("--tree", required=True, help="where slashcloud shows it")
    parser.add_argument("--history", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jbd2", default="/dev/null", help="/proc/fs/jbd2/DEVICE/info")
    parser.add_argument("--fast-commits", default="/dev/null", help="/proc/fs/ext4/DEVICE/fc_info")
    parser.add_argument("--limit", type=int, default=5000, help="ms until the tree must be equal")
    parser.add_argument("--between", type=int, default=60, help="operations between two syncs at most")
    parser.add_argument("--fsync", type=float, default=0.1, help="how often a write is followed by an fsync")
    parser.add_argument("--compare-fsync", action="store_true", help="compare at each fsync too")
    parser.add_argument("--only-synced", action="store_true", help="after an fsync, only the file itself")
    parser.add_argument("--extents", action="store_true", help="files can have holes punched and blocks reserved")
    parser.add_argument("--whole", action="store_true", help="files are never cut short or made longer by truncate")
    parser.add_argument("--ntfs", action="store_true", help="what ntfs-3g can do")
    parser.add_argument("--pause", type=float, default=0, help="ms between operations at most")
    parser.add_argument("--hold", action="store_true", help="stand still for ever at the first difference")
    guest = Guest(parser.parse_args())
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "work":
            guest.work(float(arguments[0]))
        elif command == "blind":
            guest.work_blind(int(arguments[0]))
        elif command == "end":
            break
        print(json.dumps(guest.report()), flush=True)
    guest.history.close()
    print(json.dumps(guest.report()), flush=True)


if __name__ == "__main__":
    main()
