#!/usr/bin/env python3
"""Whether what reader.py saw of the tree can have been seen in a guest that did what guest.py wrote down.

A moment of the guest is a number: 2n after its nth system call, 2n + 1 after the sync that followed it. Each observation
allows some moments. It is right if one of them

- is a commit: a sync, an fsync, or any moment where the journal has committed by itself (--any: everywhere);
- is not before a sync that the tree had shown when the look began, nor after the last call begun when it ended;
- is not before one that another observation has proved before: what is older is counted as late (how late, in ms), and
  is wrong if the same thing has been seen newer, or after --grace ms.

A file's bytes must be the file's own, in their place, and written since the last sync that was shown or there then.
"""
import argparse
import errno
import json
import stat
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict

MODE, NLINK, UID, GID, SIZE, MTIME, CTIME, BLOCKS, RDEV = range(9)
GONE = {errno.ENOENT, errno.ESTALE}
AWAY = {errno.ENOTCONN, errno.ECONNABORTED}
NEVER = 1 << 60
# How long a file may be shown without the zeros at its end, ns.
HELD_BACK = 40 * 10**9


def core(status):
    """What is the same at a commit whether or not bytes have been written back."""
    whole = status[:SIZE] + status[SIZE + 1 : BLOCKS] + status[RDEV:]
    return whole if stat.S_ISREG(status[MODE]) else whole + [status[SIZE]]


class Values:
    """Values of one thing over time."""

    def __init__(self, first=None):
        self.moments = [-1]
        self.values = [first]

    def set(self, moment, value):
        if self.values[-1] == value:
            return
        if self.moments[-1] == moment:
            self.values[-1] = value
            return
        self.moments.append(moment)
        self.values.append(value)

    def spans(self, ok, since, last):
        """Where the value is right, of what touches these moments: [first moment, moment after]."""
        at, end = max(0, bisect_right(self.moments, since) - 1), bisect_right(self.moments, last)
        ends = self.moments[at + 1 : end + 1] + [NEVER]
        return [
            (begin, after)
            for begin, after, value in zip(self.moments[at:end], ends, self.values[at:end])
            if ok(value)
        ]

    def within(self, first, last):
        """All values between two moments."""
        return self.values[max(0, bisect_right(self.moments, first) - 1) : bisect_right(self.moments, last)]


