#!/usr/bin/env python3
"""Fills a mounted file system with everything that a guest might keep in one: the same on every run.

Each section makes one kind of thing in a directory of its own name. What a file system cannot hold is left out by
naming the section in --without: an error ends the program, so that no section is lost unnoticed.
"""
import argparse
import ctypes
import fcntl
import os
import random
import socket
import stat
import struct

libc = ctypes.CDLL(None, use_errno=True)

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
FS_IOC_FSSETXATTR, FS_IOC_FSGETXATTR = 0x401C5820, 0x801C581F
FS_SYNC_FL, FS_IMMUTABLE_FL, FS_APPEND_FL, FS_NODUMP_FL, FS_NOATIME_FL = 0x8, 0x10, 0x20, 0x40, 0x80

# linux/fscrypt.h
FS_IOC_SET_ENCRYPTION_POLICY = 0x800C6613
FS_IOC_ADD_ENCRYPTION_KEY = 0xC0506617


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fallocate({mode:#x}, {offset}, {length}): {os.strerror(number)}")


def pattern(seed, length):
    """Bytes that are the same on every run."""
    return random.Random(seed).randbytes(length)


def put(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


class Population:
    def __init__(self, top, options):
        self.top = os.path.abspath(os.fsencode(top))
        self.block = options.block
        self.options = options

    def run(self, names):
        for name in names:
            directory = os.path.join(self.top, name.encode())
            os.mkdir(directory)
            os.chdir(directory)
            getattr(self, name)()
        os.chdir("/")

    # -- names and directories

    def names(self):
        every = bytes(b for b in range(1, 256) if b != 0x2F)
        given = [
            b"a", b"n" * 255, b"caf\xe9 latin-1", "café ünïcode \U0001F600".encode(), b"new\nline", b"\n", b"-rf",
            b"--help", b" leading", b"trailing ", b"...", b".hidden", b"back\\slash", b"*?[x]", b"$(id)", b"`id`",
            b"tab\there", b"\x01\x02\x1b[31m", b"\xff\xfe\xfd", b"\xc3", b"CON", b"a:b", b"dot.", b"\x7f" * 200,
            "\u0301combining".encode(), "e\u0301".encode(), "\u00e9".encode(), "日本語".encode() * 28,
            every[:127], every[127:],
        ]
        for i, name in enumerate(given):
            put(name, b"%d" % i)
            os.mkdir(b"d" + name[:254])
        for length in range(1, 256):
            put((b"%d-" % length + b"L" * 255)[:length])

    def deep(self):
        """Sixty levels and more, past PATH_MAX; a path of 300 characters on the way."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        for level in range(80):
            name = (b"level-%02d-" % level) + b"x" * (140 if level >= 50 else 11)
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
            if level % 7 == 3:
                file = os.open(b"file", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
                os.write(file, b"at level %d\n" % level)
                os.close(file)
        os.symlink(b"file", b"link", dir_fd=fd)
        os.close(fd)
        os.makedirs(b"/".join(b"three-hundred-%02d" % i for i in range(18)))

    def wide(self):
        """A directory with enough entries to be indexed, several levels deep where blocks are small."""
        for i in range(self.options.wide):
            put(b"entry-%06d-%s" % (i, b"y" * (i * 7 % self.options.wide_name)), b"%d" % i if i % 50 == 0 else b"")
        for i in range(0, self.options.wide, 5):
            os.unlink(b"entry-%06d-%s" % (i, b"y" * (i * 7 % self.options.wide_name)))
        for i in range(0, self.options.wide, 25):
            os.mkdir(b"again-%d" % i)

    def subdirectories(self):
        """More subdirectories than a link count holds (EXT4_LINK_MAX): the count becomes 1."""
        for i in range(65100):
            os.mkdir(b"%x" % i)

    def gaps(self):
        """Deleted entries at the start, the middle and the end of directory blocks; directories emptied again."""
        for n in (3, 40, 500):
            os.mkdir(b"%d" % n)
            for i in range(n):
                put(b"%d/%04d-%s" % (n, i, b"g" * (i % 60)))
            for i in range(n):
                if i % 3 or i > n * 3 // 4:
                    os.unlink(b"%d/%04d-%s" % (n, i, b"g" * (i % 60)))
        for n in (1, 300):
            os.mkdir(b"emptied-%d" % n)
            for i in range(n):
                put(b"emptied-%d/%s-%d" % (n, b"e" * 100, i))
            for i in range(n):
                os.unlink(b"emptied-%d/%s-%d" % (n, b"e" * 100, i))
        os.mkdir(b"empty")

    def rotated(self):
        """Logs as logrotate leaves them."""
        put(b"log", b"first\n")
        for turn in range(12):
            for i in range(min(turn, 6), 0, -1):
                if os.path.exists(b"log.%d" % i):
                    os.rename(b"log.%d" % i, b"log.%d" % (i + 1))
            os.rename(b"log", b"log.1")
            put(b"log", b"turn %d\n" % turn)
        os.rename(b"log", b"log-renamed-to-something-longer-that-needs-another-entry")
        os.mkdir(b"from")
        os.mkdir(b"to")
        os.mkdir(b"from/moved")
        put(b"from/moved/file", b"moved")
        os.rename(b"from/moved", b"to/moved")
        put(b"replaced", b"old")
        put(b"new", b"new")
        os.rename(b"new", b"replaced")

    def links(self):
        put(b"one", b"one file, many names")
        for i in range(self.options.hardlinks):
            if i % 1000 == 0:
                os.mkdir(b"%d" % i)
            os.link(b"one", b"%d/%d" % (i // 1000 * 1000, i))
        os.mkfifo(b"fifo")
        os.link(b"fifo", b"fifo-again")
        os.symlink(b"one", b"link")
        os.link(b"link", b"link-again", follow_symlinks=False)

    # -- contents

    def contents(self):
        b = self.block
        for size in (0, 1, 2, 511, 512, 513, b - 1, b, b + 1, 2 * b - 1, 3 * b + 7, (1 << 20) + 13, 3333333):
            put(b"random-%d" % size, pattern(size, size))
        put(b"zeros", bytes(100000))
        put(b"text", b"".join(b"line %d of a log file\n" % i for i in range(20000)))

    def small(self):
        """Files that may lie within the inode, and such that grow out of it and are cut short again."""
        for size in range(0, 201):
            put(b"s%03d" % size, pattern(size, size))
        for size in (0, 10, 60, 61, 100, 150, 156, 160, 170, 220, 300, 4096, 5000):
            name = b"grown-%d" % size
            put(name, b"g" * 10)
            fd = os.open(name, os.O_RDWR)
            os.pwrite(fd, pattern(size, size), 0)
            os.fsync(fd)
            os.ftruncate(fd, size // 2)
            os.ftruncate(fd, size)
            os.close(fd)
            name = b"shrunk-%d" % size
            put(name, pattern(size, 9000))
            os.truncate(name, size)
        for count in (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20):
            for length in (1, 8, 30):
                directory = b"dir-%d-of-%d" % (count, length)
                os.mkdir(directory)
                for i in range(count):
                    put(directory + b"/" + (b"%c" % (97 + i) * length))
        for i in range(30):
            os.mkdir(b"dir-grown-%d" % i)
            for j in range(i):
                put(b"dir-grown-%d/name%d" % (i, j))
            for j in range(i // 2):
                os.unlink(b"dir-grown-%d/name%d" % (i, j))
        for n in (1, 20, 40, 60, 80):
            put(b"inline-beside-attribute-%d" % n, b"i" * 50)
            os.setxattr(b"inline-beside-attribute-%d" % n, "user.a", b"v" * n)

    def sparse(self):
        """Sixteen GiB less a little, nearly all of it holes."""
        end = self.options.sparse_size
        fd = os.open(b"sparse", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, end)
        for i, at in enumerate((1, 70000, 5 << 20, (1 << 30) + 5, (1 << 31) - 10, (1 << 32) + 77, (3 << 32) - 1,
                                end - 5000, end - 1)):
            if 0 <= at < end:
                os.pwrite(fd, pattern(i, min(3000, end - at)), at)
        os.close(fd)
        fd = os.open(b"only-a-hole", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, min(end, 1 << 40 if self.options.extents else end))
        os.close(fd)
        for hole in (1, self.block - 1, self.block, self.block + 1, 10 * self.block):
            fd = os.open(b"ends-in-a-hole-%d" % hole, os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(fd, b"data", 0)
            os.ftruncate(fd, 4 + hole)
            os.close(fd)
            fd = os.open(b"starts-with-a-hole-%d" % hole, os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(fd, b"data", hole)
            os.close(fd)

    def indirect(self):
        """Data on both sides of every border of the block map: direct, single, double and triple indirect."""
        b, per = self.block, self.block // 4
        borders = [0, 11, 12, 12 + per - 1, 12 + per, 12 + 2 * per, 12 + per + per * per - 1]
        for name, more in ((b"double", []), (b"triple", [12 + per + per ** 2, 12 + per + per ** 2 + per + 1,
                                                        12 + per + 2 * per ** 2 + 5 * per + 9])):
            fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            for block in borders + more:
                if (block + 1) * b <= self.options.sparse_size:
                    os.pwrite(fd, pattern(block, b), block * b)
            os.close(fd)
        for blocks in (11, 12, 13, 12 + per, 13 + per):
            put(b"dense-%d" % blocks, pattern(blocks, blocks * b - 3))

    def fragments(self):
        """Ten thousand pieces, a hole after each; and pieces that are cut out of a whole."""
        b = self.block
        fd = os.open(b"pieces", os.O_RDWR | os.O_CREAT, 0o600)
        for i in range(10000):
            os.pwrite(fd, b"%08d" % i * (b // 8), 2 * i * b)
        os.close(fd)
        fd = os.open(b"punched", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, pattern(7, 3000 * b), 0)
        os.fsync(fd)
        for i in range(1000):
            fallocate(fd, PUNCH_HOLE | KEEP_SIZE, (3 * i + 1) * b - (i % 3), b + i % 5)
        os.close(fd)

    def comb(self):
        """A dense file of which no two blocks lie side by side: the only free blocks were single ones."""
        b = self.block
        teeth = self.options.teeth
        fd = os.open(b"teeth", os.O_RDWR | os.O_CREAT, 0o600)
        for i in range(0, 2 * teeth, 64):
            os.pwrite(fd, b"t" * (64 * b), i * b)
        os.fsync(fd)
        rest = os.open(b"rest", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while os.write(rest, bytes(1 << 20)):
                pass
        except OSError as error:
            if error.errno != 28:
                raise
        os.fsync(rest)
        for i in range(teeth):
            fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 2 * i * b, b)
        os.fsync(fd)
        # Blocks come back only with the commit that frees them.
        self.sync()
        dense = os.open(b"dense", os.O_RDWR | os.O_CREAT, 0o600)
        for i in range(teeth - 600):
            os.write(dense, b"%08d" % i * (b // 8))
        os.fsync(dense)
        os.close(dense)
        os.close(rest)
        os.unlink(b"rest")
        os.close(fd)
        self.sync()

    def sync(self):
        """Of this file system alone: another test may have its own reasons not to."""
        fd = os.open(b".", os.O_RDONLY)
        libc.syncfs(fd)
        os.close(fd)

    def unwritten(self):
        """Space that is reserved: read as zeros until it is written."""
        b = self.block
        fd = os.open(b"reserved", os.O_RDWR | os.O_CREAT, 0o600)
        fallocate(fd, 0, 0, 100 * b)
        os.pwrite(fd, pattern(1, b), 10 * b)
        os.pwrite(fd, pattern(2, 3 * b + 100), 50 * b + 17)
        os.pwrite(fd, b"end", 100 * b - 3)
        os.close(fd)
        for name, size in ((b"beyond-the-end", 3 * b + 5), (b"only-beyond", 0)):
            fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            os.write(fd, pattern(3, size))
            fallocate(fd, KEEP_SIZE, 0, 50 * b)
            os.close(fd)
        fd = os.open(b"zeroed", os.O_RDWR | os.O_CREAT, 0o600)
        os.write(fd, pattern(4, 40 * b))
        fallocate(fd, ZERO_RANGE, 3 * b + 5, 20 * b)
        os.close(fd)
        fd = os.open(b"alternating", os.O_RDWR | os.O_CREAT, 0o600)
        fallocate(fd, 0, 0, 2000 * b)
        for i in range(1000):
            os.pwrite(fd, b"%08d" % i * (b // 8), 2 * i * b)
        os.close(fd)
        fd = os.open(b"longer-than-one-extent", os.O_RDWR | os.O_CREAT, 0o600)
        fallocate(fd, 0, 0, 8 << 20)
        os.close(fd)
        if self.options.cluster > 1:
            return
        for name, mode in ((b"collapsed", COLLAPSE_RANGE), (b"inserted", INSERT_RANGE)):
            fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            os.write(fd, pattern(5, 40 * b))
            os.fsync(fd)
            fallocate(fd, mode, 7 * b, 9 * b)
            os.close(fd)

    # -- links, nodes, attributes

    def symlinks(self):
        longest = min(self.block, 4096) - 1
        for length in (1, 2, 58, 59, 60, 61, 100, 254, 255, 256, 1000, longest - 1, longest):
            if length <= longest:
                os.symlink((b"s/" * 2048)[:length - 1] + b"x", b"length-%d" % length)
        os.makedirs(b"a/b/c")
        put(b"a/b/c/target", b"reached")
        for name, target in {
            b"relative": b"a/b/c/target", b"dot": b".", b"dot-dot": b"..", b"up": b"../names/a", b"absolute": b"/names/a",
            b"absolute-directory": b"/deep", b"top": b"/", b"above-top": b"../../../../../../names/a",
            b"far-above": b"../" * 40 + b"names", b"absolute-above": b"/../../names/a", b"through": b"absolute-directory/..",
            b"through-top": b"top/names/a", b"through-link": b"a/b/up/target", b"nowhere": b"no/such/thing",
            b"absolute-nowhere": b"/no/such", b"self": b"self", b"loop-1": b"loop-2", b"loop-2": b"loop-1",
            b"slashes": b"a//b///c/./target", b"trailing": b"a/b/", b"not-utf8": b"caf\xe9", b"to-new-line": b"new\nline",
            b"file-as-directory": b"a/b/c/target/x", b"host": b"/etc/passwd", b"proc": b"/proc/self/root/etc/passwd",
            b"etc": b"../etc/hostname",
        }.items():
            os.symlink(target, name)
        os.symlink(b"c", b"a/b/up")
        os.symlink(b"../../../../..", b"a/b/c/climb")
        os.symlink(b"a/b/c/climb/names/a", b"through-climb")
        os.symlink(b"/symlinks/a/b", b"a/abs")
        os.symlink(b"a/abs/c/target", b"through-abs")
        os.symlink(b"a/abs/../../../../../../names/a", b"through-abs-above")

    def nodes(self):
        for major, minor in ((0, 0), (1, 3), (8, 1), (255, 255), (256, 0), (0, 256), (259, 70000), (4095, 1048575)):
            for kind, letter in ((stat.S_IFCHR, b"c"), (stat.S_IFBLK, b"b")):
                os.mknod(b"%s-%d-%d" % (letter, major, minor), kind | 0o640, os.makedev(major, minor))
        os.mkfifo(b"fifo", 0o622)
        s = socket.socket(socket.AF_UNIX)
        s.bind("socket")
        s.close()

    def modes(self):
        for mode in (0, 0o1, 0o7, 0o70, 0o700, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777, 0o1000, 0o2000, 0o4000):
            put(b"f%04o" % mode, b"mode")
            os.chmod(b"f%04o" % mode, mode)
            os.mkdir(b"d%04o" % mode)
            put(b"d%04o/in" % mode)
            os.chmod(b"d%04o" % mode, mode)

    def owners(self):
        ids = (0, 1, 1000, 65533, 65534, 65535, 65536, 70000, 0x7FFFFFFF, 0x80000005, 0xFFFFFFFE)
        for uid in ids:
            put(b"u%d" % uid)
            os.chown(b"u%d" % uid, uid, -1)
            put(b"g%d" % uid)
            os.chown(b"g%d" % uid, -1, uid)
            os.symlink(b"x", b"l%d" % uid)
            os.lchown(b"l%d" % uid, uid, ids[-1])

    def times(self):
        for second in (-(1 << 31), -(1 << 31) + 1, -86400, -1, 0, 1, 999999999, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
                       1 << 32, 3 << 31, 1 << 33, (1 << 33) + (1 << 31) - 1, (1 << 34) - (1 << 31) - 1):
            for nanosecond in (0, 1, 123456789, 999999999):
                name = b"t%d.%09d" % (second, nanosecond)
                put(name)
                os.utime(name, ns=(second * 10**9 + 999999999 - nanosecond, second * 10**9 + nanosecond))

    def acls(self):
        entry = struct.Struct("<HHI")
        undefined = 0xFFFFFFFF

        def acl(*entries):
            return struct.pack("<I", 2) + b"".join(entry.pack(*e) for e in entries)

        short = acl((1, 6, undefined), (2, 7, 1000), (4, 5, undefined), (16, 7, undefined), (32, 4, undefined))
        mixed = acl((1, 7, undefined), (2, 4, 5), (2, 6, 70000), (2, 0, 0x80000005), (4, 5, undefined), (8, 3, 10),
                    (8, 7, 0xFFFFFFFE), (16, 6, undefined), (32, 0, undefined))
        long = acl((1, 7, undefined), *((2, i % 8, 1000 + i) for i in range(min(200, self.block // 16 - 30))), (4, 5, undefined),
                   (16, 7, undefined), (32, 5, undefined))
        for name, value in ((b"short", short), (b"mixed", mixed), (b"long", long)):
            put(name)
            os.setxattr(name, "system.posix_acl_access", value)
            os.mkdir(name + b"-directory")
            os.setxattr(name + b"-directory", "system.posix_acl_default", value)
            put(name + b"-directory/inherits")
            os.mkdir(name + b"-directory/inherits-too")

    def attributes(self):
        room = self.block - 200
        put(b"none")
        for size in (0, 1, 10, 30, 60, 90, 120, 200, room // 2, room):
            put(b"value-%d" % size)
            os.setxattr(b"value-%d" % size, "user.v", pattern(size, size))
        put(b"long-name")
        os.setxattr(b"long-name", b"user." + b"n" * 250, b"long")
        put(b"name-not-utf8")
        os.setxattr(b"name-not-utf8", b"user.caf\xe9", b"\0\xff")
        put(b"many")
        for i in range(room // 100):
            os.setxattr(b"many", b"user.attribute.%d" % i, b"v" * (i % 20))
        put(b"namespaces")
        for name, value in (("user.a", b"user"), ("trusted.a", b"trusted"), ("security.a", b"security"),
                            ("security.selinux", b"system_u:object_r:etc_t:s0\0"),
                            ("security.capability", struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0)),
                            ("trusted.overlay.opaque", b"y"), ("user.guest.b", b"guest"), ("user.", None)):
            if value is not None:
                os.setxattr(b"namespaces", name, value)
        for i in range(6):
            put(b"shared-%d" % i)
            os.setxattr(b"shared-%d" % i, "user.shared", pattern(1, min(600, room)))
            os.setxattr(b"shared-%d" % i, "security.selinux", b"unconfined_u:object_r:user_home_t:s0\0")
        put(b"removed")
        for i in range(8):
            os.setxattr(b"removed", b"user.r%d" % i, b"r" * 30)
        for i in (0, 3, 7):
            os.removexattr(b"removed", b"user.r%d" % i)
        os.mkdir(b"directory")
        os.setxattr(b"directory", "user.d", b"directory")
        os.setxattr(b"directory", "trusted.d", b"directory")
        os.symlink(b"none", b"link")
        os.setxattr(b"link", "trusted.l", b"link", follow_symlinks=False)
        os.setxattr(b"link", "security.selinux", b"link_t\0", follow_symlinks=False)
        os.symlink(b"x" * min(300, self.block - 1), b"long-link")
        os.setxattr(b"long-link", "trusted.l", b"l" * 200, follow_symlinks=False)
        os.mkfifo(b"fifo")
        os.setxattr(b"fifo", "security.selinux", b"fifo_t\0")

    def large_attributes(self):
        """Values in inodes of their own (ea_inode), some of them shared."""
        for size in (100, self.block, 5000, 20000, 65536):
            put(b"large-%d" % size)
            os.setxattr(b"large-%d" % size, "user.large", pattern(size, size))
            os.setxattr(b"large-%d" % size, "trusted.other", pattern(1, size // 2))
        for i in range(5):
            put(b"same-%d" % i)
            os.setxattr(b"same-%d" % i, "user.large", pattern(9, 30000))
        put(b"several")
        for i in range(8):
            os.setxattr(b"several", b"user.several.%d" % i, pattern(i, 3000 * (i + 1)))

    def flags(self):
        for name, flag in ((b"immutable", FS_IMMUTABLE_FL), (b"append", FS_APPEND_FL), (b"nodump", FS_NODUMP_FL),
                           (b"sync", FS_SYNC_FL), (b"noatime", FS_NOATIME_FL)):
            put(name, b"flags")
            fd = os.open(name, os.O_RDONLY)
            value = struct.unpack("<l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("<l", 0)))[0]
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("<l", value | flag))
            os.close(fd)

    def projects(self):
        for project in (0, 1, 1000, 0xFFFFFFFE):
            os.mkdir(b"%d" % project)
            fd = os.open(b"%d" % project, os.O_RDONLY)
            value = bytearray(fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)))
            struct.pack_into("<I", value, 12, project)
            struct.pack_into("<I", value, 0, struct.unpack_from("<I", value, 0)[0] | 0x200)
            fcntl.ioctl(fd, FS_IOC_FSSETXATTR, bytes(value))
            os.close(fd)
            put(b"%d/file" % project, b"of a project")

    def encrypted(self):
        """Directories under policies of both versions; the keys are forgotten with the mount."""
        raw = pattern(42, 64)
        specifier = struct.pack("<II", 2, 0) + bytes(32)
        argument = bytearray(specifier + struct.pack("<II", 64, 0) + bytes(32) + raw)
        fd = os.open(".", os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_ADD_ENCRYPTION_KEY, argument)
        identifier = bytes(argument[8:24])
        specifier = struct.pack("<II", 1, 0) + b"slashcld" + bytes(24)
        fcntl.ioctl(fd, FS_IOC_ADD_ENCRYPTION_KEY,
                    bytearray(specifier + struct.pack("<II", 64, 0) + bytes(32) + raw))
        os.close(fd)
        for name, policy in (
            (b"v2", struct.pack("<BBBBB3x", 2, 1, 4, 3, 0) + identifier),
            (b"v2-padding-4", struct.pack("<BBBBB3x", 2, 1, 4, 0, 0) + identifier),
            (b"v1", struct.pack("<BBBB", 0, 1, 4, 2) + b"slashcld"),
        ):
            os.mkdir(name)
            fd = os.open(name, os.O_RDONLY)
            fcntl.ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, bytearray(policy))
            os.close(fd)
            for length in (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 100, 143, 144, 145, 149, 150, 176, 200, 239, 240, 254, 255):
                put(name + b"/" + b"e" * length, pattern(length, length * 20))
            os.makedirs(name + b"/sub/directory")
            for i in range(400):
                put(name + b"/sub/file %d" % i, b"secret")
            for length in (1, 10, 50, 60, 100, 500, 900):
                os.symlink(b"t" * length, name + b"/link-%d" % length)
            os.mkfifo(name + b"/fifo")
            os.setxattr(name + b"/e", "user.a", b"attributes are not encrypted")
            os.link(name + b"/e", name + b"/hard link")


SECTIONS = ("names", "deep", "wide", "gaps", "rotated", "links", "contents", "small", "sparse", "indirect", "fragments",
            "unwritten", "symlinks", "nodes", "modes", "owners", "times", "acls", "attributes", "flags")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("top")
    parser.add_argument("--block", type=int, default=4096, help="the file system's block size")
    parser.add_argument("--cluster", type=int, default=1, help="blocks in a cluster")
    parser.add_argument("--wide", type=int, default=2000, help="entries of the wide directory")
    parser.add_argument("--wide-name", type=int, default=40, help="longest filling of the wide directory's names")
    parser.add_argument("--hardlinks", type=int, default=50)
    parser.add_argument("--teeth", type=int, default=10000, help="pieces of the file that is dense and in pieces")
    parser.add_argument("--sparse-size", type=int, default=(16 << 30) - 5000)
    parser.add_argument("--extents", action="store_true", help="files may be larger than 2 TiB")
    parser.add_argument("--with", dest="more", nargs="*", default=[], help="sections beyond the usual ones")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    names = options.only if options.only is not None else [s for s in SECTIONS if s not in options.without]
    os.umask(0o022)
    Population(options.top, options).run([*names, *options.more])


main()
