/** What each block of an image holds, by our crawl, by e2fsprogs and by the kernel's own maps of files. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { BlockKind } from "../src/filesystems/block-kind.js";
import { crawlBlocks } from "../src/filesystems/formats.js";
import { openRawImage } from "../src/images/raw.js";
import { BlockOwners } from "../src/inference/block-owners.js";
import { ExtentTable } from "../src/inference/extent-table.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { makeImage } from "./support/images.js";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { type Recipe, recipes } from "./support/images-recipes.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("owners");

afterAll(cleanUp);

/** Crawls an image as the daemon's thread does. */
function crawl(path: string): { owners: BlockOwners; blockSize: number; blocks: number } {
  const image = openRawImage(path);
  const closed = onEnd(() => image.close());
  let table = new ExtentTable(0);
  let [size, count] = [0, 0];
  const lines: string[] = [];
  crawlBlocks(image, new BlockCache(4 << 20), (line) => lines.push(line), {
    begin: (blockSize, blocks) => {
      [size, count] = [blockSize, blocks];
      table = new ExtentTable(blocks);
    },
    extent: (...extent) => table.extent(...extent),
  });
  expect(lines).toEqual([]);
  closed();
  return { owners: new BlockOwners(count, table), blockSize: size, blocks: count };
}

/** The free blocks, by the bitmaps. */
async function freeBlocks(image: string): Promise<Set<number>> {
  const free = new Set<number>();
  for (const [, list] of (await run("dumpe2fs", [image])).matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const range of list!.split(", ").filter((text) => text !== "")) {
      const [first, last] = range.split("-").map(Number);
      for (let block = first!; block <= (last ?? first!); block++) free.add(block);
    }
  }
  return free;
}

/** The inodes that have blocks, by debugfs, which goes through all inodes for each list. */
function inodesOf(image: string, blocks: readonly number[]): Map<number, number> {
  const commands: string[] = [];
  for (let at = 0; at < blocks.length; at += 900)
    commands.push(`icheck ${blocks.slice(at, at + 900).join(" ")}`);
  const script = `${image}.icheck`;
  writeFileSync(script, `${commands.join("\n")}\n`);
  const { stdout } = spawnSync("debugfs", ["-f", script, image], { encoding: "latin1", maxBuffer: 1 << 30 });
  const found = new Map<number, number>();
  for (const [, block, inode] of stdout.matchAll(/^(\d+)\t(\d+|<block not found>)$/gm))
    found.set(Number(block), inode!.startsWith("<") ? 0 : Number(inode));
  return found;
}

/** The kernel's maps of all files of a tree: inode, and of each extent its first block, count, place and whether it is unwritten. */
async function kernelMaps(
  top: string,
  blockSize: number,
): Promise<[number, number, number, number, boolean][]> {
  const program = `
import fcntl, os, struct, sys
size = int(sys.argv[2])
for _, _, names, folder in os.fwalk(os.fsencode(sys.argv[1])):
    for name in names:
        info = os.lstat(name, dir_fd=folder)
        if info.st_mode & 0o170000 != 0o100000: continue
        fd = os.open(name, os.O_RDONLY, dir_fd=folder)
        at = 0
        while True:
            buffer = bytearray(struct.pack("=QQIIII", at, 2**63 - 1 - at, 0, 0, 512, 0) + bytes(512 * 56))
            fcntl.ioctl(fd, 0xC020660B, buffer)
            count = struct.unpack_from("=I", buffer, 20)[0]
            last = count == 0
            for n in range(count):
                logical, physical, length, _, _, flags = struct.unpack_from("=QQQQQI", buffer, 32 + n * 56)
                last |= flags & 1
                at = logical + length
                # Inline, or not allocated yet.
                if flags & 0x206 == 0: print(info.st_ino, logical // size, length // size, physical // size, int(flags & 0x800 != 0))
            if last: break
        os.close(fd)
`;
  const text = await run("python3", ["-c", program, top, `${blockSize}`]);
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number))
    .map(([inode, logical, count, physical, unwritten]) => [
      inode!,
      logical!,
      count!,
      physical!,
      unwritten === 1,
    ]);
}