class Bytes:
    """Who wrote each unit of a file, as of one moment; grows with the moments asked for."""

    def __init__(self):
        self.changes = []
        self.writes = {}  # By moment: first unit and the one after.
        self.at = -1
        self.next = 0
        self.units = []
        self.seen = []

    @staticmethod
    def apply(units, moment, change):
        kind, *about = change
        if kind == "w":
            first, count = about[0] // 16, about[1] // 16
            units += [0] * (first + count - len(units))
            units[first : first + count] = [moment // 2] * count
        elif kind in "te":
            size = about[0] // 16
            del units[size:]
            units += [0] * (size - len(units))
        else:
            first, count = about[0] // 16, about[1] // 16
            last = min(first + count, len(units))
            units[first:last] = [0] * max(0, last - first)

    def forward(self, moment):
        while self.next < len(self.changes) and self.changes[self.next][0] <= moment:
            self.apply(self.units, *self.changes[self.next])
            self.next += 1
        self.at = moment

    def later(self, last):
        """The states from the moment reached to `last`."""
        states = [list(self.units)]
        for moment, change in self.changes[self.next :]:
            if moment > last:
                break
            units = list(states[-1])
            self.apply(units, moment, change)
            states.append(units)
        return states


class History:
    def __init__(self, path, every):
        self.names = defaultdict(Values)
        self.inodes = defaultdict(Values)
        self.links = {}
        self.targets = defaultdict(set)  # Inodes that have been links to somewhere.
        self.attributes = defaultdict(Values)
        self.folders = defaultdict(list)  # By inode: (moment, name, inode).
        self.files = defaultdict(Bytes)  # By file id.
        self.lives = defaultdict(Values)  # File ids by inode.
        self.begun = []  # When each moment's call began,
        self.moments = []  # and which moment.
        self.shown = []  # When a sync was seen in the tree,
        self.shown_moments = []
        self.commits = [0]
        self.full = []  # Moments by which another whole transaction has been committed.
        self.has_fast_commits = False
        self.between = []  # Pairs of moments between which the journal has committed by itself.
        self.every = every
        last_count, last_full, last_moment = None, None, 0
        for line in open(path):
            entry = json.loads(line)
            if "i" in entry:
                self.add_call(entry)
                continue
            moment = 2 * entry["s"] + 1
            self.begun.append(entry["t"][0])
            self.moments.append(moment)
            for ino, status in entry.get("a", ()):
                self.inodes[ino].set(moment, status)
            if entry.get("equal") and entry["kind"] == "sync":
                self.shown.append(entry["equal"])
                self.shown_moments.append(moment)
            self.commits.append(moment)
            before, after = entry["jbd2"]
            if before is None or before != last_full or after != before:
                self.full.append(moment)
            last_full = after
            was, now = entry["fast"]
            if now:
                self.has_fast_commits = True
                before, after = before + was, after + now
            # Others may call sync, too; and what they began may not be counted yet as this sync begins.
            if before is None or (last_count is not None and before != last_count) or after > before + 1:
                self.between.append((last_moment, moment))
            last_count, last_moment = after, moment
        self.between.append((last_moment, NEVER))

    def add_call(self, entry):
        moment = 2 * entry["i"]
        self.begun.append(entry["t"][0])
        self.moments.append(moment)
        for folder, name, ino in entry["n"]:
            values = self.names[folder, name]
            if (values.values[-1] or 0) != ino:
                values.set(moment, ino)
                self.folders[folder].append((moment, name, ino))
        for ino, status in entry["a"]:
            self.inodes[ino].set(moment, status)
            if status is None:
                self.attributes[ino].set(moment, {})
        for kind, about, *more in entry.get("d", ()):
            if kind == "f":
                self.lives[about].set(moment, more[0])
            elif kind == "l":
                self.links.setdefault(about, Values()).set(moment, more[0])
                self.targets[more[0]].add(about)
            elif kind == "x":
                values = dict(self.attributes[about].values[-1] or {})
                if more[1] is None:
                    values.pop(more[0], None)
                else:
                    values[more[0]] = more[1]
                self.attributes[about].set(moment, values)
            else:
                file = self.files[about]
                file.changes.append((moment, (kind, *more)))
                if kind == "w":
                    file.writes.setdefault(moment, []).append((more[0] // 16, (more[0] + more[1]) // 16))

    def last(self, time):
        """The last moment that can be seen at a time."""
        return max(0, self.moments[bisect_right(self.begun, time) - 1])

    def first(self, time):
        """The first moment that may still be seen: the last sync that the tree had shown."""
        at = bisect_right(self.shown, time) - 1
        return self.shown_moments[at] if at >= 0 else 0

    def commit(self, first, last):
        """The first commit between two moments, both included; None: there is none."""
        if first > last:
            return None
        if self.every:
            return first
        at = bisect_left(self.commits, first)
        best = self.commits[at] if at < len(self.commits) and self.commits[at] <= last else None
        spot = bisect_left(self.between, (first, 0))
        for begin, end in self.between[max(0, spot - 1) : spot + 1]:
            inner = max(begin, first)
            if inner <= min(end, last) and (best is None or inner < best):
                best = inner
        return best

    def full_before(self, moment):
        """The last moment not after this one by which another whole transaction had been committed."""
        at = bisect_right(self.full, moment) - 1
        return self.full[at] if at >= 0 else -1

    def until_full(self, ino, spans):
        """Spans of a directory's values, with the time until a whole transaction tells that they are others."""
        gone = [moment for moment, value in zip(self.inodes[ino].moments, self.inodes[ino].values) if value is None]
        longer = []
        for begin, end in spans:
            at, never = bisect_left(self.full, end), bisect_left(gone, end)
            longer.append((begin, min([NEVER, *self.full[at : at + 1], *gone[never : never + 1]])))
        return longer

    def life(self, ino, moment):
        """How often an inode has been freed by then."""
        return sum(status is None for status in self.inodes[ino].within(0, moment))

    def died(self, ino, last, since=0):
        """Whether an inode has lost its last name by then."""
        return any(status is None or status[NLINK] == 0 for status in self.inodes[ino].within(since, last)[1:])


def both(one, other):
    """Where two lists of spans are right at once."""
    return sorted(
        (max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) < min(b, d)
    )


class Checker:
    def __init__(self, history, grace):
        self.history = history
        self.grace = grace
        self.failures = []
        self.wrong = 0
        self.counts = Counter()
        self.late = []
        self.proved = [0]  # Rising moments that observations have proved,
        self.proved_at = [0]  # and when.
        self.newest = {}
        self.listings = {}

    def fail(self, why, *about):
        self.wrong += 1
        if len(self.failures) < 20:
            self.failures.append(f"{why}: " + " ".join(str(part)[:400] for part in about))

    def judge(self, spans_since, started, ended, thing, about):
        """Whether one of the spans, which are asked for from a moment on, can have been seen then."""
        history = self.history
        last, first = history.last(ended), history.first(started)
        spans = spans_since(first)
        proved = self.proved[bisect_right(self.proved_at, started) - 1]
        moment = self.earliest(spans, max(first, proved), last)
        if moment is None:
            moment = self.earliest(spans, first, last)
            if moment is None:
                ever = spans_since(-1)
                old = self.earliest(ever, 0, last)
                self.fail(
                    "never so at a commit" if old is None else f"older (moment {old}) than a sync that had been shown",
                    *about,
                    f"moments {first}-{last}, right in {ever[-3:]}",
                )
                return
            end = max(end for begin, end in spans if begin <= last and end > first)
            late = (started - self.proved_at[bisect_left(self.proved, end)]) / 1e6
            self.late.append(late)
            if late > self.grace:
                self.fail(f"{late:.0f} ms late", *about)
        if thing[0] == "inode":
            # Another file in the same inode is another thing: the kernel has another node for it.
            thing = (*thing, history.life(thing[1], moment))
        if moment < self.newest.get(thing, 0):
            newer = self.earliest(spans, self.newest[thing], last)
            if newer is None:
                self.fail("went back", *about, f"seen as of {self.newest[thing]}, now as of {moment}")
            else:
                moment = newer
        self.newest[thing] = max(moment, self.newest.get(thing, 0))
        if moment > self.proved[-1]:
            self.proved.append(moment)
            self.proved_at.append(max(ended, self.proved_at[-1]))

    def earliest(self, spans, first, last):
        found = [self.history.commit(max(begin, first), min(end - 1, last)) for begin, end in spans]
        return min((moment for moment in found if moment is not None), default=None)

    def check(self, kind, started, ended, *about):
        *where, seen = about
        if where[1:] == ["lost+found"]:
            return
        self.counts[kind] += 1
        self.started = started
        if isinstance(seen, int) and seen in AWAY:
            self.counts["away"] += 1
            return
        getattr(self, f"check_{kind}")(started, ended, where, seen)

    def spans_of_inode(self, status, since, last):
        ino, rest = status[0], status[1:]
        wanted = core(rest)
        history = self.history
        values = history.inodes[ino]
        if not history.has_fast_commits or not stat.S_ISDIR(rest[MODE]):
            return values.spans(lambda value: value is not None and core(value) == wanted, since, last)
        # Of a directory that was there before, a fast commit tells which names it has now, and so its links; its inode
        # is not recorded (ext4_fc_track_inode): it stays as the last whole transaction has it.
        links = values.spans(lambda value: value is not None and value[NLINK] == rest[NLINK], since, last)
        same = lambda value: value is not None and self.is_same_but_links(value, rest)
        return both(links, history.until_full(ino, values.spans(same, history.full_before(since), last)))

    @staticmethod
    def is_same_but_links(one, other):
        return core(one[:NLINK] + [0] + one[NLINK + 1 :]) == core(other[:NLINK] + [0] + other[NLINK + 1 :])

    def is_gone(self, started, ended, where, error):
        history = self.history
        last = history.last(ended)
        if error not in GONE:
            self.fail("error", errno.errorcode.get(error, error), *where)
        elif not history.died(where[0], last):
            values = history.names[where[0], to_latin(where[1])]
            absent = lambda since: values.spans(lambda ino: not ino, since, last)
            self.judge(absent, started, ended, ("name", *where), ["absent", *where])

    def check_stat(self, started, ended, where, seen):
        if isinstance(seen, int):
            return self.is_gone(started, ended, where, seen)
        history = self.history
        first, last = history.first(started), history.last(ended)
        if seen[1 + NLINK] == 0 and history.died(seen[0], last, first):
            # It was removed between the look at its name and that at the inode, as it may be on any system.
            self.counts["removed on the way"] += 1
            return
        values = history.names[where[0], to_latin(where[1])]
        names = lambda since: values.spans(lambda ino: ino == seen[0], since, last)
        inodes = lambda since: self.spans_of_inode(seen, since, last)
        spans = lambda since: both(names(since), inodes(since))
        if self.earliest(spans(first), first, last) is None and self.earliest(names(first), first, last) is not None:
            # The name first, and what it stands for a little later.
            if self.earliest(inodes(first), first, last) is not None:
                self.counts["name before inode"] += 1
                spans = inodes
        self.judge(spans, started, ended, ("inode", seen[0]), [*where, seen])
        self.check_size(seen, first, last)

    def check_size(self, seen, first, last):
        if not stat.S_ISREG(seen[1]):
            return
        earlier = self.history.first(self.started - HELD_BACK)
        sizes = {status[SIZE] for status in self.history.inodes[seen[0]].within(earlier, last) if status}
        if not self.is_size(seen[1 + SIZE], sizes):
            self.fail("a size that the file never had", seen, sorted(sizes)[:20], f"moments {first}-{last}")

    @staticmethod
    def is_size(size, sizes):
        """
        Whether a file that has had these sizes can be shown with this one: a write of several blocks is committed with
        some of them only, or its size is held back until the bytes are there; punching a hole into bytes that have not
        been written back logs its end as the size (ext4_update_disksize_before_punch).
        """
        return bool(sizes) and min(sizes) <= size <= max(sizes)

    def check_link(self, started, ended, where, seen):
        if isinstance(seen, int):
            # The name may stand for something else by now.
            if seen not in GONE | {errno.EINVAL}:
                self.fail("error", errno.errorcode.get(seen, seen), *where)
            return
        history = self.history
        last = history.last(ended)
        names = history.names[where[0], to_latin(where[1])]
        target = to_latin(seen)

        def spans(since):
            found = []
            for ino in set(names.within(since, last)) & history.targets[target]:
                right = history.links[ino].spans(lambda value: value == target, since, last)
                found += both(right, names.spans(lambda value: value == ino, since, last))
            return sorted(found)

        self.judge(spans, started, ended, ("link", *where), [*where, seen])

    def check_xattr(self, started, ended, where, seen):
        if isinstance(seen, int):
            return self.is_gone(started, ended, where, seen) if seen in GONE else None
        history = self.history
        last = history.last(ended)
        attribute, value = seen
        names = history.names[where[0], to_latin(where[1])]
        right = lambda ino, since: history.attributes[ino].spans(
            lambda all: (all or {}).get(attribute) == value, since, last
        )
        named = lambda ino, since: names.spans(lambda other: other == ino, since, last)

        def spans(since):
            inodes = set(names.within(since, last)) - {None, 0}
            return sorted(span for ino in inodes for span in both(right(ino, since), named(ino, since)))

        def later(since):
            """The name first, and the attribute of what it stands for a little later."""
            found = []
            for ino in set(names.within(since, last)) - {None, 0}:
                at = self.earliest(named(ino, since), since, last)
                if at is not None and self.earliest(right(ino, since), at, last) is not None:
                    found += right(ino, since)
            return sorted(found)

        first = history.first(started)
        if self.earliest(spans(first), first, last) is None and later(first):
            self.counts["name before attribute"] += 1
            spans = later
        self.judge(spans, started, ended, ("xattr", *where, attribute), [*where, seen])

    def check_list(self, started, ended, where, seen):
        history = self.history
        (folder,) = where
        first, last = history.first(started), history.last(ended)
        if isinstance(seen, int):
            if seen not in GONE or not history.died(folder, last):
                self.fail("error", errno.errorcode.get(seen, seen), "list", folder)
            return
        if not seen and history.died(folder, last):
            return
        names = {to_latin(name) for name in seen} - {"lost+found"}
        if len(names) != len(set(seen) - {"lost+found"}) or len(set(seen)) != len(seen):
            self.fail("a name twice", folder, seen)
        at, start, now = self.listings.get(folder, (0, 0, frozenset()))
        events = history.folders[folder]
        now = set(now)
        while at < len(events) and events[at][0] <= first:
            start = self.step(now, events[at])
            at += 1
        self.listings[folder] = (at, start, frozenset(now))
        spans, always, ever = [], set(now), set(now)
        begin = start
        while True:
            is_same = now == names
            end = NEVER
            while at < len(events):
                end = events[at][0]
                if end > last:
                    break
                moment = end
                if is_same:
                    spans.append((begin, end))
                while at < len(events) and events[at][0] == moment:
                    self.step(now, events[at])
                    at += 1
                always &= now
                ever |= now
                begin = moment
                is_same = now == names
                end = NEVER
            if is_same:
                spans.append((begin, end))
            break
        if self.earliest(spans, first, last) is None:
            # A listing may take several requests; what comes and goes meanwhile may be in it or not.
            if names <= ever and always <= names:
                self.counts["lists while names changed"] += 1
                return
            if history.died(folder, last) and names <= {name for moment, name, _ in events if moment <= last}:
                # A removed directory that is held open, as it was last.
                self.counts["lists of removed directories"] += 1
                return
            extra, missing = sorted(names - ever), sorted(always - names)
            self.fail("a listing that never was", folder, "extra", extra, "missing", missing, f"moments {first}-{last}")
            return
        self.judge(lambda _: spans, started, ended, ("list", folder), ["list", folder, len(names)])

    @staticmethod
    def step(names, event):
        moment, name, ino = event
        if ino:
            names.add(name)
        else:
            names.discard(name)
        return moment

    def check_read(self, started, ended, where, seen):
        history = self.history
        if isinstance(seen, int):
            if seen != errno.ESTALE:
                self.fail("error", errno.errorcode.get(seen, seen), "read")
            return
        status, between, length, runs = seen
        ino = status[0]
        first, last = history.first(started), history.last(ended)
        spans = lambda since: self.spans_of_inode(status, since, last)
        if history.died(ino, last) and self.earliest(spans(first), first, last) is None:
            # A deleted file that is held open: it stays as it was last.
            self.counts["reads of files that were deleted"] += 1
            if not any(run[3] for run in runs):
                return
        else:
            self.judge(spans, started, between, ("inode", ino), ["open", status])
            self.check_size(status, first, last)
        owners = {run[2] for run in runs if run[3]} | {run[2] for run in runs if run[2] < 0}
        if any(owner < 0 for owner in owners):
            return self.fail("bytes that nobody wrote", status, runs[:12])
        lives = history.lives[ino]
        if len(owners) > 1 or not owners <= set(lives.values):
            return self.fail("another file's bytes", status, runs[:12], "its own", lives.values[-5:])
        if not owners:
            alive = set(lives.within(first, last)) - {None}
            if len(alive) != 1:
                return
            owners = alive
        (file_id,) = owners
        if history.died(ino, last, history.lives[ino].moments[history.lives[ino].values.index(file_id)]):
            return
        self.check_bytes(history.files[file_id], first, last, length, runs, [file_id, *status])

    def check_bytes(self, file, first, last, length, runs, status):
        if file.at > first:
            return
        file.forward(first)
        states = None
        about = (status, f"moments {first}-{last}")
        file.seen += [0] * (length // 16 - len(file.seen))
        for begin, count, _, version in runs:
            end = begin + count
            if version:
                if 2 * version > last:
                    self.fail("bytes not yet written", [begin, count, version], *about)
                elif 2 * version <= first:
                    if any(unit != version for unit in file.units[begin:end]) or end > len(file.units):
                        states = states or file.later(last)
                        wrong = [u for u in range(begin, end) if not any(u < len(s) and s[u] == version for s in states)]
                        if wrong:
                            self.fail("bytes older than a sync that had been shown", [begin, count, version], *about)
                elif not any(a <= begin and end <= b for a, b in file.writes.get(2 * version, ())):
                    self.fail("bytes in another place", [begin, count, version], *about)
                if max(file.seen[begin:end]) > version:
                    self.fail("bytes went back", [begin, count, version], max(file.seen[begin:end]), *about)
                file.seen[begin:end] = [version] * count
            elif any(file.units[begin:end]) or end > len(file.units):
                states = states or file.later(last)
                bad = [u for u in range(begin, end) if not any(u < len(units) and units[u] == 0 for units in states)]
                if bad:
                    appended = all(any(u >= len(units) for units in states) for u in bad)
                    why = "zeros where bytes are to come" if appended else "zeros in place of bytes"
                    self.counts[why] += 1
                    if not appended:
                        self.fail(why, [begin, count], f"first at {bad[0]} of {len(file.units)}", *about)
        if length // 16 != len(file.units):
            states = states or file.later(last)
            sizes = {len(units) * 16 for units in states}
            # Zeros at the end may be held back longer.
            if any(length < 16 * len(units) and not any(units[length // 16 :]) for units in states):
                return
            if not self.is_size(length, sizes):
                self.fail("a length that the file never had", length, sorted(sizes), *about)

    def report(self):
        late = sorted(self.late)
        return {
            "observations": sum(self.counts[kind] for kind in ("stat", "list", "link", "xattr", "read")),
            **self.counts,
            "commits": len(self.history.commits),
            "late": len(late),
            "latest": round(late[-1], 1) if late else 0,
            "wrong": self.wrong,
            "failures": self.failures,
        }


def to_latin(name):
    return name.encode("utf-8", "surrogateescape").decode("latin-1")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--history", required=True)
    parser.add_argument("--observed", required=True)
    parser.add_argument("--any", action="store_true", help="the guest's kernel committed whenever it liked")
    parser.add_argument("--grace", type=float, default=5000, help="ms that a thing may be shown older than another")
    options = parser.parse_args()
    checker = Checker(History(options.history, options.any), options.grace)
    for line in open(options.observed):
        checker.check(*json.loads(line))
    print(json.dumps(checker.report()))


if __name__ == "__main__":
    sys.exit(main())
