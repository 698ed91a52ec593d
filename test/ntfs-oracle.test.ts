import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { crawlBlocks, crawlFileSystem } from "../src/filesystems/formats.js";
import { openNtfs } from "../src/filesystems/ntfs/open.js";
import { openImage } from "../src/images/open.js";
import { IndexSink } from "../src/inference/index-sink.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { compareWalks, show, type Walk, walkKernel, walkOurs } from "./oracle/compare.js";
import { mountNtfs } from "./support/compressed.js";
import { told, walk } from "./support/crawl-walk.js";
import { cleanUp, workFolder } from "./support/images-mount.js";
import type { Served } from "./support/images-serve.js";
import { fragmentMft } from "./support/ntfs-fragment.js";
import { makeNtfsImage, type NtfsRecipe } from "./support/ntfs-images.js";
import { ServedTogether } from "./support/served-together.js";

const folder = workFolder("ntfs");

afterAll(cleanUp);

/** How long one volume may take, all in all, ms. */
const limit = 600_000;
/** As many differences as a reader can take in. */
const shown = 25;
/** What ntfs-3g tells when it is asked by name. */
const asked = ["attrib", "times", "acl", "reparse_data", "dos_name", "ea", "crtime"].map(
  (name) => `system.ntfs_${name}`,
);

const all = ["base", "names", "deep", "sparse", "streams", "links", "special", "times"];

const recipes: readonly NtfsRecipe[] = [
  { name: "as mkntfs makes it", size: "64M", mkntfs: [], fill: [...all, "compressed"], least: 600 },
  { name: "clusters of 512", size: "32M", mkntfs: ["-c", "512"], fill: [...all, "compressed"], least: 600 },
  {
    name: "clusters of 1K",
    size: "32M",
    mkntfs: ["-c", "1024"],
    fill: ["base", "streams", "compressed"],
    least: 30,
  },
  {
    name: "clusters of 2K",
    size: "32M",
    mkntfs: ["-c", "2048"],
    fill: ["base", "links", "compressed"],
    least: 330,
  },
  { name: "clusters of 8K", size: "64M", mkntfs: ["-c", "8192"], fill: all, least: 600 },
  {
    name: "clusters of 64K",
    size: "128M",
    mkntfs: ["-c", "65536"],
    fill: [...all, "many=1000"],
    least: 1500,
  },
  {
    name: "clusters of 256K",
    size: "256M",
    mkntfs: ["-c", "262144"],
    fill: ["base", "names", "links"],
    least: 360,
  },
  {
    name: "clusters of 2M",
    size: "1G",
    mkntfs: ["-c", "2097152"],
    fill: ["base", "sparse", "links"],
    least: 330,
  },
  { name: "sectors of 4K", size: "64M", mkntfs: ["-s", "4096"], fill: [...all, "compressed"], least: 600 },
  { name: "sectors of 1K", size: "64M", mkntfs: ["-s", "1024", "-c", "4096"], fill: all, least: 600 },
  {
    name: "sectors of 2K",
    size: "64M",
    mkntfs: ["-s", "2048", "-c", "2048"],
    fill: ["base", "links"],
    least: 330,
  },
  { name: "12,000 names", size: "64M", mkntfs: [], fill: ["many=12000"], least: 11_000 },
  {
    name: "3,000 names, clusters of 512",
    size: "64M",
    mkntfs: ["-c", "512"],
    fill: ["many=3000"],
    least: 2700,
  },
  { name: "in pieces", size: "16M", mkntfs: [], fill: ["streams", "links", "fragmented"], least: 1000 },
  { name: "in small pieces", size: "12M", mkntfs: ["-c", "512"], fill: ["fragmented"], least: 500 },
  {
    name: "compressed as a whole",
    size: "64M",
    mkntfs: ["-C"],
    fill: ["base", "sparse", "streams"],
    least: 30,
  },
  {
    name: "an MFT in pieces",
    size: "32M",
    mkntfs: ["-c", "1024"],
    fill: ["base", "names", "streams", "many=300"],
    after: (image) => fragmentMft(image, 150),
    least: 300,
  },
  { name: "an empty volume", size: "2M", mkntfs: ["-L", "Löcher"], fill: ["times"], least: 9 },
];

/** The attribute that ntfs-3g cannot tell of a volume's top: it takes the descriptor that mkntfs has written for bad. */
const EIO = 5;
/** The record of $Bitmap. */
const BITMAP = 6;

const UNTOLD_OF_TOP = Buffer.from("system.ntfs_acl").toString("hex");

/** Files whose times are not those of the volume, by the attribute that has these as they are. */
function wrongTimes(walk: Walk): string[] {
  const name = Buffer.from("user.guest.system.ntfs_times").toString("hex");
  return [...walk.entries.values()].flatMap(({ path, xattrs, mtime, atime, ctime }) => {
    const value = xattrs?.[name];
    if (typeof value !== "string") return [];
    const bytes = Buffer.from(value, "hex");
    const times = [8, 16, 24].map((at) => `${(bytes.readBigUInt64LE(at) - 116444736000000000n) * 100n}`);
    return `${times}` === `${[mtime, atime, ctime]}`
      ? []
      : [`${show(path)}: ${[mtime, atime, ctime]} for ${times}`];
  });
}