const few = "names links small gaps attributes wide rotated contents".split(" ");
const make = (name: string, block: number, features: string, ...fill: string[]): Recipe => ({
  name,
  size: "96M",
  mke2fs: [
    "-t",
    name.slice(0, 4),
    "-b",
    `${block}`,
    ...(features === "" ? [] : ["-O", features]),
    "-N",
    "4096",
  ],
  fill: ["--block", `${block}`, "--only", ...few, ...fill],
});
const chosen: readonly Recipe[] = [
  ...recipes.filter(({ name }) => name.startsWith("a floppy's") || name.startsWith("ext2 of revision 0")),
  make("ext2, 4 KiB blocks", 4096, ""),
  make("ext3, 1 KiB blocks", 1024, ""),
  make("ext4, 4 KiB blocks", 4096, "", "--extents", "--with", "unwritten"),
  make("ext4, 1 KiB blocks", 1024, "", "--extents", "--with", "unwritten"),
  make("ext4 with meta_bg", 1024, "meta_bg,^resize_inode", "--extents", "--with", "unwritten"),
  make(
    "ext4 with meta_bg and 32-bit descriptors",
    1024,
    "meta_bg,^resize_inode,^64bit,^flex_bg",
    "--extents",
  ),
  make("ext4 with sparse_super2", 1024, "sparse_super2,^resize_inode", "--extents"),
  make("ext4 with a superblock copy in each group", 1024, "^sparse_super,^resize_inode", "--extents"),
  make("ext4 with bigalloc", 1024, "bigalloc", "--extents", "--cluster", "16"),
  make("ext4 with mmp", 4096, "mmp", "--extents"),
  make("ext4 with inline data and an orphan file", 1024, "inline_data,orphan_file", "--extents"),
  make("ext4 with ea_inode", 4096, "ea_inode", "--extents", "--with", "large_attributes"),
  {
    ...make("ext4 with quotas", 4096, "", "--extents"),
    after: async (image) =>
      void (await run("tune2fs", ["-O", "project,quota", "-Q", "usrquota,grpquota,prjquota", image])),
  },
];

describe("each block is known for what it is, of", () => {
  test.each(chosen.map((recipe) => ({ recipe, name: recipe.name })))("$name", async ({ recipe, name }) => {
    const made = await makeImage(recipe, join(folder, name.replaceAll(/\W/g, "-")));
    const { owners, blockSize, blocks } = crawl(made.image);
    const free = await freeBlocks(made.image);
    const used = Array.from({ length: blocks }, (_, block) => block).filter((block) => !free.has(block));
    // Of a cluster only some blocks may be a file's.
    const isClustered = recipe.mke2fs.some((option) => option.includes("bigalloc"));
    const inodes = inodesOf(made.image, used);
    const wrong: string[] = [];
    for (let block = 0; block < blocks; block++) {
      const kind = owners.find(block);
      if (free.has(block)) {
        if (kind !== BlockKind.NONE) wrong.push(`${block} is free, and held for ${kind}`);
        continue;
      }
      const inode = inodes.get(block) ?? 0;
      if (inode > 8 ? owners.inode !== inode : kind === BlockKind.NONE && !isClustered)
        wrong.push(`${block} is of inode ${inode}, and held for ${kind} of ${owners.inode}`);
    }
    expect(wrong.slice(0, 20)).toEqual([]);
    const inside = join(folder, "kernel");
    const unmount = await mount(made.oracleImage, inside, `ro,${made.mountOptions}`);
    try {
      const maps = await kernelMaps(inside, blockSize);
      expect(maps.length).toBeGreaterThan(5);
      for (const [inode, logical, count, physical, isUnwritten] of maps) {
        for (let n = 0; n < count; n++) {
          owners.find(physical + n);
          const found = [owners.inode, owners.logical, owners.kind === BlockKind.UNWRITTEN];
          if (`${found}` !== `${[inode, logical + n, isUnwritten]}`)
            wrong.push(`${physical + n}: ${found} instead of ${[inode, logical + n, isUnwritten]}`);
        }
      }
      expect(wrong.slice(0, 20)).toEqual([]);
    } finally {
      unmount();
      await made.remove();
    }
  });
});
