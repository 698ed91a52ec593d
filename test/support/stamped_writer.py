"""A guest's program: writes files in many ways, so that each sector says which file it is of, and where in it.

    stamped_writer.py FOLDER ROUNDS SEED [extents]

A sector of 512 bytes begins with "STMP", and the file's number, the sector's in the file and a counter, 32 bits each.
Prints, as JSON, the files: [number, inode, generation, whether it was deleted].
"""
import fcntl
import json
import mmap
import os
import random
import struct
import sys

folder, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
has_extents = "extents" in sys.argv
dice = random.Random(seed)
files = []
open_names = {}
counter = 0
SECTOR = 512
PUNCH, KEEP_SIZE = 2, 1


def stamps(number, first, count):
    global counter
    counter += 1
    head = [struct.pack("<4sIII", b"STMP", number, first + n, counter) for n in range(count)]
    return b"".join(each + bytes([65 + number % 26]) * (SECTOR - 16) for each in head)


def fallocate(fd, mode, start, length):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    if libc.fallocate(fd, mode, start, length) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def note(fd):
    info = os.fstat(fd)
    generation = struct.unpack("<I", fcntl.ioctl(fd, 0x80087601, bytes(8))[:4])[0]
    files.append([len(files), info.st_ino, generation, False])
    return len(files) - 1


def create(name):
    fd = os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    open_names[name] = note(fd)
    return fd


def reopen(name, flags=0):
    return os.open(os.path.join(folder, name), os.O_RDWR | flags), open_names[name]


def pick():
    return dice.choice(sorted(open_names))


def settle(fd):
    way = dice.randrange(4)
    if way == 0:
        os.fsync(fd)
    elif way == 1:
        os.fdatasync(fd)
    os.close(fd)


def new_file(n):
    name = f"file-{n}"
    fd = create(name)
    number = open_names[name]
    os.pwrite(fd, stamps(number, 0, dice.choice([1, 3, 8, 17, 64, 300])), 0)
    settle(fd)


def append(_):
    fd, number = reopen(pick())
    size = os.fstat(fd).st_size // SECTOR
    for _ in range(dice.randrange(1, 5)):
        count = dice.choice([1, 2, 8, 9, 40])
        os.pwrite(fd, stamps(number, size, count), size * SECTOR)
        size += count
        if dice.randrange(2):
            os.fsync(fd)
    settle(fd)


def overwrite(_):
    fd, number = reopen(pick())
    size = os.fstat(fd).st_size // SECTOR
    for _ in range(3):
        if size == 0:
            break
        first = dice.randrange(size)
        count = min(size - first, dice.choice([1, 4, 16, 33]))
        os.pwrite(fd, stamps(number, first, count), first * SECTOR)
    settle(fd)


def sparse(_):
    fd, number = reopen(pick())
    first = os.fstat(fd).st_size // SECTOR + dice.choice([3, 100, 5000])
    os.pwrite(fd, stamps(number, first, 10), first * SECTOR)
    settle(fd)


def truncate_and_rewrite(_):
    fd, number = reopen(pick())
    size = os.fstat(fd).st_size // SECTOR
    left = dice.choice([0, size // 2])
    os.ftruncate(fd, left * SECTOR)
    if dice.randrange(2):
        os.fsync(fd)
    os.pwrite(fd, stamps(number, left, 20), left * SECTOR)
    settle(fd)


def punch(_):
    if not has_extents:
        return
    fd, number = reopen(pick())
    size = os.fstat(fd).st_size
    fallocate(fd, PUNCH | KEEP_SIZE, size // 4, size // 2 + 1)
    if dice.randrange(2):
        os.fsync(fd)
    os.pwrite(fd, stamps(number, size // 2 // SECTOR, 1), size // 2 // SECTOR * SECTOR)
    settle(fd)


def allocate(n):
    if not has_extents:
        return
    name = f"allocated-{n}"
    fd = create(name)
    number = open_names[name]
    fallocate(fd, dice.choice([0, KEEP_SIZE]), 0, 1 << 20)
    if dice.randrange(2):
        os.fsync(fd)
    for first in (0, 40, 800):
        os.pwrite(fd, stamps(number, first, 24), first * SECTOR)
    settle(fd)


def direct(n):
    name = f"direct-{n}"
    os.close(create(name))
    fd, number = reopen(name, os.O_DIRECT)
    for first in (0, 64, 8, 0):
        memory = mmap.mmap(-1, 16384)
        memory.write(stamps(number, first, 32))
        os.pwritev(fd, [memory], first * SECTOR)
    os.close(fd)


def mapped(_):
    fd, number = reopen(pick())
    size = os.fstat(fd).st_size // SECTOR
    if size > 0:
        memory = mmap.mmap(fd, size * SECTOR)
        first = dice.randrange(size)
        count = min(size - first, 12)
        memory[first * SECTOR : (first + count) * SECTOR] = stamps(number, first, count)
        if dice.randrange(2):
            memory.flush()
        memory.close()
    settle(fd)


def rename(n):
    name = pick()
    os.rename(os.path.join(folder, name), os.path.join(folder, f"renamed-{n}"))
    open_names[f"renamed-{n}"] = open_names.pop(name)


def replace(n):
    """As editors save a file: a new one takes its place."""
    name = pick()
    fd = create(f"{name}.new")
    number = open_names[f"{name}.new"]
    os.pwrite(fd, stamps(number, 0, 12), 0)
    settle(fd)
    os.rename(os.path.join(folder, f"{name}.new"), os.path.join(folder, name))
    files[open_names.pop(name)][3] = True
    open_names[name] = open_names.pop(f"{name}.new")


def delete(_):
    if len(open_names) > 8:
        name = pick()
        os.unlink(os.path.join(folder, name))
        files[open_names.pop(name)][3] = True


def directory(n):
    os.mkdir(os.path.join(folder, f"directory-{n}"))
    for k in range(dice.choice([3, 150])):
        os.symlink("x" * dice.choice([5, 90]), os.path.join(folder, f"directory-{n}", f"a-rather-long-name-{k}"))
    fd, _ = reopen(pick())
    os.setxattr(fd, "user.note", b"n" * dice.choice([10, 600]))
    os.close(fd)


def sync(_):
    import ctypes

    fd = os.open(folder, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(fd)
    os.close(fd)


WAYS = [new_file, new_file, append, append, append, overwrite, overwrite, sparse, truncate_and_rewrite, punch, allocate]
WAYS += [direct, mapped, rename, replace, delete, directory]

# What was there before is written over, too.
for known in sorted(os.listdir(folder)):
    if known.startswith("before-"):
        fd = os.open(os.path.join(folder, known), os.O_RDWR)
        open_names[known] = note(fd)
        os.close(fd)
for n in range(8 if len(open_names) < 8 else 0):
    new_file(f"first-{n}")
for n in range(rounds):
    dice.choice(WAYS)(n)
    if dice.randrange(25) == 0:
        sync(n)
sync(0)
print(json.dumps(files))
