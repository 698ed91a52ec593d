#!/usr/bin/env python3
"""Applies a guest's events to what its tree was, and compares with what it has become (both from snapshot.py).

All that events tell must come out: names, types, modes, owners, sizes, times of change, devices, links' targets and
counts, extended attributes. Of directories, they do not tell sizes and times. Their numbers have no gap, whatever happens.
"""
import argparse
import base64
import calendar
import json
import re
import stat
import time
from collections import Counter

TYPES = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "character": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}


def nanoseconds(text):
    whole, part = re.fullmatch(r"(.*)\.(\d{9})Z", text).groups()
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(part)


def latin(text, encoded):
    return base64.b64decode(encoded).decode("latin-1") if encoded else text.encode().decode("latin-1")


def value(text):
    if text.startswith("base64:"):
        return base64.b64decode(text[7:]).decode("latin-1")
    return text.encode().decode("latin-1")


class Model:
    def __init__(self, start):
        self.names = {path: entry["inode"] for path, entry in start.items()}
        self.inodes = {entry["inode"]: entry for entry in start.values()}
        self.aside = {}  # By inode: where a file is whose name was taken before it got its new one.
        self.failures = []
        self.counts = Counter()
        self.last = 0
        self.reasons = []  # Of gaps.

    def fail(self, why, event):
        if len(self.failures) < 20:
            self.failures.append(f"{why}: {json.dumps(event)[:500]}")

    def apply(self, event):
        kind = event["event"]
        self.counts[kind] += 1
        if self.last and event["id"] != self.last + 1:
            self.fail(f"number after {self.last}", event)
        self.last = event["id"]
        # After one, nobody can tell from the events what the tree is: their numbers alone must still be right.
        if kind == "gap":
            self.reasons.append(event["reason"])
        if self.counts["gap"]:
            return
        if "path" not in event or "type" not in event:
            return self.fail("no path or no type", event)
        if event["path"].startswith("/lost+found"):
            return
        path = latin(event["path"], event.get("pathBytes"))
        ino = event["inode"]
        if kind in ("created", "symlink") and self.names.get(path) != ino:
            if path in self.names:
                self.fail("the name is taken", event)
            self.names[path] = ino
            self.inodes[ino] = {"mode": TYPES[event["type"]], "device": "", "target": "", "xattrs": {}, "inode": ino}
        elif kind == "linked":
            if path in self.names:
                self.fail("the name is taken", event)
            self.names[path] = ino
        elif kind in ("deleted", "unlinked"):
            if self.names.get(path) != ino:
                return self.fail("no such name", event)
            del self.names[path]
            if kind == "deleted":
                self.inodes.pop(ino, None)
                return
        elif kind == "renamed":
            if "from" not in event:
                return self.fail("no former path", event)
            self.rename(latin(event["from"], event.get("fromBytes")), path, ino, event)
        elif self.names.get(path) != ino:
            self.fail("no such name", event)
        if ino not in self.inodes:
            return self.fail("no such inode", event)
        self.set(self.inodes[ino], event)

    def rename(self, old, path, ino, event):
        if self.names.get(old) != ino:
            # Names that changed places: this one has been put aside.
            old = self.aside.pop(ino, None)
            if old is None:
                return self.fail("no such name", event)
        if path in self.names:
            other = self.names[path]
            self.aside[other] = f"\0{other}"
            self.move(path, self.aside[other])
        self.move(old, path)

    def move(self, old, path):
        for name in [old] + [other for other in self.names if other.startswith(old + "/")]:
            self.names[path + name[len(old) :]] = self.names.pop(name)

    @staticmethod
    def set(inode, event):
        new = event.get("new", {})
        for field in ("size", "uid", "gid", "nlink", "device"):
            if field in new:
                inode[field] = new[field]
        if "mode" in new:
            inode["mode"] = stat.S_IFMT(inode["mode"]) | int(new["mode"], 8)
        if "mtime" in new:
            inode["mtime"] = nanoseconds(new["mtime"])
        if "target" in new:
            inode["target"] = latin(new["target"], None)
        if event["event"] == "xattr":
            gone = event["old"]["xattrs"] if "old" in event else inode["xattrs"]
            for name in list(gone):
                if name not in new["xattrs"]:
                    inode["xattrs"].pop(name, None)
            for name, text in new["xattrs"].items():
                if name.startswith("user."):
                    inode["xattrs"][name] = value(text)

    def compare(self, end):
        fields = ("inode", "mode", "nlink", "uid", "gid", "size", "mtime", "device", "target", "xattrs")
        out = []
        for path in sorted(end.keys() | self.names.keys()):
            if path not in end or path not in self.names:
                out.append(f"{path!r}: {'only in the events' if path in self.names else 'not in the events'}")
                continue
            want, got = end[path], self.inodes.get(self.names[path], {})
            skipped = ("nlink", "size", "mtime") if stat.S_ISDIR(want["mode"]) else ()
            for field in fields:
                if field not in skipped and got.get(field) != want[field]:
                    out.append(f"{path!r}: {field}: the guest {want[field]}, the events {got.get(field)}")
        self.failures += out[:20]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", required=True)
    parser.add_argument("--end", required=True)
    parser.add_argument("--events", required=True)
    options = parser.parse_args()
    model = Model(json.load(open(options.start)))
    with open(options.events, "rb") as lines:
        for line in lines:
            model.apply(json.loads(line))
    if not model.counts["gap"]:
        model.compare(json.load(open(options.end)))
    print(json.dumps({"events": sum(model.counts.values()), **model.counts, "reasons": model.reasons, "failures": model.failures}))


if __name__ == "__main__":
    main()
