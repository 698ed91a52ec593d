/** `slashcloud map` against debugfs, and against the files that the kernel shows. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { makeImage } from "./support/images.js";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import type { Recipe } from "./support/images-recipes.js";
import { main } from "./support/images-serve.js";
import { imageDirectory } from "./support/journal-images.js";

vi.setConfig({ testTimeout: 120_000 });

const memory = imageDirectory();
onEnd(() => rmSync(memory, { recursive: true, force: true }));
const folder = workFolder("map", memory);

afterAll(cleanUp);

interface Range {
  readonly start: number;
  readonly end: number;
  readonly kind: string;
  readonly device: string;
  readonly what?: string;
  readonly path?: string;
  readonly pathBytes?: string;
  readonly inode?: number;
  readonly offset?: number;
  readonly unwritten?: true;
}

function slashcloud(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: "latin1",
    maxBuffer: 1 << 30,
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return stdout;
}

const rangesOf = (image: string): Range[] =>
  slashcloud("map", image, "--json")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(Buffer.from(line, "latin1").toString()));

const pathOf = ({ path, pathBytes }: Range): Buffer =>
  pathBytes === undefined ? Buffer.from(path ?? "") : Buffer.from(pathBytes, "base64");

function readAt(path: string | Buffer, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(path, "r");
  const there = readSync(fd, bytes, 0, length, position);
  closeSync(fd);
  return bytes.subarray(0, there);
}

/** The blocks that dumpe2fs tells to be free. */
async function freeBlocks(image: string): Promise<Set<number>> {
  const free = new Set<number>();
  for (const [, list] of (await run("dumpe2fs", [image])).matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const [, first, last] of (list as string).matchAll(/(\d+)(?:-(\d+))?/g))
      for (let block = Number(first); block <= Number(last ?? first); block++) free.add(block);
  }
  return free;
}

const recipes: readonly (Recipe & { block: number })[] = [
  {
    name: "ext4, 1 KiB blocks",
    block: 1024,
    size: "160M",
    mke2fs: ["-t", "ext4", "-b", "1024"],
    fill: ["--block", "1024", "--extents", "--without", "deep"],
  },
  {
    name: "ext4, 4 KiB blocks, with inline data, an orphan file and meta_bg",
    block: 4096,
    size: "160M",
    mke2fs: ["-t", "ext4", "-b", "4096", "-O", "inline_data,orphan_file,meta_bg,^resize_inode"],
    fill: "--block 4096 --extents --only names links small contents gaps wide nodes".split(" "),
  },
  {
    name: "ext3, 2 KiB blocks",
    block: 2048,
    size: "160M",
    mke2fs: ["-t", "ext3", "-b", "2048"],
    fill: "--block 2048 --without unwritten deep".split(" "),
  },
  {
    name: "ext2, 1 KiB blocks",
    block: 1024,
    size: "160M",
    mke2fs: ["-t", "ext2", "-b", "1024"],
    fill: "--block 1024 --without unwritten deep".split(" "),
  },
];

