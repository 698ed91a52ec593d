#!/usr/bin/env python3
"""Prints what a tree is, as JSON: by path (one character a byte), its attributes, target and extended attributes."""
import json
import os
import stat
import sys

from view import attributes, walk


def main():
    top = os.fsencode(sys.argv[1])
    out = {}
    for path, status in walk(top).items():
        kind = status[1]
        entry = {
            "inode": status[0],
            "mode": kind,
            "nlink": status[2],
            "uid": status[3],
            "gid": status[4],
            "size": status[5],
            "mtime": status[6],
            "device": f"{os.major(status[9])}:{os.minor(status[9])}" if stat.S_ISCHR(kind) else "",
            "target": status[10].decode("latin-1") if stat.S_ISLNK(kind) else "",
            "xattrs": {
                name: value.decode("latin-1") for name, value in (attributes(os.path.join(top, path)) or {}).items()
            },
        }
        out["/" + path.decode("latin-1")] = entry
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
