/** An image that the kernel has mounted over a loop device, so that a test writes to it as a guest does. */
import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, openSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { loopDevice, mount, run } from "./images-mount.js";

export interface WrittenGuest {
  readonly image: string;
  /** Where it is mounted. */
  readonly inside: string;
  /** Writes a file, and has the file system commit. */
  write(name: string, text?: string): void;
  unmount(): void;
}

export async function writtenGuest(
  folder: string,
  name: string,
  options: readonly string[] = [],
): Promise<WrittenGuest> {
  const image = join(folder, `${name}.img`);
  writeFileSync(image, "");
  truncateSync(image, 64 << 20);
  await run("mkfs.ext4", ["-q", ...options, image]);
  const loop = await loopDevice(image);
  const inside = join(folder, `${name}-inside`);
  const unmount = await mount(loop.device, inside, "noatime");
  return {
    image,
    inside,
    write: (file, text = "text\n") => {
      const fd = openSync(join(inside, file), "w");
      writeSync(fd, text);
      fsyncSync(fd);
      closeSync(fd);
      execFileSync("sync", ["-f", inside]);
    },
    unmount: () => {
      unmount();
      loop.free();
    },
  };
}