function shortened(difference: string): string {
  return difference.length > 300 ? `${difference.slice(0, 300)}…` : difference;
}

/** Whether a crawl of the volume tells what `find` has told of it. */
function expectSameMap(image: string, found: readonly string[]): void {
  const source = openImage(image);
  try {
    const sink = new IndexSink(2 ** 30);
    const log: string[] = [];
    expect(crawlFileSystem(source, new BlockCache(8 << 20), (line) => log.push(line), sink)?.bad).toBe(0);
    expect(log).toEqual([]);
    // See above for times before 1970.
    const isTold = (line: string) => !/^(\S+ ){7}-/.test(line);
    const ours = told(sink.index);
    const lines = new Set(found);
    expect(
      ours
        .filter(isTold)
        .filter((line) => !lines.has(line))
        .slice(0, 10),
    ).toEqual([]);
    expect(ours.length).toBe(found.length);
  } finally {
    source.close();
  }
}

/** Whether the clusters that files have are just those that $Bitmap says are in use. */
function expectSameClusters(image: string): void {
  const source = openImage(image);
  try {
    const cache = new BlockCache(8 << 20);
    let used = Buffer.alloc(0);
    const twice: number[] = [];
    const crawled = crawlBlocks(source, cache, () => {}, {
      begin: (_, clusters) => {
        used = Buffer.alloc(Math.ceil(clusters / 8));
      },
      extent: (first, count) => {
        for (let cluster = first; cluster < first + count; cluster++) {
          const bit = 1 << (cluster & 7);
          if ((used[cluster >> 3]! & bit) !== 0) twice.push(cluster);
          used[cluster >> 3]! |= bit;
        }
      },
    });
    expect(crawled?.bad).toBe(0);
    expect(twice).toEqual([]);
    const fs = openNtfs(source, cache, () => {});
    const bitmap = Buffer.alloc(used.length);
    expect(fs.read(BITMAP, 0, bitmap.length, bitmap, 0)).toBe(used.length);
    // The bits past the last cluster are set.
    const last = used.length - 1;
    expect(bitmap.subarray(0, last).equals(used.subarray(0, last))).toBe(true);
  } finally {
    source.close();
  }
}

/** As many volumes as one server shows. */
const together = 6;
const batches = Array.from({ length: Math.ceil(recipes.length / together) }, (_, batch) => {
  const place = join(folder, `${batch}`);
  const makers = recipes.slice(batch * together, (batch + 1) * together).map((recipe, i) => async () => {
    const own = join(place, `${i}`);
    const image = await makeNtfsImage(recipe, own);
    return { image, remove: () => rm(own, { recursive: true, force: true }) };
  });
  return new ServedTogether(place, makers);
});

async function compare(recipe: NtfsRecipe, image: string, served: Served, guest: string): Promise<void> {
  const mounted = `${image}-ntfs-3g`;
  const unmount = await mountNtfs(image, mounted, "ro,streams_interface=xattr");
  try {
    const expected = await walkKernel(mounted, asked);
    const guestAsked = asked.map((name) => `user.guest.${name}`);
    const ours = await walkOurs(served.volume(guest), served.guest(guest), guestAsked);
    const top = { theirs: expected.entries.get("2e"), ours: ours.entries.get("2e") };
    if (top.theirs?.xattrs?.[UNTOLD_OF_TOP] === EIO) {
      delete top.theirs.xattrs[UNTOLD_OF_TOP];
      delete top.ours?.xattrs?.[Buffer.from("user.guest.").toString("hex") + UNTOLD_OF_TOP];
    }
    expect(wrongTimes(ours).map(shortened)).toEqual([]);
    // Before 1970 ntfs-3g tells nanoseconds below 0, which the kernel does not take.
    for (const [path, theirs] of expected.entries)
      for (const field of ["mtime", "atime", "ctime"] as const)
        if (theirs[field]?.startsWith("-")) theirs[field] = ours.entries.get(path)?.[field] as string;
    const { differences, compared } = compareWalks(expected, ours, {
      // ntfs-3g knows nothing of holes, and tells no size of its own for reads.
      untold: ["segments", "segmentCount", "blksize"],
    });
    expect(differences.slice(0, shown).map(shortened), served.log()).toEqual([]);
    expect(compared).toBeGreaterThan(recipe.least);
    expectSameMap(image, walk(mounted));
    expectSameClusters(image);
  } finally {
    await unmount();
  }
}

describe.concurrent("a volume of NTFS is what ntfs-3g shows of it", () => {
  test.each(recipes.map((recipe, i) => ({ i, recipe, name: recipe.name })))(
    "$name",
    ({ i, recipe }) =>
      batches[Math.floor(i / together)]!.use(i % together, ({ image }, served, guest) =>
        compare(recipe, image, served, guest),
      ),
    limit,
  );
});
