// A guest that appends to a log and fsyncs: the kernel, with the image mounted read-write over a loop device.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { folder } from "./images.mjs";
import { slashcloud } from "./mounts.mjs";

const PROBE = `
import os, sys, time
inside, tree = sys.argv[1:3]
log = os.open(inside + "/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
times = []
for n in range(500):
    os.write(log, b"a line of a log %06d\\n" % n)
    os.fsync(log)
    start = time.perf_counter()
    size = os.fstat(log).st_size
    while True:
        try:
            if os.stat(tree + "/log").st_size == size: break
        except FileNotFoundError: pass
        time.sleep(0.0002)
    times.append(time.perf_counter() - start)
    # Not in step with anything.
    time.sleep((n * 37 % 100) / 2000)
times.sort()
print(times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000, len(times))
`;

/** ms from the return of fsync to the new size in the tree. */
export async function latency(image) {
  const inside = join(folder, "guest");
  mkdirSync(inside, { recursive: true });
  const mounted = await slashcloud(image);
  try {
    execFileSync("mount", ["-o", "loop,noatime", image, inside]);
    try {
      const [median, p99, count] = execFileSync("python3", ["-c", PROBE, inside, mounted.path], {
        encoding: "utf8",
      })
        .trim()
        .split(" ")
        .map(Number);
      return { median, p99, count };
    } finally {
      execFileSync("umount", [inside]);
    }
  } finally {
    await mounted.end();
  }
}
