"""Types lines at a shell in a terminal, with the Tab key, and prints what each has become: a JSON list of its words.

Usage: typing.py SHELL ARGUMENT... < LINES; the first line is a command for the shell to begin with.
"""
import json
import os
import pty
import re
import select
import sys
import time

LIMIT = 30  # s for a line


def read_until(fd, pattern, text=""):
    """What the shell writes until the pattern is in it."""
    until = time.monotonic() + LIMIT
    while not (found := re.search(pattern, text, re.S)):
        ready, _, _ = select.select([fd], [], [], max(0, until - time.monotonic()))
        if not ready:
            sys.exit(f"the shell did not come to {pattern}:\n{text}")
        text += os.read(fd, 65536).decode("utf8", "replace")
    return found


lines = sys.stdin.read().splitlines()
pid, fd = pty.fork()
if pid == 0:
    os.execvpe(sys.argv[1], sys.argv[1:], {**os.environ, "TERM": "dumb", "COLUMNS": "500", "LINES": "50"})
# Once it has run something, it reads what is typed. The quotes keep what is typed from looking like the answer.
os.write(fd, lines[0].encode() + b"; echo rea''dy\n")
read_until(fd, "ready\r?\n")
for number, line in enumerate(lines[1:]):
    # After the Tab: to the line's beginning (^A), print its words, with one more at its end (^E).
    os.write(fd, f"{line}\t\x01printf '<%s>' e''nd{number} \x05 sto''p\n".encode())
    found = read_until(fd, rf"<end{number}>((<[^<>]*>)*)<stop>")
    print(json.dumps(re.findall("<([^<>]*)>", found[1])))
os.write(fd, b"exit\n")
os.close(fd)
os.waitpid(pid, 0)
