/** Files that are written over in place: their bytes come after the commit that tells of the change, and leave no trace. */
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("late-bytes");

afterAll(cleanUp);

test("bytes that reach the disk long after the change was told, and among many other changes, are seen", async () => {
  const image = join(folder, "guest.img");
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  const inside = join(folder, "inside");
  const leave = await mount(image, inside, "loop");
  writeFileSync(join(inside, "file"), "bytes 0");
  leave();
  const unmount = await mount(image, inside, "loop,commit=600");
  const served = await serve(join(folder, "cloud"), { g: image });
  const shown = (): string => readFileSync(join(served.guest("g"), "file"), "utf8");
  let others = 0;
  const commit = (count: number): void => {
    for (let n = 0; n < count; n++) writeFileSync(join(inside, `other-${others++}`), "");
    const last = openSync(join(inside, `other-${others++}`), "w");
    fsyncSync(last);
    closeSync(last);
  };
  const committed = () =>
    expect.poll(() => existsSync(join(served.guest("g"), `other-${others - 1}`))).toBe(true);

  /** Writes over `old` bytes; false: they have been written to the disk before they were to be. */
  const isSeen = async (old: string, bytes: string): Promise<boolean> => {
    const fd = openSync(join(inside, "file"), "r+");
    try {
      writeSync(fd, bytes);
      commit(0);
      await committed();
      // One that is read soon after the start counts as changed when it is read.
      if (shown() !== old) return false;
      commit(200);
      await committed();
      // The change was told long ago, and somebody reads the file all the time.
      for (let n = 0; n < 65; n++) {
        if (shown() !== old) return false;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
    await expect.poll(shown, { timeout: 10_000 }).toBe(bytes);
    return true;
  };
  // A sync of whoever else is on this machine writes them, too.
  let wasSeen = false;
  for (let n = 0; !wasSeen && n < 5; n++) wasSeen = await isSeen(`bytes ${n}`, `bytes ${n + 1}`);
  expect(wasSeen).toBe(true);
  unmount();
  expect(await served.stop()).toBe(0);
}, 120_000);
