/** Thin and cached volumes of LVM: their metadata by thin-provisioning-tools and LVM, their contents by the kernel. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import type { Source } from "../src/images/image.js";
import { IoError } from "../src/images/io-error.js";
import { openImage } from "../src/images/open.js";
import { CachedSource } from "../src/volumes/lvm/cached-source.js";
import { ThinPool } from "../src/volumes/lvm/thin-pool.js";
import { findLogicalVolumes, findVolumes } from "../src/volumes/volumes.js";
import { compareWalks, walkKernel, walkOurs } from "./oracle/compare.js";
import { copyImage, makeImage } from "./support/images.js";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { asPart, LvmDisks, withVolume } from "./support/lvm.js";
import { CHUNK, makeMetadata, type Places, ThinPoolFiles, thinXml } from "./support/thin-pool.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MIB = 1 << 20;
const EXTENT = 4 * MIB;
const DATA = 96 * MIB;
const METADATA = 4 * MIB;
const folder = workFolder("lvm-thin");

afterAll(cleanUp);

async function makeFileSystem(name: string): Promise<string> {
  const { image } = await makeImage(
    {
      name,
      size: "24M",
      mke2fs: ["-t", "ext4", "-b", "1024", "-U", "random", "-J", "size=1"],
      fill: ["--block", "1024", "--only", "names", "contents", "links", "small", "attributes"],
    },
    join(folder, name),
  );
  return image;
}

/** Metadata of a cache by cache_restore(8). */
async function cacheMetadata(
  name: string,
  version: number,
  isDirty: boolean,
  ...more: string[]
): Promise<string> {
  const file = join(folder, `${name}.cmeta`);
  const mappings = [1, 3000, 3900].map(
    (block) =>
      `<mapping cache_block="${block}" origin_block="${block - 1}" dirty="${isDirty && block === 3900}"/>`,
  );
  writeFileSync(
    `${file}.xml`,
    `<superblock uuid="" block_size="128" nr_cache_blocks="4000" policy="smq" hint_width="4">
<mappings>${mappings.join("\n")}</mappings><hints></hints></superblock>`,
  );
  writeFileSync(file, Buffer.alloc(8 * MIB));
  await run("cache_restore", [
    "-q",
    "-i",
    `${file}.xml`,
    "-o",
    file,
    "--metadata-version",
    `${version}`,
    ...more,
  ]);
  await run("cache_check", ["-q", file]);
  return file;
}

/** What a guest has done since: some is other, some is gone. */
async function changed(image: string, to: string, word: string): Promise<string> {
  await copyImage(image, to);
  const unmount = await mount(to, join(folder, "changing"), "loop");
  await run("sh", [
    "-c",
    `cd '${join(folder, "changing")}' && echo ${word} > ${word} && head -c 3000000 /dev/urandom > large && rm -rf small`,
  ]);
  unmount();
  return to;
}

function thin(text: string, name: string, device: number, size: number): string {
  return withVolume(
    text,
    name,
    ', "VISIBLE"',
    size / EXTENT,
    `type = "thin"\nthin_pool = "pool"\ntransaction_id = 0\ndevice_id = ${device}`,
  );
}

/** Makes a group whose pool has thin volumes of 40 MiB with these contents. Its metadata is in stripes, its data in parts. */
async function makeGroup(
  name: string,
  volumes: Readonly<Record<string, string>>,
  more = (text: string) => text,
) {
  const images = [0, 1].map((n) => join(folder, `${name}-${n}.img`));
  for (const image of images) await run("truncate", ["-s", "192M", image]);
  const disks = await LvmDisks.open(folder, images);
  const [first, second] = disks.devices as [string, string];
  await disks.lvm("vgcreate", "vg", first, second);
  await disks.create("vg", "data", "40M", first);
  await disks.lvm("lvextend", "-L", `${DATA}b`, "vg/data", second);
  await disks.create("vg", "metadata", "8M", "-i", "2", "-I", "16k");
  for (const one of ["c", "w", "x"])
    for (const part of ["origin", "fast", "meta"]) await disks.create("vg", one + part, "24M");
  await disks.edit("vg", (text) => {
    let edited = asPart(asPart(text, "data", "pool_tdata"), "metadata", "pool_tmeta");
    edited = withVolume(
      edited,
      "pool",
      ', "VISIBLE"',
      DATA / EXTENT,
      `type = "thin-pool"\nmetadata = "pool_tmeta"\npool = "pool_tdata"\ntransaction_id = 1
       chunk_size = ${CHUNK / 512}\ndiscards = "passdown"\nzero_new_blocks = 1`,
    );
    for (const [n, volume] of Object.keys(volumes).entries()) edited = thin(edited, volume, n + 1, 40 * MIB);
    return more(edited);
  });
  const files = new ThinPoolFiles(folder, { data: DATA, metadata: METADATA });
  const fill = async (contents: readonly string[]): Promise<void> => {
    await files.write(contents.map((image, n) => ({ device: n + 1, image })));
    await disks.fill("vg", "pool_tdata", files.data);
    await disks.fill("vg", "pool_tmeta", files.metadata);
  };
  await fill(Object.values(volumes));
  return { images, disks, fill };
}

