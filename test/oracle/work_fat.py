#!/usr/bin/env python3
"""Works on a mounted file system at random for some seconds: work_fat.py DIR SECONDS SEED.

Every file is full of one byte, which its name begins with (in hexadecimal): whoever reads a file can tell whether its bytes
are its own.
"""
import ctypes
import os
import random
import sys
import time

top, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
end = time.monotonic() + seconds
directories = [top]
files = []
done = 0


def sync():
    """Of this file system alone: another one may be stuck."""
    folder = os.open(top, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(folder)
    os.close(folder)


def new_name(directory):
    stamp = chance.randrange(1, 256)
    tail = chance.choice(["", ".TXT", " a longer name of a file", "-\u00e4\u65e5"])
    return os.path.join(directory, "%02x-%d%s" % (stamp, chance.randrange(10000), tail)), stamp


def stamp_of(path):
    return int(os.path.basename(path)[:2], 16)


while time.monotonic() < end:
    done += 1
    what = chance.randrange(100)
    try:
        if what < 30 or not files:
            path, stamp = new_name(chance.choice(directories))
            with open(path, "wb") as file:
                file.write(bytes([stamp]) * chance.choice([0, 10, 600, 3000, 20000, 60000]))
            files.append(path)
        elif what < 55:
            path = chance.choice(files)
            with open(path, "ab") as file:
                file.write(bytes([stamp_of(path)]) * chance.randrange(1, 9000))
        elif what < 62:
            path = chance.choice(files)
            os.truncate(path, os.path.getsize(path) // chance.choice([1, 2, 3, 1000000]))
        elif what < 78:
            path = files.pop(chance.randrange(len(files)))
            os.unlink(path)
        elif what < 86:
            path = files.pop(chance.randrange(len(files)))
            to = os.path.join(chance.choice(directories), "%02x-r%d" % (stamp_of(path), chance.randrange(10000)))
            os.rename(path, to)
            files.append(to)
        elif what < 90 and len(directories) < 12:
            path = os.path.join(chance.choice(directories), "directory %d" % done)
            os.mkdir(path)
            directories.append(path)
        elif what < 93 and len(directories) > 3:
            path = directories[-1]
            os.rmdir(path)
            directories.pop()
        elif what < 96:
            sync()
        else:
            os.utime(chance.choice(files), (chance.randrange(4 * 10**8, 4 * 10**9),) * 2)
    except OSError:
        # The volume is full, or the directory is not empty.
        if len(files) > 20:
            for path in files[:10]:
                os.unlink(path)
            del files[:10]
    time.sleep(0.002)
sync()
print("work: %d" % done)
