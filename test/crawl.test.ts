/** Crawls of images that the kernel made, against the kernel's own mount of them. */
import { spawn } from "node:child_process";
import { closeSync, openSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Crawling } from "../src/daemon/crawling.js";
import type { InodeIndex } from "../src/inference/inode-index.js";
import { expectSame, walk } from "./support/crawl-walk.js";
import { makeImage } from "./support/images.js";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import type { Recipe } from "./support/images-recipes.js";
import { recipes } from "./support/images-recipes.js";
import { busyLoad, imageDirectory, MountedImage, recoverByKernel } from "./support/journal-images.js";

vi.setConfig({ testTimeout: 120_000 });

const memory = imageDirectory();
onEnd(() => rmSync(memory, { recursive: true, force: true }));
const folder = workFolder("crawl", memory);
/** The built module: its thread is a file of its own. */
const built = join(import.meta.dirname, "../dist/daemon/crawling.js");
const lines: string[] = [];
let crawling: Crawling;

beforeAll(async () => {
  const module = (await import(built)) as typeof import("../src/daemon/crawling.js");
  crawling = new module.Crawling((line) => lines.push(line));
});

afterAll(async () => {
  await crawling.stop();
  cleanUp();
});

function crawl(image: string, volume = "sda"): Promise<InodeIndex> {
  lines.length = 0;
  return crawling.crawl({ name: "guest", images: [image] }, volume);
}

const few = ["--only", "names", "deep", "links", "small", "nodes", "wide", "rotated"];
const chosen: readonly Recipe[] = [
  ...recipes.filter(({ name }) =>
    ["a floppy's worth", "ext2 of revision 0", "ext4 with encrypted directories"].some((wanted) =>
      name.startsWith(wanted),
    ),
  ),
  {
    name: "ext4, 1 KiB blocks",
    size: "96M",
    mke2fs: ["-t", "ext4", "-b", "1024"],
    fill: ["--block", "1024", "--extents", ...few],
  },
  {
    name: "ext4 with inline_data, meta_bg and an orphan file",
    size: "96M",
    mke2fs: ["-t", "ext4", "-O", "inline_data,ea_inode,meta_bg,^resize_inode,orphan_file"],
    fill: ["--block", "4096", "--extents", ...few],
  },
  {
    name: "ext4 with a directory of 30,000 entries and a file of 20,000 names",
    size: "128M",
    mke2fs: ["-t", "ext4", "-N", "60000"],
    fill: ["--block", "4096", "--extents", ...few, "--wide", "30000", "--hardlinks", "20000"],
  },
  {
    name: "ext3 without a directory index, 2 KiB blocks",
    size: "96M",
    mke2fs: ["-t", "ext3", "-b", "2048", "-O", "^dir_index,^filetype", "-I", "128"],
    fill: ["--block", "2048", ...few],
  },
];

describe("a crawl finds what the kernel shows of", () => {
  test.each(chosen.map((recipe) => ({ recipe, name: recipe.name })))("$name", async ({ recipe, name }) => {
    const place = join(folder, name.replaceAll(/\W/g, "-"));
    const made = await makeImage(recipe, place);
    const inside = join(place, "kernel");
    const unmount = await mount(made.image, inside, "ro,loop");
    try {
      const expected = walk(inside);
      expect(expected.length).toBeGreaterThan(recipe.size === "64K" ? 15 : 100);
      const index = await crawl(made.image);
      expect(lines).toEqual([]);
      expectSame(index, expected);
    } finally {
      unmount();
      await made.remove();
    }
  });

  test.each(["", "data=journal"])('an image of a guest at work (mounted with "%s")', async (options) => {
    const image = join(folder, "live.img");
    const copy = join(folder, "copy.img");
    await run("truncate", ["-s", "64M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-J", "size=4", image]);
    const guest = new MountedImage(image, options);
    try {
      busyLoad(guest.root, 200, 1);
      guest.crashTo(copy);
    } finally {
      guest.close();
    }
    const index = await crawl(copy);
    expect(lines).toEqual([]);
    expect(recoverByKernel(copy)).toBe(true);
    const unmount = await mount(copy, join(folder, "recovered"), "ro,loop");
    try {
      expectSame(index, walk(join(folder, "recovered")));
    } finally {
      unmount();
    }
  });
});

