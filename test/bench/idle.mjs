// What watching costs while nothing happens: images of guests that run, copied in the midst of it, at rest.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { folder } from "./images.mjs";
import { atRest, processorShare, serving } from "./mounts.mjs";

const run = (program, ...args) => execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });

/** Images of `count` guests, as they are while their guests run. */
function makeImages(count) {
  const of = join(folder, "idle");
  rmSync(of, { recursive: true, force: true });
  mkdirSync(of, { recursive: true });
  const first = join(of, "first.img");
  run("truncate", "-s", "64M", first);
  run("mkfs.ext4", "-q", "-F", first);
  const point = join(of, "point");
  mkdirSync(point);
  run("mount", "-o", "loop", first, point);
  try {
    run(
      "sh",
      "-c",
      'cd "$1" && mkdir -p a/b c && seq 1000 > a/log && sync -f . && seq 10 >> a/log && sync a/log',
      "sh",
      point,
    );
    return Array.from({ length: count }, (_, n) => {
      const image = join(of, `guest-${n}.img`);
      run("cp", "--sparse=always", first, image);
      return `guest-${n}=${image}`;
    });
  } finally {
    run("umount", point);
  }
}

/** Percent of one core that watching `count` guests at rest takes, over `seconds`. */
export async function idle(count, seconds) {
  const served = await serving(makeImages(count));
  try {
    await atRest(served.pid, 1);
    return await processorShare(served.pid, seconds);
  } finally {
    await served.end();
    rmSync(join(folder, "idle"), { recursive: true, force: true });
  }
}
