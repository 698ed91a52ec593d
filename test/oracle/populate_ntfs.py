#!/usr/bin/env python3
"""Fills an NTFS volume that ntfs-3g has mounted (streams_interface=xattr) with what is asked for by name."""
import argparse
import errno
import os
import random
import struct

random_bytes = random.Random(20240229).randbytes
TIMES = {
    "epoch": 0,
    "1601": -11644473600 * 10**9 + 100,
    "before 1970": -12345678 * 10**9 + 123456700,
    "units": 1700000000 * 10**9 + 1234567 * 100,
    "2038": (2**31 + 5) * 10**9 + 999999900,
    "2500": 16725225600 * 10**9 + 100,
}


class Filler:
    def __init__(self, top):
        self.top = os.fsencode(top)

    def path(self, *names):
        return os.path.join(self.top, *[os.fsencode(name) if isinstance(name, str) else name for name in names])

    def file(self, name, data=b""):
        path = self.path(name) if not isinstance(name, tuple) else self.path(*name)
        with open(path, "wb") as out:
            out.write(data)
        return path

    def folder(self, *names):
        path = self.path(*names)
        os.makedirs(path, exist_ok=True)
        return path

    def base(self):
        """Sizes about those of records, clusters and units of compression."""
        self.folder("base")
        for size in (0, 1, 7, 100, 500, 511, 512, 513, 600, 700, 701, 1023, 4095, 4096, 4097, 65535, 65536, 65537, 300001):
            self.file(("base", f"size {size}"), random_bytes(size))
        self.file(("base", "large"), random_bytes(1 << 20) + bytes(1 << 20) + random_bytes(999_999))
        self.folder("base", "empty")
        grown = self.file(("base", "grown"), b"x" * 10)
        for piece in range(20):
            with open(grown, "ab") as out:
                out.write(bytes([65 + piece]) * 1500)
        shrunk = self.file(("base", "shrunk"), random_bytes(200_000))
        os.truncate(shrunk, 100)

    def names(self):
        self.folder("names")
        for name in (
            "a", "A name with spaces", ".hidden", "...", "trailing dot.", "trailing space ", "a" * 255, "ü" * 255, "日" * 255,
            "😀" * 127, "tab\there", "new\nline", "back\\slash", "colon:colon", "star*?<>|\"", "Ünïcödé", "ÿ", "ß", "ẞ", "ſ",
            "İstanbul", "ıi", "Σσς", "Ωmega", "ǅ", "Case", "case", "CASE", "cAsE", "éa", "Éa", "e\u0301a", "\x7f", "\x01",
            "\ufffd", "\uffff", "\ufffe", "zz", "ZZ", "Zz",
        ):
            self.file(("names", name), name.encode())
        # Surrogates that stand alone, as WTF-8 has them.
        for name in (b"high \xed\xa0\x80", b"low \xed\xb0\x80", b"\xed\xb0\x80\xed\xa0\x80", b"\xed\xaf\xbf end"):
            self.file(("names", name), name)

    def many(self, count):
        folder = self.folder("many")
        for number in range(count):
            with open(os.path.join(folder, b"a file with number %d" % number), "wb") as out:
                out.write(b"%d\n" % number)
        for number in range(0, count, 7):
            os.unlink(os.path.join(folder, b"a file with number %d" % number))
        for number in range(0, count, 14):
            os.mkdir(os.path.join(folder, b"A DIRECTORY with number %d" % number))

    def deep(self):
        path = self.top
        for level in range(120):
            path = os.path.join(path, b"level %d" % level)
            os.mkdir(path)
            with open(os.path.join(path, b"file"), "wb") as out:
                out.write(b"%d" % level)

    def sparse(self):
        self.folder("sparse")
        for name, size, pieces in (
            ("hole", 10_000_000, []),
            ("end", 5_000_000, [(4_999_000, 1000)]),
            ("start", 20_000_000, [(0, 5000)]),
            ("pieces", 30_000_000, [(n * 1_000_000 + n * 777, 3000 + n) for n in range(29)]),
            ("large", 80_000_000, [(1 << 26, 70_000), (80_000_000 - 5, 5)]),
        ):
            path = self.path("sparse", name)
            with open(path, "wb") as out:
                for at, length in pieces:
                    out.seek(at)
                    out.write(random_bytes(length))
                out.truncate(size)

    def compressed(self):
        folder = self.folder("compressed")
        os.setxattr(folder, "system.ntfs_attrib_be", struct.pack(">I", 0x800))
        with open("/usr/share/common-licenses/GPL-3", "rb") as source:
            text = source.read()
        for name, data in (
            ("text", text), ("texts", text * 20), ("noise", random_bytes(200_000)), ("zeros", bytes(500_000)),
            ("mixed", text + random_bytes(70_000) + bytes(200_000) + text + random_bytes(3)),
            ("short", b"abc" * 100), ("page", b"abcd" * 1024), ("unit", text[:65536].ljust(65536, b"x")),
            ("empty", b""),
        ):
            self.file(("compressed", name), data)
        hole = self.path("compressed", "hole")
        with open(hole, "wb") as out:
            out.seek(1_000_000)
            out.write(text)
        appended = self.file(("compressed", "appended"))
        for piece in range(30):
            with open(appended, "ab") as out:
                out.write(text[piece * 1000:piece * 1000 + 3333])
        self.folder("compressed", "inherits")
        self.file(("compressed", "inherits", "text"), text)

    def streams(self):
        self.folder("streams")
        one = self.file(("streams", "one"), b"unnamed")
        os.setxattr(one, "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
        os.setxattr(one, "user.empty", b"")
        os.setxattr(one, "user.longer", random_bytes(20_000))
        os.setxattr(one, "user.most", random_bytes(65_536))
        os.setxattr(one, "user.Ünï", "wert".encode())
        folder = self.folder("streams", "of a directory")
        os.setxattr(folder, "user.stream", b"x" * 100)
        os.setxattr(folder, "user.larger", b"y" * 10_000)
        # So many that they take several records, and the list of them clusters of its own.
        many = self.file(("streams", "many"), b"")
        for number in range(150):
            os.setxattr(many, f"user.stream number {number}", random_bytes(number * 3))

    def links(self):
        self.folder("links", "elsewhere")
        for name, size in (("small", 10), ("large", 100_000)):
            path = self.file(("links", name), random_bytes(size))
            os.link(path, self.path("links", "elsewhere", f"of {name}"))
        many = self.file(("links", "many"), b"many")
        for number in range(300):
            os.link(many, self.path("links", f"a rather long name of the same file, number {number}"))

    def special(self):
        self.folder("special")
        os.mkfifo(self.path("special", "fifo"))
        os.mknod(self.path("special", "socket"), 0o140644)
        os.mknod(self.path("special", "character"), 0o020644, os.makedev(5, 7))
        os.mknod(self.path("special", "block"), 0o060644, os.makedev(300, 70000))
        self.file(("special", "target"), b"here")
        os.symlink("target", self.path("special", "link"))
        os.symlink("../special/target", self.path("special", "up"))
        os.symlink("/special/target", self.path("special", "absolute"))
        os.symlink("nowhere", self.path("special", "dangling"))
        os.symlink("ü" * 2000, self.path("special", "long"))
        system = self.file(("special", "of the system"), b"IntxLNKx")
        os.setxattr(system, "system.ntfs_attrib_be", struct.pack(">I", 0x4))

    def times(self):
        self.folder("times")
        for name, time in TIMES.items():
            path = self.file(("times", name), b"")
            os.utime(path, ns=(time, time + 100 if time < 0 else time))
        given = self.file(("times", "all four"), b"")
        times = [(131234567890123456 + n * 987654321) for n in range(4)]
        os.setxattr(given, "system.ntfs_times", struct.pack("<4Q", *times))
        early = self.file(("times", "nothing"), b"")
        os.setxattr(early, "system.ntfs_times", struct.pack("<4Q", 1, 2, 3, 4))

    def dos(self):
        self.folder("dos")
        for name, short in (("A long file name.text", b"ALONGF~1.TEX"), ("another one", b"OTHER")):
            path = self.file(("dos", name), name.encode())
            os.setxattr(path, "system.ntfs_dos_name", short)
        folder = self.folder("dos", "Program Files")
        self.file(("dos", "Program Files", "inside"), b"in")
        os.setxattr(folder, "system.ntfs_dos_name", b"PROGRA~1")

    def fragmented(self):
        """A file in many pieces: in what is left between others."""
        folder = self.folder("fragmented")
        names = []
        try:
            while True:
                name = os.path.join(folder, b"%d" % len(names))
                names.append(name)
                with open(name, "wb") as out:
                    out.write(b"%4096d" % len(names))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        for name in names[1::2]:
            os.unlink(name)
        with open(os.path.join(folder, b"in pieces"), "wb") as out:
            try:
                for number in range(len(names) // 4):
                    out.write(b"%4096d" % -number)
                    out.flush()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        for name in names[::6]:
            if os.path.exists(name):
                os.unlink(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("top")
    parser.add_argument("what", nargs="+", help="names of kinds; NAME=NUMBER for those that take one")
    arguments = parser.parse_args()
    filler = Filler(arguments.top)
    for what in arguments.what:
        name, _, number = what.partition("=")
        getattr(filler, name)(*([int(number)] if number else []))


if __name__ == "__main__":
    main()