/** A file system that is filled by a program in it. */
async function filled(name: string, make: readonly string[], program: string): Promise<string> {
  const image = join(folder, name);
  await run("truncate", ["-s", "48M", image]);
  await run("mke2fs", ["-q", "-F", ...make, image]);
  const unmount = await mount(image, `${image}.filled`, "loop");
  await run("bash", ["-ec", `cd "$1"; ${program}; sync -f .`, "bash", `${image}.filled`]);
  unmount();
  return image;
}

/** Turns a byte over. */
function damage(image: string, position: number): void {
  const byte = Buffer.alloc(1);
  const fd = openSync(image, "r+");
  readSync(fd, byte, 0, 1, position);
  byte[0] = (byte[0] as number) ^ 0x55;
  writeSync(fd, byte, 0, 1, position);
  closeSync(fd);
}

async function debugfs(image: string, command: string): Promise<string> {
  return run("debugfs", ["-R", command, image]);
}

describe("a damaged volume", () => {
  test("is crawled but for what is bad, which is said in a few lines", async () => {
    const image = await filled(
      "damaged",
      ["-t", "ext4", "-b", "4096"],
      "mkdir good bad; for n in $(seq 200); do echo > good/$n; echo > bad/$n; done; echo > file",
    );
    const ino = Number(/Inode: (\d+)/.exec(await debugfs(image, "stat file"))?.[1]);
    const [block, offset] =
      /block (\d+), offset (0x[0-9a-f]+)/.exec(await debugfs(image, `imap <${ino}>`))?.slice(1) ?? [];
    damage(image, Number(block) * 4096 + Number(offset) + 4);
    damage(image, Number((await debugfs(image, "blocks bad")).trim().split(" ")[0]) * 4096 + 200);
    const index = await crawl(image);
    expect(lines).toEqual([
      `guest/sda: crawl: passed over inode ${ino}: inode ${ino}: wrong checksum`,
      expect.stringMatching(/^guest\/sda: crawl: passed over inode (\d+): directory \1: .* bad block/),
    ]);
    const paths = new Set([...index.inodes()].map((found) => index.path(found)?.toString()));
    for (let n = 1; n <= 200; n++) expect(paths).toContain(`/good/${n}`);
    expect(index.state(ino)).toBeUndefined();
    expect(index.path(ino)?.toString()).toBe("/file");
  });

  test("of which nothing can be read is an error, and the next crawl goes on", async () => {
    const image = await filled("wrecked", ["-t", "ext4"], "echo > file");
    damage(image, 1024 + 0x18);
    await expect(crawl(image)).rejects.toThrow("superblock");
    await expect(crawl(image, "sda1")).rejects.toThrow("no such volume");
    await expect(crawl(join(folder, "nowhere"))).rejects.toThrow("no such image");
    damage(image, 1024 + 0x18);
    expect((await crawl(image)).path(12)?.toString()).toBe("/file");
  });
});

test("crawls wait for each other, and none keeps the program from ending", async () => {
  const image = await filled("queue", ["-t", "ext4"], "mkdir a; for n in $(seq 2000); do echo > a/$n; done");
  const program = `
    import { Crawling } from ${JSON.stringify(built)};
    const crawling = new Crawling(console.log);
    const spec = { name: "guest", images: [${JSON.stringify(image)}] };
    const told = (index) => console.log([...index.inodes()].length);
    const failed = (error) => console.log(error.message);
    await Promise.all([1, 2, 3].map(() => crawling.crawl(spec, "sda").then(told, failed)));
    const waiting = [1, 2, 3].map(() => crawling.crawl(spec, "sda").then(told, failed));
    await crawling.stop();
    await Promise.all(waiting);
    await crawling.crawl(spec, "sda").then(told, failed);`;
  const script = join(folder, "queue.mjs");
  writeFileSync(script, program);
  const child = spawn(process.execPath, [script]);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  const stopped = "crawls have been stopped\n";
  // 2000 files, their directory, lost+found and the root.
  expect(output).toBe(`2003\n`.repeat(3) + stopped.repeat(4));
  expect(code).toBe(0);
});
