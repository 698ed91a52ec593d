#!/usr/bin/env python3
"""Fills a mounted FAT or exFAT file system with some of everything: populate_fat.py DIR BYTES FORMAT.

BYTES is about how much room there is. FORMAT is fat or exfat: only vfat has attributes to be set by an ioctl.
"""
import array
import fcntl
import os
import random
import sys

top, room, form = sys.argv[1], int(sys.argv[2]), sys.argv[3]
chance = random.Random(room)
SET_ATTRIBUTES = 0x40047211
READ_ONLY, HIDDEN, SYSTEM, ARCHIVE = 1, 2, 4, 0x20


def at(*names):
    return os.path.join(top, *names)


def write(path, data, mode="wb"):
    with open(path, mode) as file:
        file.write(data)


def data(length):
    return chance.randbytes(length)


NAMES = [
    "README.TXT", "lower.txt", "MiXeD.TxT", "UPPER.low", "lower.UPP", "NOEXT", "noext", "a", "B", "x.y", ".hidden",
    "two.dots.txt", "a long name with spaces.text", "+,;=[].txt", "na\u00efve caf\u00e9.txt", "\u00c9T\u00c9.TXT",
    "\u00e9cole.txt", "\u65e5\u672c\u8a9e", "\u03a9mega", "emoji \U0001f600 name", "1234567.123", "12345678.123",
    "123456789.123", "12345678.1234", "same name long 1", "same name long 2", "same name long 3", "x" * 255,
    "\u00fc" * 200, "thirteen.char", "exactly twenty-six letters", "exactly thirteen", "\u00df\u1e9e",
]
SIZES = [0, 1, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 16385, 33000]

for place, name in enumerate(NAMES):
    write(at(name), data(SIZES[place % len(SIZES)] if room > 4 << 20 else SIZES[place % 10]))

# Directories: deep, full, empty, and one that was full.
os.makedirs(at("Deep", "deeper", "a directory with a long name", "d4", "D5"))
write(at("Deep", "deeper", "a directory with a long name", "d4", "D5", "bottom"), data(700))
os.mkdir(at("empty"))
os.mkdir(at("full"))
for n in range(150 if room > 4 << 20 else 60):
    write(at("full", "file number %d of many" % n if n % 3 else "F%d" % n), b"%d" % n)
os.mkdir(at("emptied"))
for n in range(40):
    write(at("emptied", "to be deleted %d" % n), b"")
for n in range(40):
    if n % 7:
        os.unlink(at("emptied", "to be deleted %d" % n))
for n in range(10):
    write(at("emptied", "n%d" % n), data(n))
os.mkdir(at("renamed from"))
write(at("renamed from", "inside"), b"inside")
os.rename(at("renamed from"), at("empty", "Renamed To"))
os.rename(at("lower.txt"), at("empty", "moved.txt"))
write(at("victim"), data(1500))
os.rename(at("B"), at("victim"))

# Chains in pieces, longer and shorter again.
files = [open(at("piece%d" % n), "wb") for n in range(3)]
for n in range(8 if room > 4 << 20 else 5):
    for file in files:
        file.write(data(chance.randrange(1, 6000)))
        file.flush()
        os.fsync(file.fileno())
for file in files:
    file.close()
os.truncate(at("piece0"), 5000)
os.truncate(at("piece1"), 0)
os.unlink(at("piece2"))
write(at("into the gaps"), data(min(room // 8, 400000)))
if room > 30 << 20:
    write(at("large"), data(6 << 20))

# Modes, attributes, times.
os.chmod(at("README.TXT"), 0o555)
os.mkdir(at("read-only"))
os.chmod(at("read-only"), 0o555)
if form == "fat":
    for name, attributes in (("NOEXT", HIDDEN | ARCHIVE), ("noext2", SYSTEM), ("a", READ_ONLY | HIDDEN), ("x.y", 0)):
        write(at(name), b"", "ab")
        with open(at(name), "rb") as file:
            fcntl.ioctl(file, SET_ATTRIBUTES, array.array("I", [attributes]))
for n, seconds in enumerate((315532800, 315532801, 946684799, 951782400, 1709164800, 1709251199, 2147483648,
                             4107542399, 4107542400, 4354819198)):
    write(at("time%d" % n), b"")
    os.utime(at("time%d" % n), (seconds, seconds))
os.utime(at("full"), (1000000000, 1100000000))
