#!/usr/bin/env python3
"""Tells of an ext image that the kernel cannot mount what walk.py tells of a tree, by what debugfs says.

Names with a slash-free, printable text only: debugfs has no other way to write them.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

from walk import digest, odd_reads

KINDS = {"regular": "file", "directory": "directory", "symlink": "link", "character special": "character",
         "block special": "block", "FIFO": "fifo", "socket": "socket"}


class Debugfs:
    def __init__(self, image, folder):
        self.image = image
        self.script = os.path.join(folder, "script")

    def run(self, commands):
        """Runs the commands in one go; returns each one's output."""
        with open(self.script, "wb") as script:
            script.write(b"".join(c + b"\n" for c in commands))
        done = subprocess.run(["debugfs", "-f", self.script, self.image], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=True)
        # Every command is echoed before its output.
        answers = []
        at = 0
        for command in commands:
            echo = b"debugfs: " + command + b"\n"
            at = done.stdout.index(echo, at)
            if answers:
                answers[-1] = done.stdout[answers[-1]:at]
            at += len(echo)
            answers.append(at)
        answers[-1] = done.stdout[answers[-1]:]
        return answers


def number(text):
    """debugfs prints ids as signed."""
    return int(text) & 0xFFFFFFFF


def moment(text, field):
    """Nanoseconds since 1970 of `ctime: 0x<seconds>:<extra>` (struct ext4_inode.i_ctime and i_ctime_extra)."""
    found = re.search(rf"^\s*{field}: 0x([0-9a-f]+)(?::([0-9a-f]+))?", text, re.M)
    seconds = int(found[1], 16)
    extra = int(found[2] or "0", 16)
    seconds = (seconds ^ 0x80000000) - 0x80000000 + ((extra & 3) << 32)
    return str(seconds * 10**9 + (extra >> 2))


def unescape(name):
    """debugfs writes bytes beyond ASCII as backslash and three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), name)


def main():
    image = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="slashcloud-debugfs-") as folder:
        debugfs = Debugfs(image, folder)
        block = int(re.search(rb"^Block size:\s+(\d+)", debugfs.run([b"show_super_stats -h"])[0], re.M)[1])
        paths = []
        children = {}
        wanted = [(b".", 2)]
        while wanted:
            listings = debugfs.run([b"ls -p <%d>" % ino for _, ino in wanted])
            following = []
            for (path, ino), listing in zip(wanted, listings):
                found = []
                for line in listing.splitlines():
                    if not line.startswith(b"/"):
                        continue
                    _, child, mode, _, _, name, _, _ = line.split(b"/")
                    if int(child):
                        found.append((name, int(child), int(mode, 8)))
                children[path] = found
                prefix = b"" if path == b"." else path + b"/"
                for name, child, mode in found:
                    if name in (b".", b".."):
                        continue
                    paths.append((prefix + name, child))
                    if mode & 0o170000 == 0o040000:
                        following.append((prefix + name, child))
            wanted = following
        paths.insert(0, (b".", 2))
        inodes = sorted({ino for _, ino in paths})
        stats = dict(zip(inodes, (a.decode("latin-1") for a in debugfs.run([b"stat <%d>" % i for i in inodes]))))
        dumped = [i for i in inodes if re.search(r"Type: regular", stats[i]) or
                  (re.search(r"Type: symlink", stats[i]) and "Fast link dest" not in stats[i])]
        debugfs.run([b"dump <%d> %s/%d" % (i, os.fsencode(folder), i) for i in dumped])
        names = {}
        gets = []
        for ino, answer in zip(inodes, debugfs.run([b"ea_list <%d>" % i for i in inodes])):
            names[ino] = [unescape(n) for n in re.findall(rb"^  (.*?) \(\d+\)", answer, re.M)]
            gets += [b'ea_get -f %s/%d-%d <%d> "%s"' % (os.fsencode(folder), ino, n, ino, name)
                     for n, name in enumerate(names[ino])]
        if gets:
            debugfs.run(gets)
        print(json.dumps({"statfs": {}}))
        for path, ino in paths:
            text = stats[ino]
            kind = KINDS[re.search(r"Type: (.*?)\s+Mode:", text)[1]]
            ids = re.search(r"User:\s*(-?\d+)\s+Group:\s*(-?\d+).*?Size: (\d+)", text)
            links = re.search(r"Links: (\d+)\s+Blockcount: (\d+)", text)
            record = {
                "path": path.hex(), "kind": kind, "mode": int(re.search(r"Mode:\s+(\d+)", text)[1], 8),
                "nlink": int(links[1]), "uid": number(ids[1]), "gid": number(ids[2]), "size": int(ids[3]),
                "blocks": int(links[2]), "blksize": block, "mtime": moment(text, "mtime"),
                "ctime": moment(text, "ctime"), "atime": moment(text, "atime"), "ino": ino,
            }
            device = re.search(r"Device major/minor number: (\d+):(\d+)", text)
            if device:
                record["rdev"] = [int(device[1]), int(device[2])]
            if kind in ("file", "link") and ino in dumped:
                with open(f"{folder}/{ino}", "rb") as content:
                    if kind == "file":
                        record["sha"], record["dataBlocks"] = digest(content.fileno(), [(0, record["size"])])
                        record["odd"] = odd_reads(content.fileno(), record["size"])
                    else:
                        record["target"] = content.read().hex()
            elif kind == "link":
                record["target"] = re.search(r'Fast link dest: "(.*)"', text, re.S)[1].encode("latin-1").hex()
            if names[ino]:
                record["xattrs"] = {}
                for n, name in enumerate(names[ino]):
                    with open(f"{folder}/{ino}-{n}", "rb") as value:
                        record["xattrs"][name.hex()] = value.read().hex()
            if path in children:
                record["entries"] = len(children[path])
                record["dots"] = [child for name, child, _ in sorted(children[path]) if name in (b".", b"..")]
            print(json.dumps(record))


main()
