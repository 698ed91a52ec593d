/**
 * The map of names of a volume that has no journal is made of what its follower has agreed on: a crawl of the disk would see
 * files that come and go before anybody looks, which no event ever tells of.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { cleanUp, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { told, until } from "./support/told-volume.js";

const folder = workFolder("crawl-kept");
afterAll(cleanUp);

const debugfs = (image: string, request: string) => run("debugfs", ["-w", "-R", request, image]);

/** A guest that has an NTFS volume mounted while it does something. */
async function inNtfs(image: string, does: (inside: string) => void): Promise<void> {
  const inside = `${image}-inside`;
  mkdirSync(inside, { recursive: true });
  await run("ntfs-3g", [image, inside]);
  const unmount = onEnd(() => unmountNow(inside));
  does(inside);
  unmount();
}

describe.each([
  {
    format: "vfat",
    size: "4M",
    make: (image: string) => run("mkfs.vfat", ["-F", "12", image]),
    add: (image: string, file: string) => run("mcopy", ["-i", image, file, "::"]),
    remove: (image: string, name: string) => run("mdel", ["-i", image, `::${name}`]),
  },
  {
    format: "ext2",
    size: "4M",
    make: (image: string) => run("mke2fs", ["-q", "-F", "-t", "ext2", image]),
    add: (image: string, file: string) => debugfs(image, `write ${file} ${basename(file)}`),
    remove: (image: string, name: string) => debugfs(image, `rm ${name}`),
  },
  {
    format: "ntfs",
    size: "4M",
    make: (image: string) => run("mkntfs", ["-q", "-F", "-f", image]),
    add: (image: string, file: string) =>
      inNtfs(image, (inside) => copyFileSync(file, join(inside, basename(file)))),
    remove: (image: string, name: string) => inNtfs(image, (inside) => rmSync(join(inside, name))),
  },
])("$format", ({ format, size, make, add, remove }) => {
  test("a file that goes before anybody looks is none of the map's, though it was there when that was made", async () => {
    const image = join(folder, `${format}.img`);
    await run("truncate", ["-s", size, image]);
    await make(image);
    const [first, second, third] = ["first", "second", "third"].map((name) => {
      const path = join(folder, name);
      writeFileSync(path, name);
      return path;
    }) as [string, string, string];
    await add(image, first);
    const { events, hasMap, followed, look, stop } = told(folder, format, image);
    await until(() => followed()[0] !== undefined, look);
    await add(image, second);
    await until(hasMap);
    await remove(image, "second");
    // In the place of the second one, whose number it has.
    await add(image, third);
    await until(() => events().length > 0, look);
    await remove(image, "third");
    await until(() => events().some(({ event }) => event === "deleted" || event === "unlinked"), look);
    expect(events().map(({ event, path }) => `${event} ${path}`)).toEqual([
      "created /third",
      "deleted /third",
    ]);
    stop();
  }, 60_000);
});