function volumesOf(images: readonly string[]) {
  const tables = images.map((image, n) => findVolumes(openImage(image), `sd${"ab"[n]}`, () => {}));
  return findLogicalVolumes(tables, () => {});
}

function bytesOf(source: Source): Buffer {
  const bytes = Buffer.alloc(source.size);
  expect(source.read(bytes, 0, bytes.length, 0)).toBe(bytes.length);
  return bytes;
}

test("thin volumes, their snapshots and cached ones are what the kernel shows of the same contents", async () => {
  const root = await makeFileSystem("root");
  const volumes = {
    root,
    "root-before": await changed(root, join(folder, "before.img"), "before"),
    home: await makeFileSystem("home"),
  };
  const { images, disks } = await makeGroup("all", volumes, (text) => {
    let edited = text;
    for (const [c, mode] of [
      ["c", "writethrough"],
      ["w", "writeback"],
      ["x", "writeback"],
    ] as const) {
      edited = asPart(edited, `${c}origin`, `${c}cached_corig`);
      edited = asPart(edited, `${c}fast`, `${c}pool_cdata`);
      edited = asPart(edited, `${c}meta`, `${c}pool_cmeta`);
      edited = withVolume(
        edited,
        `${c}pool`,
        "",
        6,
        `type = "cache-pool"\ndata = "${c}pool_cdata"\nmetadata = "${c}pool_cmeta"\nmetadata_format = 2
         chunk_size = 128\ncache_mode = "${mode}"\npolicy = "smq"`,
      );
      edited = withVolume(
        edited,
        `${c}cached`,
        ', "VISIBLE"',
        6,
        `type = "cache"\ncache_pool = "${c}pool"\norigin = "${c}cached_corig"`,
      );
    }
    return thin(edited, "unknown", 77, 40 * MIB);
  });
  for (const c of ["c", "x"]) await disks.fill("vg", `${c}cached_corig`, volumes.home);
  await disks.fill("vg", "xpool_cmeta", await cacheMetadata("clean", 2, false));
  await disks.fill("vg", "wpool_cmeta", await cacheMetadata("dirty", 1, true));
  disks.close();
  const served = await serve(join(folder, "cloud"), { guest: images.join(",") });
  const kernel = { ...volumes, ccached: volumes.home, xcached: volumes.home };
  for (const [name, image] of Object.entries(kernel)) {
    const unmount = await mount(image, join(folder, "kernel"), "ro,loop");
    const expected = await walkKernel(join(folder, "kernel"));
    unmount();
    const volume = served.volume("guest", `vg-${name.replaceAll("-", "--")}`);
    const { differences, compared } = compareWalks(expected, await walkOurs(volume, served.guest("guest")));
    expect(differences.slice(0, 10), `${name}\n${served.log()}`).toEqual([]);
    expect(compared).toBeGreaterThan(100);
  }
  expect(served.log()).toContain("vg-unknown: not shown: its thin pool does not know it");
  expect(served.log()).toContain(
    "vg-wcached: not shown: its cache (writeback) may hold what is not on its disk yet",
  );
  expect(served.log()).not.toContain("vg-pool");
  expect(await served.stop()).toBe(0);
});

test("a volume goes on while its pool changes", async () => {
  const before = await makeFileSystem("before");
  const { images, disks, fill } = await makeGroup("live", { one: before });
  const [volume] = volumesOf(images).filter(({ name }) => name === "vg-one");
  const whole = (image: string) => Buffer.concat([readFileSync(image), Buffer.alloc(16 * MIB)]);
  expect(bytesOf(volume!.source).equals(whole(before))).toBe(true);
  const served = await serve(join(folder, "live-cloud"), { guest: images.join(",") });
  const after = await changed(before, join(folder, "after.img"), "after");
  await fill([after]);
  expect(bytesOf(volume!.source).equals(whole(after))).toBe(true);
  const file = join(served.volume("guest", "vg-one"), "after");
  const read = () => run("cat", [file]).catch(() => "");
  for (const begun = performance.now(); (await read()) !== "after\n"; await sleep(50))
    if (performance.now() - begun > 90_000) throw new Error(`it never came\n${served.log()}`);
  const unmount = await mount(after, join(folder, "live-kernel"), "ro,loop");
  const expected = await walkKernel(join(folder, "live-kernel"));
  unmount();
  const ours = await walkOurs(served.volume("guest", "vg-one"), served.guest("guest"));
  expect(compareWalks(expected, ours).differences.slice(0, 10), served.log()).toEqual([]);
  expect(await served.stop()).toBe(0);
  disks.close();
});

