#!/usr/bin/env python3
"""Walks a directory tree and prints everything that can be observed of it, one JSON line per entry.

The first line tells statvfs(3) of the top. Then one line for each entry, depth first, names in the order of their
bytes. Names, link targets and attribute values are hexadecimal, times decimal text (nanoseconds; they do not fit
into a double). What failed is told as an errno in `errors`, and never ends the walk.

Names and paths are bytes throughout, and every directory is reached through its parent's descriptor, so neither
names that are not UTF-8 nor paths longer than PATH_MAX matter.
"""
import argparse
import ctypes
import errno
import hashlib
import json
import os
import resource
import stat
import struct
import sys

BLOCK = 4096
CHUNK = 1 << 20
ZERO = bytes(BLOCK)
ZEROS = bytes(CHUNK)
# Larger files are read by their data segments only: a sparse file of 16 GiB is one of the cases.
SEGMENTED = 64 << 20

libc = ctypes.CDLL(None, use_errno=True)
SYS_GETDENTS64 = {"x86_64": 217, "aarch64": 61}[os.uname().machine]
SYS_OPENAT2 = 437
RESOLVE_IN_ROOT = 0x10

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
DT = {1: "fifo", 2: "character", 4: "directory", 6: "block", 8: "file", 10: "link", 12: "socket"}


def entries(fd):
    """The directory's entries by getdents64(2): a list of (name, d_ino, d_type, d_off)."""
    buffer = ctypes.create_string_buffer(1 << 16)
    found = []
    while True:
        count = libc.syscall(SYS_GETDENTS64, fd, buffer, len(buffer))
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if count == 0:
            return found
        raw = buffer.raw[:count]
        at = 0
        while at < count:
            ino, off, length, kind = struct.unpack_from("<QqHB", raw, at)
            end = raw.index(b"\0", at + 19)
            found.append((raw[at + 19:end], ino, kind, off))
            at += length


