"""Security descriptors on a mounted NTFS volume: makes files that have them, and tells how ntfs-3g shows them.

make-modes DIR         files and directories of many modes and owners, by chmod and chown
make-descriptors DIR   reads lines "f|d NAME HEX" and makes a file or directory with that descriptor
tell DIR               writes a line of JSON for each: name, type, mode, uid, gid, descriptor
"""
import ctypes
import json
import os
import stat
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
what, folder = sys.argv[1:]
OWNERS = [(0, 0), (0, 1000), (1000, 0), (1000, 1000), (1000, 1001), (65534, 100), (2**30 + 5, 3 * 2**30 + 6), (0x7FFFFFFF, 1)]


def descriptor_of(path):
    """The descriptor, asked for with enough room: ntfs-3g answers too little room wrongly."""
    value = ctypes.create_string_buffer(65536)
    size = LIBC.getxattr(os.fsencode(path), b"system.ntfs_acl", value, len(value))
    if size < 0:
        raise OSError(ctypes.get_errno(), path)
    return value.raw[:size]


def make(name, directory):
    path = os.path.join(folder, name)
    if directory:
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return path


if what == "make-modes":
    for index, (uid, gid) in enumerate(OWNERS):
        modes = range(0, 0o1000) if index in (0, 4) else range(index, 0o1000, 13)
        for mode in list(modes) + [0o4755, 0o2755, 0o1777, 0o7777, 0o6000]:
            for directory in (False, True):
                if directory and mode % 5:
                    continue
                path = make(f"{'d' if directory else 'f'}{index}-{mode:o}", directory)
                os.chown(path, uid, gid)
                os.chmod(path, mode)
elif what == "make-descriptors":
    for line in sys.stdin:
        kind, name, descriptor = line.split()
        os.setxattr(make(name, kind == "d"), "system.ntfs_acl", bytes.fromhex(descriptor))
else:
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        try:
            status = os.stat(path)
        except OSError:
            # ntfs-3g makes an access list of some descriptors that it then refuses.
            continue
        print(
            json.dumps(
                {
                    "name": name,
                    "directory": stat.S_ISDIR(status.st_mode),
                    "mode": status.st_mode & 0o7777,
                    "uid": status.st_uid,
                    "gid": status.st_gid,
                    "descriptor": descriptor_of(path).hex(),
                }
            )
        )
