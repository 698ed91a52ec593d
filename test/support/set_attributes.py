#!/usr/bin/env python3
"""Sets extended attributes: lines of a path, a name and a value in hexadecimal, parted by tabs."""
import os
import sys

for line in sys.stdin:
    path, name, value = line.rstrip("\n").split("\t")
    os.setxattr(path, name, bytes.fromhex(value), follow_symlinks=False)
