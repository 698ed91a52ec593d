/** Disks in the forms that QEMU writes, each compared with the kernel's mount of the raw disk; and what a guest may pretend. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { compareWalks, type Walk, walkKernel, walkOurs } from "./oracle/compare.js";
import { copyImage, makeImage } from "./support/images.js";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { main, type Served, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MIB = 1 << 20;
/** Where the file system begins: split disks have their parts' border 8 MiB further on. */
const START = 2040 * MIB;
const FS_SIZE = 24 * MIB;
const folder = workFolder("image-formats");
const at = (name: string): string => join(folder, name);
const raw = at("disk.img");

afterAll(cleanUp);

/** What `qemu-img convert` is to be told, by the name of what it makes. */
const CONVERTED: Readonly<Record<string, readonly string[]>> = {
  "plain.qcow2": ["qcow2"],
  "old.qcow2": ["qcow2", "-o", "compat=0.10"],
  "zstd.qcow2": ["qcow2", "-c", "-o", "compression_type=zstd"],
  "zlib.qcow2": ["qcow2", "-c"],
  "subclusters.qcow2": ["qcow2", "-o", "extended_l2=on,cluster_size=128k"],
  "outside.qcow2": ["qcow2", "-o", `data_file=${at("outside.data")},data_file_raw=on`],
  "sparse.vmdk": ["vmdk", "-o", "subformat=monolithicSparse"],
  "flat.vmdk": ["vmdk", "-o", "subformat=monolithicFlat"],
  "stream.vmdk": ["vmdk", "-o", "subformat=streamOptimized"],
  "split.vmdk": ["vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
  "split-flat.vmdk": ["vmdk", "-o", "subformat=twoGbMaxExtentFlat"],
  "dynamic.vhdx": ["vhdx", "-o", "subformat=dynamic"],
  "fixed.vhdx": ["vhdx", "-o", "subformat=fixed"],
  "dynamic.vhd": ["vpc", "-o", "subformat=dynamic,force_size=on"],
  "fixed.vhd": ["vpc", "-o", "subformat=fixed,force_size=on"],
  "a.vdi": ["vdi"],
  "a.qed": ["qed"],
};
/** Those that are made step by step. */
const LAYERED = ["chain.qcow2", "silent.qcow2", "snapshots.qcow2"];

async function convert(from: string, to: string, [format, ...more]: readonly string[]): Promise<void> {
  await run("qemu-img", ["convert", "-f", "raw", "-O", format!, ...more, from, to]);
}

/** A disk whose file system lacks 2 MiB at these places: they have other bytes. */
async function withHoles(name: string, places: readonly number[]): Promise<string> {
  await copyImage(raw, at(name));
  for (const place of places)
    await run("qemu-io", ["-f", "raw", "-c", `write -P 0xaa ${START + place} 2M`, at(name)]);
  return at(name);
}

/** Puts the right bytes there. */
async function fillHole(image: string, place: number): Promise<void> {
  await run("dd", [
    ...[`if=${raw}`, `of=${at("part")}`, "bs=1M", "count=2", `skip=${(START + place) / MIB}`, "status=none"],
  ]);
  await run("qemu-io", ["-f", "qcow2", "-c", `write -s ${at("part")} ${START + place} 2M`, image]);
}

async function overlay(image: string, backing: string, format: string): Promise<void> {
  await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", backing, "-F", format, image]);
}

/** Has a qcow2 image say nothing of its backing file's format: its first header extension becomes the end of them all. */
function silence(image: string): void {
  const bytes = readFileSync(image);
  const header = bytes.readUInt32BE(100);
  expect(bytes.readUInt32BE(header)).toBe(0xe2792aca);
  bytes.writeUInt32BE(0, header);
  bytes.writeUInt32BE(0, header + 4);
  writeFileSync(image, bytes);
}

describe("a disk", () => {
  let expected: Walk;
  let served: Served;

  beforeAll(async () => {
    const { image } = await makeImage(
      {
        name: "formats",
        size: `${FS_SIZE}`,
        mke2fs: ["-t", "ext4", "-b", "1024", "-U", "random", "-J", "size=1"],
        fill: ["--block", "1024", "--only", "names", "contents", "links", "small", "attributes"],
      },
      at("made"),
    );
    writeFileSync(raw, "");
    truncateSync(raw, START + FS_SIZE + MIB);
    await run("sh", ["-c", `echo 'start=${START / 512},size=${FS_SIZE / 512},type=83' | sfdisk -q ${raw}`]);
    await run("dd", [`if=${image}`, `of=${raw}`, "bs=1M", `seek=${START / MIB}`, "conv=notrunc,sparse"]);
    const unmount = await mount(raw, at("kernel"), `ro,loop,offset=${START},sizelimit=${FS_SIZE}`);
    expected = await walkKernel(at("kernel"));
    unmount();

    for (const [name, how] of Object.entries(CONVERTED)) await convert(raw, at(name), how);
    // Each of three images has a part that the others lack; one of them does not say what it lies on.
    await convert(await withHoles("holes.img", [2 * MIB, 6 * MIB]), at("base.qcow2"), ["qcow2"]);
    await overlay(at("middle.qcow2"), at("base.qcow2"), "qcow2");
    await fillHole(at("middle.qcow2"), 2 * MIB);
    silence(at("middle.qcow2"));
    await overlay(at("chain.qcow2"), at("middle.qcow2"), "qcow2");
    await fillHole(at("chain.qcow2"), 6 * MIB);
    await overlay(at("silent.qcow2"), raw, "raw");
    silence(at("silent.qcow2"));
    await convert(at("holes.img"), at("snapshots.qcow2"), ["qcow2"]);
    for (const place of [2 * MIB, 6 * MIB]) {
      await run("qemu-img", ["snapshot", "-c", `before ${place}`, at("snapshots.qcow2")]);
      await fillHole(at("snapshots.qcow2"), place);
    }
    const names = [...Object.keys(CONVERTED), ...LAYERED];
    served = await serve(at("cloud"), Object.fromEntries(names.map((name) => [name, at(name)])));
  });

  afterAll(async () => {
    expect(await served.stop()).toBe(0);
  });

  test("that is split has two parts", () => {
    expect(readdirSync(folder).filter((name) => /^split.*00[0-9]\.vmdk$/.test(name))).toHaveLength(4);
  });

  test.each([...Object.keys(CONVERTED), ...LAYERED])("is the same tree as %s", async (name) => {
    const ours = await walkOurs(served.volume(name, "sda1"), served.guest(name));
    const { differences, compared } = compareWalks(expected, ours);
    expect(differences.slice(0, 10), served.log()).toEqual([]);
    expect(compared).toBeGreaterThan(100);
  });
});

/** A qcow2 header (docs/interop/qcow2.txt) of a disk that has nothing of its own, and whose backing file is `backing`. */
function forgedHeader(backing: string, size: number): Buffer {
  const cluster = 65_536;
  const disk = Buffer.alloc(4 * cluster);
  disk.write("QFI\xfb", 0, "latin1");
  disk.writeUInt32BE(3, 4);
  disk.writeUInt32BE(512, 8 + 4);
  disk.writeUInt32BE(backing.length, 16);
  disk.writeUInt32BE(16, 20);
  disk.writeUInt32BE(Math.floor(size / 2 ** 32), 24);
  disk.writeUInt32BE(size % 2 ** 32, 28);
  disk.writeUInt32BE(1, 36);
  disk.writeUInt32BE(3 * cluster, 40 + 4);
  disk.writeUInt32BE(cluster, 48 + 4);
  disk.writeUInt32BE(1, 56);
  disk.writeUInt32BE(4, 96);
  disk.writeUInt32BE(104, 100);
  disk.write(backing, 512);
  // The table of refcounts, and the one block of them: all four clusters are in use.
  disk.writeUInt32BE(2 * cluster, cluster + 4);
  for (let n = 0; n < 4; n++) disk.writeUInt16BE(1, 2 * cluster + n * 2);
  return disk;
}

describe("a guest that writes the header of a qcow2 disk into its raw disk", () => {
  const secret = at("host-only.img");
  const SECRET = "what nobody but the host may read";

  /** All that slashcloud says and shows of an image. */
  async function shown(image: string): Promise<string> {
    const looks = ["volumes", "inspect"].map((command) => [command, image]);
    const files = ["", "/.volumes/sda"].map((path) => ["cat", `${image}:${path}/secret`]);
    const texts = [...looks, ...files].map((args) =>
      run("sh", ["-c", '"$@" 2>&1 || true', "sh", process.execPath, main, ...args]),
    );
    return (await Promise.all(texts)).join("");
  }

  beforeAll(async () => {
    mkdirSync(at("of-host"));
    writeFileSync(at("of-host/secret"), `${SECRET}\n`);
    await run("truncate", ["-s", "8M", secret]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", at("of-host"), secret]);
    const forged = forgedHeader(secret, 8 * MIB);
    for (const name of ["guest.img", "guest.qcow2"]) {
      writeFileSync(at(name), forged);
      truncateSync(at(name), 8 * MIB);
    }
    const shadow = at("shadow.img");
    writeFileSync(shadow, forgedHeader("/etc/shadow", 8 * MIB));
    truncateSync(shadow, 8 * MIB);
    await overlay(at("overlay.qcow2"), at("guest.img"), "raw");
    silence(at("overlay.qcow2"));
  });

  test("would be believed by QEMU: what is refused here is there", async () => {
    expect(await shown(`qcow2:${at("guest.img")}`)).toContain(SECRET);
    const convert = ["convert", "-f", "qcow2", "-O", "raw", at("overlay.qcow2"), at("believed.img")];
    await run("qemu-img", convert);
    expect(readFileSync(at("believed.img")).includes(SECRET)).toBe(true);
  });

  test("has nothing of the host shown, by its name, by what the user says, and below another disk", async () => {
    for (const image of [at("guest.img"), `raw:${at("guest.img")}`, `raw:${at("guest.qcow2")}`]) {
      const text = await shown(image);
      expect(text).not.toContain(SECRET);
      expect(text).toContain("no file system that can be shown");
    }
    const text = await shown(at("overlay.qcow2"));
    expect(text).not.toContain(SECRET);
    expect(text).toContain(
      `overlay.qcow2: does not say the format of its backing file ${at("guest.img")}, which begins like a qcow2 disk, but any guest can write that: it is read as raw; if it is one: qemu-img rebase -u -F qcow2`,
    );
  });

  test("does not get /etc/shadow into the tree", async () => {
    copyFileSync(at("overlay.qcow2"), at("overlay-of-shadow.qcow2"));
    await run("qemu-img", [
      "rebase",
      "-u",
      "-b",
      at("shadow.img"),
      "-F",
      "raw",
      at("overlay-of-shadow.qcow2"),
    ]);
    silence(at("overlay-of-shadow.qcow2"));
    const guests = {
      one: at("shadow.img"),
      two: `raw:${at("guest.qcow2")}`,
      three: at("overlay-of-shadow.qcow2"),
    };
    // There is something to be shown, or nothing would be served.
    const served = await serve(at("shadow-cloud"), { ...guests, host: `raw:${secret}` });
    expect(await run("cat", [join(served.guest("host"), "secret")])).toContain(SECRET);
    for (const name of Object.keys(guests)) {
      const text = await run("sh", ["-c", `grep -ra . '${served.guest(name)}' 2>&1 || true`]);
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain("root:");
    }
    expect(await served.stop()).toBe(0);
  });
});