test("each place in a large pool is where thin_dump says", async () => {
  const blocks = 400_000;
  const places: Places = new Map();
  for (let device = 1; device <= 300; device++) {
    const mapped = new Map<number, number>();
    const count = device === 200 ? 90_000 : device % 7;
    for (let n = 0; n < count; n++) mapped.set(n * 3 + (device % 3), (n * 7919 + device) % blocks);
    places.set(device, mapped);
  }
  const file = join(folder, "large.metadata");
  await makeMetadata(file, 16 * MIB, thinXml(places, blocks, 5));
  const metadata = openImage(file);
  const data: Source = { size: blocks * CHUNK, read: () => 0 };
  const pool = new ThinPool(metadata, data, CHUNK / 512, () => {});
  const dumped = await run("thin_dump", [file]);
  let device = 0;
  let checked = 0;
  for (const [, id, block, place, from, to, length] of dumped.matchAll(
    /<device dev_id="(\d+)"|origin_block="(\d+)" data_block="(\d+)"|origin_begin="(\d+)" data_begin="(\d+)" length="(\d+)"/g,
  )) {
    if (id !== undefined) {
      device = Number(id);
      expect(pool.has(device)).toBe(true);
      continue;
    }
    for (let n = 0; n < Number(length ?? 1); n++) {
      const at = pool.placeOf(device, Number(block ?? from) + n);
      if (at !== (Number(place ?? to) + n) * CHUNK)
        expect([device, block, at]).toEqual([device, block, place]);
      checked++;
    }
  }
  expect(checked).toBeGreaterThan(90_000);
  expect(pool.placeOf(200, 1)).toBe(-1);
  expect(pool.placeOf(200, 2 ** 40)).toBe(-1);
  expect(() => pool.placeOf(500, 0)).toThrow("does not have a volume any more");
  expect(pool.has(500)).toBe(false);
  metadata.close();
});

test("a cache that holds back writes is read for as long as its guest has shut it down", async () => {
  const clean = await cacheMetadata("one", 2, false);
  const isClean = async (file: string) => {
    const metadata = openImage(file);
    try {
      return (
        new CachedSource({ size: 1, read: () => 1 }, metadata, () => {}).read(Buffer.alloc(1), 0, 1, 0) === 1
      );
    } catch (error) {
      expect((error as Error).message).toContain("may hold what is not on its disk yet");
      return false;
    } finally {
      metadata.close();
    }
  };
  expect(await isClean(clean)).toBe(true);
  expect(await isClean(await cacheMetadata("two", 1, false))).toBe(true);
  expect(await isClean(await cacheMetadata("three", 1, true))).toBe(false);
  for (const version of [1, 2])
    expect(await isClean(await cacheMetadata("four", version, false, "--omit-clean-shutdown"))).toBe(false);
  // In use, and shut down again.
  const log: string[] = [];
  const metadata = openImage(clean);
  const source = new CachedSource({ size: 1, read: () => 1 }, metadata, (line) => log.push(line));
  const used = await cacheMetadata("five", 2, false, "--omit-clean-shutdown");
  const kept = readFileSync(clean);
  writeFileSync(clean, readFileSync(used), { flag: "r+" });
  for (let n = 0; n < 2; n++) expect(() => source.read(Buffer.alloc(1), 0, 1, 0)).toThrow(IoError);
  expect(log).toHaveLength(1);
  writeFileSync(clean, Buffer.alloc(4096), { flag: "r+" });
  expect(() => source.read(Buffer.alloc(1), 0, 1, 0)).toThrow("has no superblock");
  writeFileSync(clean, kept, { flag: "r+" });
  expect(source.read(Buffer.alloc(1), 0, 1, 0)).toBe(1);
  // Any other bytes are refused, or clean as before.
  for (let n = 0; n < 400; n++) {
    const bytes = Buffer.from(kept);
    bytes[(n * 7919) % 40_960] = n;
    writeFileSync(clean, bytes, { flag: "r+" });
    try {
      expect(source.read(Buffer.alloc(1), 0, 1, 0)).toBe(1);
    } catch (error) {
      expect(error).toBeInstanceOf(IoError);
    }
  }
  metadata.close();
});
