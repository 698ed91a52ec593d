// A guest that appends to a log and fsyncs: the kernel, with the image mounted read-write over a loop device. How long
// each line takes to those who wait for it in the tree.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { folder } from "./images.mjs";
import { slashcloud } from "./mounts.mjs";

const PROBE = `
import os, subprocess, sys, time
inside, tree, who, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
log = os.open(inside + "/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

def append(n):
    os.write(log, b"a line of a log %06d\\n" % n)
    os.fsync(log)
    return time.perf_counter()

def size_waiter():
    def wait(n, size):
        while True:
            try:
                if os.stat(tree + "/log").st_size == size: return
            except FileNotFoundError: pass
            time.sleep(0.0002)
    return wait

def event_waiter():
    events = os.open(tree + "/.events", os.O_RDONLY)
    os.lseek(events, 0, os.SEEK_END)
    pending = b""
    def wait(n, size):
        nonlocal pending
        wanted = b'"new":{"size":%d,' % size
        while wanted not in pending:
            new = os.read(events, 1 << 20)
            pending = (pending + new)[-100000:]
            if not new: time.sleep(0.0002)
        pending = b""
    return wait

def tail_waiter():
    tail = subprocess.Popen(["tail", "-F", "-n", "0", "-s", "0.1", tree + "/log"], stdout=subprocess.PIPE)
    time.sleep(1)
    def wait(n, size):
        while b"%06d" % n not in tail.stdout.readline(): pass
    wait.end = tail.kill
    return wait

append(999999)
time.sleep(2)
wait = {"size": size_waiter, "event": event_waiter, "tail": tail_waiter}[who]()
times = []
for n in range(count):
    start = append(n)
    wait(n, os.fstat(log).st_size)
    times.append(time.perf_counter() - start)
    # Not in step with anything.
    time.sleep((n * 37 % 100) / 2000)
getattr(wait, "end", lambda: None)()
times.sort()
print(times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000)
`;

/**
 * ms from the return of fsync, `count` times, to: the new `size` in the tree; the `event` in .events; the line that
 * `tail` -F -s 0.1 prints.
 */
export async function latency(who, count) {
  const image = join(folder, "live.img");
  const inside = join(folder, "guest");
  mkdirSync(inside, { recursive: true });
  rmSync(image, { force: true });
  execFileSync("truncate", ["-s", "256M", image]);
  execFileSync("mkfs.ext4", ["-q", "-F", image]);
  const mounted = await slashcloud(image);
  try {
    execFileSync("mount", ["-o", "loop,noatime", image, inside]);
    try {
      const [median, p99] = execFileSync("python3", ["-c", PROBE, inside, mounted.path, who, String(count)], {
        encoding: "utf8",
      })
        .trim()
        .split(" ")
        .map(Number);
      return { median, p99 };
    } finally {
      execFileSync("umount", [inside]);
    }
  } finally {
    await mounted.end();
  }
}
