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
  writeFileSync(join(inside, "file"), "old bytes");
  leave();
  const unmount = await mount(image, inside, "loop,commit=600");
  const served = await serve(join(folder, "cloud"), { g: image });
  const shown = (): string => readFileSync(join(served.guest("g"), "file"), "utf8");
  const fd = openSync(join(inside, "file"), "r+");
  writeSync(fd, "new");
  const commit = (): void => {
    const other = openSync(join(inside, "other-0"), "w");
    fsyncSync(other);
    closeSync(other);
  };
  commit();
  await expect.poll(() => existsSync(join(served.guest("g"), "other-0"))).toBe(true);
  // One that is read soon after the start counts as changed when it is read.
  expect(shown()).toBe("old bytes");
  for (let n = 0; n < 200; n++) writeFileSync(join(inside, `other-${n}`), "");
  commit();
  await expect.poll(() => readFileSync(join(served.guest("g"), "other-199"), "utf8")).toBe("");
  // The change was told long ago, and somebody reads the file all the time.
  for (let n = 0; n < 65; n++) {
    expect(shown()).toBe("old bytes");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  fdatasyncSync(fd);
  closeSync(fd);
  await expect.poll(shown, { timeout: 3000 }).toBe("new bytes");
  unmount();
  expect(await served.stop()).toBe(0);
}, 120_000);