describe("a map of a disk", () => {
  test.each(recipes.map((recipe) => ({ recipe, name: recipe.name })))("$name", async ({ recipe, name }) => {
    const { block } = recipe;
    const place = join(folder, name.replaceAll(/\W/g, "-"));
    const { image, remove } = await makeImage(recipe, place);
    const inside = join(place, "kernel");
    const ranges = rangesOf(image);
    const [disk, ...rest] = ranges as [Range, ...Range[]];
    const free = await freeBlocks(image);
    const unmount = await mount(image, inside, "ro,loop");
    try {
      expect(disk).toEqual({ disk: 1, start: 0, end: statSync(image).size, kind: "v", device: "/dev/sda" });
      // Each block is in one range if it is in use, else in none.
      let end = 0;
      const gaps: number[] = [];
      for (const range of rest) {
        expect(range.start, JSON.stringify(range)).toBeGreaterThanOrEqual(end);
        for (let at = Math.floor(end / block); at < Math.floor(range.start / block); at++) gaps.push(at);
        end = range.end;
      }
      for (let at = end / block; at < Math.floor(disk.end / block); at++) gaps.push(at);
      expect(gaps.filter((at) => !free.has(at)).slice(0, 10)).toEqual([]);
      expect(gaps.length).toBe(free.size);

      // Bytes of files lie where they are said to; what was never written reads as zeros instead.
      let compared = 0;
      for (const range of rest.filter(({ kind }) => kind === "f")) {
        const bytes = readAt(image, range.start, range.end - range.start);
        const path = Buffer.concat([Buffer.from(inside), pathOf(range)]);
        const shown = readAt(path, range.offset as number, bytes.length);
        const expected = range.unwritten ? Buffer.alloc(shown.length) : bytes.subarray(0, shown.length);
        expect(shown.equals(expected), JSON.stringify(range)).toBe(true);
        compared += shown.length;
      }
      expect(compared).toBeGreaterThan(100_000);

      // Whose each block is, as debugfs looks for it; attributes may be several files'.
      const owned = rest.filter(({ inode, what }) => inode !== undefined && what !== "attributes");
      const commands = join(place, "commands");
      const chosen = owned.map(({ start }) => start / block);
      const batches: string[] = [];
      for (let n = 0; n < chosen.length; n += 200)
        batches.push(`icheck ${chosen.slice(n, n + 200).join(" ")}`);
      writeFileSync(commands, `${batches.join("\n")}\n`);
      const told = await run("debugfs", ["-f", commands, image]);
      const inodes = new Map(
        [...told.matchAll(/^(\d+)\t(\d+)$/gm)].map(([, at, ino]) => [Number(at), Number(ino)]),
      );
      expect(owned.filter(({ start, inode }) => inodes.get(start / block) !== inode).slice(0, 5)).toEqual([]);
      const paths = new Map(owned.map((range) => [range.inode as number, pathOf(range).toString("latin1")]));
      for (const [inode, path] of [...paths].slice(0, 300))
        expect(
          lstatSync(Buffer.concat([Buffer.from(inside), Buffer.from(path, "latin1")]), {
            throwIfNoEntry: false,
          })?.ino ?? inode,
        ).toBe(inode);

      // The fixed metadata of each group.
      const groups = await run("dumpe2fs", [image]);
      const known = (what: string, at: number) =>
        rest.some((range) => range.what === what && range.start <= at * block && at * block < range.end);
      for (const [, at] of groups.matchAll(/Block bitmap at (\d+)/g))
        expect(known("bitmap", Number(at))).toBe(true);
      for (const [, at] of groups.matchAll(/Inode bitmap at (\d+)/g))
        expect(known("bitmap", Number(at))).toBe(true);
      for (const [, from, to] of groups.matchAll(/Inode table at (\d+)-(\d+)/g))
        for (let at = Number(from); at <= Number(to); at++) expect(known("inode table", at)).toBe(true);
      for (const [, at] of groups.matchAll(/Backup superblock at (\d+)/g))
        expect(known("superblock", Number(at))).toBe(true);
    } finally {
      unmount();
      await remove();
    }
  });

  test("has partitions around what is in them, the table's own sectors, and virt-bmap's form", async () => {
    const image = join(folder, "disk.img");
    await run("truncate", ["-s", "64M", image]);
    await run("bash", ["-c", `printf 'label: gpt\\nsize=32M\\nsize=16M\\n' | sfdisk -q ${image}`]);
    const root = join(folder, "root");
    mkdirSync(join(root, "a b"), { recursive: true });
    writeFileSync(join(root, "a b/new\nline"), "x".repeat(5000));
    await run("mke2fs", [
      "-q",
      "-F",
      "-t",
      "ext4",
      "-b",
      "1024",
      "-O",
      "^resize_inode",
      "-d",
      root,
      "-E",
      "offset=1048576",
      image,
      "32M",
    ]);
    const lines = slashcloud("map", image).trim().split("\n");
    expect(lines.slice(0, 6)).toEqual([
      "1 0 4000000 v /dev/sda",
      "1 0 200 t /dev/sda gpt",
      "1 200 400 t /dev/sda gpt",
      "1 400 4400 t /dev/sda gpt",
      "1 100000 2100000 p /dev/sda1",
      "1 100000 100400 m /dev/sda1 boot",
    ]);
    expect(lines).toContain("1 2100000 3100000 p /dev/sda2");
    expect(lines.slice(-2)).toEqual(["1 3ffbe00 3fffe00 t /dev/sda gpt", "1 3fffe00 4000000 t /dev/sda gpt"]);
    const [, start] =
      /^1 ([0-9a-f]+) [0-9a-f]+ f \/dev\/sda1 \/a b\/new\\x0aline$/m.exec(lines.join("\n")) ?? [];
    expect(readAt(image, Number.parseInt(start as string, 16), 100).toString()).toBe("x".repeat(100));
    expect(lines.every((line) => /^1 [0-9a-f]+ [0-9a-f]+ [vptmdfs] \/dev\/sda\d?( .*)?$/.test(line))).toBe(
      true,
    );
    const starts = lines.map((line) => Number.parseInt(line.split(" ")[1] as string, 16));
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
  });

  test("of an MBR has the records of logical partitions", async () => {
    const image = join(folder, "mbr.img");
    await run("truncate", ["-s", "32M", image]);
    await run("bash", [
      "-c",
      `printf 'label: dos\\nsize=4M\\ntype=5\\nsize=4M\\nsize=4M\\n' | sfdisk -q ${image}`,
    ]);
    const tables = rangesOf(image).filter(({ kind }) => kind === "t");
    const { partitiontable } = JSON.parse(await run("sfdisk", ["--json", image]));
    const extended = partitiontable.partitions[1].start * 512;
    expect(tables.map(({ start }) => start)).toEqual([0, extended, expect.any(Number)]);
    for (const { start, end } of tables) {
      expect(end - start).toBe(512);
      expect(readAt(image, start + 510, 2).toString("hex")).toBe("55aa");
    }
  });
});