def relist(fd, found):
    """Lists again from a few positions that the first listing told; what is missing or new compared with it."""
    wrong = 0
    for i in sorted({0, len(found) // 3, len(found) // 2, len(found) - 2}):
        if not 0 <= i < len(found):
            continue
        os.lseek(fd, found[i][3], os.SEEK_SET)
        again = [e[0] for e in entries(fd)]
        if again != [e[0] for e in found[i + 1:]]:
            wrong += 1
    return wrong


class OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_in_root(root, path):
    """Opens (O_PATH) what `path` leads to when `root` is the root directory, as chroot(2) would resolve it."""
    how = OpenHow(os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    fd = libc.syscall(SYS_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def segments(fd, size):
    """The data segments that lseek(2) tells: a list of (start, end)."""
    found = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        if end <= start:
            raise OSError(errno.EIO, "SEEK_HOLE stands still")
        found.append((start, end))
        at = end
    return found


def digest(fd, ranges):
    """SHA-256 over (offset, block) of every 4 KiB block in `ranges` that is not all zeros, and their number."""
    sha = hashlib.sha256()
    blocks = 0
    last = -1
    for start, end in ranges:
        at = max(start // BLOCK * BLOCK, last)
        while at < end:
            # Up to a block's end, never up to a segment's: the same block must give the same bytes.
            want = min(CHUNK, (end - at + BLOCK - 1) // BLOCK * BLOCK)
            data = os.pread(fd, want, at)
            if not data:
                break
            if data == ZEROS:
                at += len(data)
                continue
            for i in range(0, len(data), BLOCK):
                block = data[i:i + BLOCK]
                if block != ZERO[:len(block)]:
                    sha.update(struct.pack("<Q", at + i))
                    sha.update(block)
                    blocks += 1
            at += len(data)
        last = at
    return sha.hexdigest(), blocks


def odd_reads(fd, size):
    """SHA-256 over reads at positions and lengths that are not aligned, at the end and past it."""
    sha = hashlib.sha256()
    for position, length in (
        (size - 4097, 4099), (size - 7, 100), (size - 1, 1), (size, 10), (size + 5, 10),
        (size // 2 | 1, 1021), (size // 3 | 1, 5003), (4095, 2), (1023, 2049),
    ):
        data = os.pread(fd, length, max(0, position))
        sha.update(struct.pack("<Q", len(data)))
        sha.update(data)
    return sha.hexdigest()


class Walker:
    def __init__(self, top, arguments):
        self.arguments = arguments
        self.top = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        self.contain = os.fsencode(os.path.realpath(arguments.contain)) if arguments.contain else None
        self.out = sys.stdout

    def emit(self, record):
        self.out.write(json.dumps(record, separators=(",", ":")))
        self.out.write("\n")

    def statistics(self):
        try:
            v = os.fstatvfs(self.top)
            record = {"blockSize": v.f_bsize, "fragmentSize": v.f_frsize, "blocks": v.f_blocks, "free": v.f_bfree,
                      "available": v.f_bavail, "files": v.f_files, "filesFree": v.f_ffree, "nameLength": v.f_namemax}
        except OSError as error:
            record = {"error": error.errno}
        self.emit({"statfs": record})

    def attributes(self, place, errors):
        """All extended attributes: name to value, both hexadecimal; a value that cannot be read is an errno."""
        try:
            names = os.listxattr(place, follow_symlinks=False)
        except OSError as error:
            # Not an error of the entry: "no attributes" for who has no such thing at all.
            if error.errno != errno.ENOTSUP:
                errors["listxattr"] = error.errno
            return None
        names += [name for name in self.arguments.ask if name not in names]
        values = {}
        for name in names:
            key = os.fsencode(name).hex()
            if key in values:
                errors["xattrTwice"] = 1
            try:
                values[key] = os.getxattr(place, name, follow_symlinks=False).hex()
            except OSError as error:
                if name in self.arguments.ask and error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                    continue
                values[key] = error.errno
        return values

    def content(self, fd, name, status, record, errors):
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        except OSError as error:
            errors["content"] = error.errno
            return
        try:
            size = status.st_size
            sparse = status.st_blocks * 512 < size and size > BLOCK
            ranges = None
            if sparse or size > SEGMENTED:
                try:
                    ranges = segments(file, size)
                    record["segments"] = hashlib.sha256(repr(ranges).encode()).hexdigest()[:16]
                    record["segmentCount"] = len(ranges)
                    if self.arguments.segments:
                        record["segmentList"] = ranges[:200]
                except OSError as error:
                    errors["seek"] = error.errno
            record["sha"], record["dataBlocks"] = digest(
                file, ranges if ranges is not None and size > SEGMENTED else [(0, size)])
            record["odd"] = odd_reads(file, size)
        except OSError as error:
            errors["content"] = error.errno
        finally:
            os.close(file)

    def link(self, fd, name, path, record, errors):
        try:
            record["target"] = os.readlink(name, dir_fd=fd).hex()
        except OSError as error:
            errors["readlink"] = error.errno
            return
        if len(path) >= 4000:
            return
        try:
            if self.contain is None:
                found = open_in_root(self.top, path)
            else:
                found = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=fd)
        except OSError as error:
            record["leads"] = {"error": error.errno}
            return
        try:
            status = os.fstat(found)
            record["leads"] = {"ino": status.st_ino & 0xFFFFFFFF, "kind": KINDS[stat.S_IFMT(status.st_mode)]}
            if self.contain is not None:
                where = os.readlink(b"/proc/self/fd/%d" % found)
                if where != self.contain and not where.startswith(self.contain + b"/"):
                    record["leads"]["outside"] = where.decode("latin-1")
        finally:
            os.close(found)

    def entry(self, fd, name, path, dino, dtype):
        """Tells one entry; returns a descriptor of the directory that it is, or None."""
        errors = {}
        record = {"path": path.hex()}
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            record["errors"] = {"stat": error.errno}
            self.emit(record)
            return None
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        record.update(
            kind=kind, mode=stat.S_IMODE(status.st_mode), nlink=status.st_nlink, uid=status.st_uid,
            gid=status.st_gid, size=status.st_size, blocks=status.st_blocks, blksize=status.st_blksize,
            mtime=str(status.st_mtime_ns), ctime=str(status.st_ctime_ns), atime=str(status.st_atime_ns),
            ino=status.st_ino & 0xFFFFFFFF, inoHigh=status.st_ino >> 32)
        if dino is not None:
            if dino != status.st_ino:
                errors["dino"] = dino & 0xFFFFFFFF
            if dtype and DT.get(dtype) != kind:
                errors["dtype"] = dtype
        if kind in ("character", "block"):
            record["rdev"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
        values = self.attributes(b"/proc/self/fd/%d/%s" % (fd, name), errors)
        if values:
            record["xattrs"] = values
        opened = None
        if kind == "file" and not self.arguments.no_content:
            self.content(fd, name, status, record, errors)
        elif kind == "link":
            self.link(fd, name, path, record, errors)
        elif kind == "directory":
            try:
                opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError as error:
                errors["list"] = error.errno
        children = None
        if opened is not None:
            try:
                children = entries(opened)
                names = [e[0] for e in children]
                record["entries"] = len(names)
                if len(set(names)) != len(names):
                    errors["nameTwice"] = len(names) - len(set(names))
                record["dots"] = [e[1] & 0xFFFFFFFF for e in sorted(children) if e[0] in (b".", b"..")]
                if self.arguments.relist:
                    wrong = relist(opened, children)
                    if wrong:
                        errors["relist"] = wrong
            except OSError as error:
                errors["list"] = error.errno
        if errors:
            record["errors"] = errors
        self.emit(record)
        if opened is not None and not children:
            os.close(opened)
            return None
        return (opened, children) if opened is not None else None

    def walk(self):
        self.statistics()
        top = self.entry(self.top, b".", b".", None, None)
        stack = [(top[0], b"", iter(self.ordered(top[1])))] if top else []
        while stack:
            fd, prefix, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                os.close(fd)
                stack.pop()
                continue
            name, dino, dtype, _ = child
            path = prefix + name
            opened = self.entry(fd, name, path, dino, dtype)
            if opened is not None:
                stack.append((opened[0], path + b"/", iter(self.ordered(opened[1]))))

    def ordered(self, children):
        hidden = (b".", b"..")
        return sorted(e for e in children if e[0] not in hidden)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("top")
    parser.add_argument("--contain", metavar="DIR", help="links are followed as they are, and are to stay under DIR; "
                        "without it they are resolved as if TOP were the root directory")
    parser.add_argument("--relist", action="store_true", help="list directories again from positions within")
    parser.add_argument("--segments", action="store_true", help="tell the data segments of sparse files")
    parser.add_argument("--ask", action="append", default=[], metavar="NAME",
                        help="also ask for this extended attribute, which need not be listed")
    parser.add_argument("--no-content", action="store_true", help="do not read files")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    Walker(os.fsencode(arguments.top), arguments).walk()


if __name__ == "__main__":
    main()
