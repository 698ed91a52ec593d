"""Bytes that tell where they belong: units of 16 bytes, each with its file, its place in the file, and who wrote it.

None ends with a zero: a file is shown without the zeros at its end until it is known that they are meant.
"""
import itertools
from array import array

UNIT = 16
# Every fifth file's blocks begin like the journal's own, so that data=journal has to escape them (JBD2_FLAG_ESCAPE).
JBD2_MAGIC = 0x98393BC0
MASK = 0xFFFFFFFF


def stamped(file_id, offset, length, version):
    """`length` bytes for `offset` of a file, as written by operation `version`; both are multiples of UNIT."""
    count = length // UNIT
    first = offset // UNIT
    words = array("I", bytes(16 * count))
    head = JBD2_MAGIC if file_id % 5 == 0 else file_id
    words[0::4] = array("I", [head]) * count
    words[1::4] = array("I", range(first, first + count))
    words[2::4] = array("I", [version]) * count
    words[3::4] = array("I", [~file_id & MASK]) * count
    return words.tobytes()


def runs(data):
    """What the bytes are: [first unit, units, file, version], version 0 for zeros, file -1 for bytes that nobody wrote."""
    whole = len(data) // UNIT
    words = array("I", data[: whole * UNIT])
    found = []
    at = 0
    units = zip(words[0::4], words[2::4], words[3::4])
    for (head, version, tail), group in itertools.groupby(units):
        count = len(list(group))
        places = words[4 * at + 1 : 4 * (at + count) : 4]
        if head == 0 and version == 0 and tail == 0 and not any(places):
            found.append([at, count, 0, 0])
        elif places != array("I", range(at, at + count)):
            found.append([at, count, -1, 0])
        elif head in (JBD2_MAGIC, ~tail & MASK):
            found.append([at, count, ~tail & MASK, version])
        else:
            found.append([at, count, -1, 0])
        at += count
    if whole * UNIT != len(data):
        found.append([whole, 1, -1, 0])
    return found
