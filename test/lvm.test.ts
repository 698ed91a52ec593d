import {
  appendFileSync,
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test, vi } from "vitest";
import { compareWalks, walkKernel, walkOurs } from "./oracle/compare.js";
import { copyImage, makeImage } from "./support/images.js";
import { cleanUp, loopDevice, mount, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import { asPart, LvmDisks, withVolume } from "./support/lvm.js";
import { nbdfuse } from "./support/nbd-tap.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("lvm");
const MIB = 1024 * 1024;
const SECTOR = 512;

afterAll(cleanUp);

/** Images of their sizes, with a partition table if there is anything before LVM's part. */
async function makeImages(name: string, sizes: readonly string[], offset = 0): Promise<string[]> {
  const images: string[] = [];
  for (const [index, size] of sizes.entries()) {
    const image = join(folder, `${name}-${index}.img`);
    await run("truncate", ["-s", size, image]);
    if (offset > 0 && index === 0)
      await run("sh", ["-c", `echo 'start=${offset / SECTOR},type=8e' | sfdisk -q ${image}`]);
    images.push(image);
  }
  return images;
}

/** A file system of 24 MiB with a bit of everything. */
async function makeFileSystem(name: string): Promise<string> {
  const { image } = await makeImage(
    {
      name,
      size: "24M",
      mke2fs: ["-t", "ext4", "-b", "1024", "-U", "random", "-J", "size=1"],
      fill: ["--block", "1024", "--only", "names", "deep", "links", "contents", "small", "attributes"],
    },
    join(folder, name),
  );
  return image;
}

async function volumesOf(image: string): Promise<{ name: string; size: number; problem: string }[]> {
  return JSON.parse(await run(process.execPath, [main, "volumes", image, "--json"]));
}

/** The sector before the first ring of texts. */
function headerOf(image: string): Buffer {
  const sector = Buffer.alloc(SECTOR);
  const file = openSync(image, "r");
  readSync(file, sector, 0, SECTOR, 4096);
  closeSync(file);
  return sector;
}

/** Waits until something is as it should be; returns what it was at the end. */
async function eventually<T>(read: () => T, expected: T): Promise<T | string> {
  const end = performance.now() + 60_000;
  let last: T | string;
  do {
    try {
      last = read();
      if (last === expected) break;
    } catch (error) {
      last = String(error);
    }
    await sleep(20);
  } while (performance.now() < end);
  return last;
}

describe("a guest with logical volumes", () => {
  test("its volumes are what the kernel shows of the same file systems, whatever they are put together of", async () => {
    const images = await makeImages("all", ["240M", "200M"], MIB);
    const disks = await LvmDisks.open(folder, images, [MIB]);
    const [first, second] = disks.devices as [string, string];
    await disks.lvm("pvcreate", first, second);
    await disks.lvm("vgcreate", "guest-vg", first, second);
    await disks.create("guest-vg", "one", "24M", first);
    await disks.create("guest-vg", "two-part", "8M", first);
    await disks.create("guest-vg", "across", "12M", first);
    await disks.lvm("lvextend", "-L", "24M", "guest-vg/two-part", first);
    await disks.lvm("lvextend", "-L", "24M", "guest-vg/across", second);
    await disks.create("guest-vg", "striped", "24M", "-i", "2", "-I", "64k");
    for (const [leg, device] of [first, second].entries()) {
      await disks.create("guest-vg", `leg${leg}`, "24M", device);
      await disks.create("guest-vg", `meta${leg}`, "4M", device);
    }
    for (const name of ["store", "data", "metadata"]) await disks.create("guest-vg", name, "4M", first);
    await disks.edit("guest-vg", (text) => {
      let edited = text;
      for (const leg of [0, 1]) {
        edited = asPart(edited, `leg${leg}`, `mirrored_rimage_${leg}`);
        edited = asPart(edited, `meta${leg}`, `mirrored_rmeta_${leg}`);
      }
      edited = asPart(asPart(edited, "data", "pool_tdata"), "metadata", "pool_tmeta");
      edited = withVolume(
        edited,
        "mirrored",
        ', "VISIBLE"',
        6,
        `type = "raid1"\ndevice_count = 2\nregion_size = 4096
         raids = ["mirrored_rmeta_0", "mirrored_rimage_0", "mirrored_rmeta_1", "mirrored_rimage_1"]`,
      );
      edited = withVolume(
        edited,
        "snapshot0",
        "",
        6,
        'type = "snapshot"\nchunk_size = 8\norigin = "one"\ncow_store = "store"',
      );
      edited = withVolume(
        edited,
        "pool",
        ', "VISIBLE"',
        1,
        `type = "thin-pool"\nmetadata = "pool_tmeta"\npool = "pool_tdata"\ntransaction_id = 1
         chunk_size = 128\ndiscards = "passdown"\nzero_new_blocks = 1`,
      );
      return withVolume(
        edited,
        "thin",
        ', "VISIBLE"',
        10,
        'type = "thin"\nthin_pool = "pool"\ntransaction_id = 0\ndevice_id = 1',
      );
    });
    const made = new Map<string, string>();
    for (const [name, parts] of [
      ["one", ["one"]],
      ["two-part", ["two-part"]],
      ["across", ["across"]],
      ["striped", ["striped"]],
      ["mirrored", ["mirrored_rimage_0", "mirrored_rimage_1"]],
    ] as const) {
      const image = await makeFileSystem(name);
      made.set(name, image);
      for (const part of parts) await disks.fill("guest-vg", part, image);
    }
    expect((await disks.segments("guest-vg", "two-part")).length).toBe(2);
    expect((await disks.segments("guest-vg", "striped"))[0]?.areas.length).toBe(2);
    disks.close();

    const served = await serve(join(folder, "all-cloud"), { guest: images.join(",") });
    expect(readdirSync(join(served.guest("guest"), ".volumes")).sort()).toEqual([
      "guest--vg-across",
      "guest--vg-mirrored",
      "guest--vg-one",
      "guest--vg-striped",
      "guest--vg-two--part",
    ]);
    for (const [name, image] of made) {
      const unmount = await mount(image, join(folder, "kernel"), "ro,loop");
      const expected = await walkKernel(join(folder, "kernel"));
      const volume = served.volume("guest", `guest--vg-${name.replaceAll("-", "--")}`);
      const { differences, compared } = compareWalks(expected, await walkOurs(volume, served.guest("guest")));
      unmount();
      expect(differences.slice(0, 10), `${name}\n${served.log()}`).toEqual([]);
      expect(compared).toBeGreaterThan(100);
    }
    expect(served.log()).toContain(
      "guest--vg-thin: not shown: the metadata of its thin pool cannot be read: it has no superblock",
    );
    expect(served.log()).toContain(
      "guest--vg-store: not shown: it is a snapshot, and snapshots are not read",
    );
    expect(await served.stop()).toBe(0);

    // The second disk alone has one leg of the mirror, and all of nothing else.
    const left = await volumesOf(images[1]!);
    expect(left.filter(({ size }) => size > 0).map(({ name }) => name)).toEqual([
      "sda",
      "guest--vg-mirrored",
    ]);
    expect(left.find(({ name }) => name === "guest--vg-one")?.problem).toMatch(
      /^its physical volume .* is missing$/,
    );
    const list = await run(process.execPath, [main, "ls", `${images[1]}:/`]);
    expect(list.split("\n").length).toBeGreaterThan(5);
  });

  test("its mount table names them in all the ways that LVM knows", async () => {
    const images = await makeImages("table", ["120M"]);
    const disks = await LvmDisks.open(folder, images);
    const [device] = disks.devices as [string];
    await disks.lvm("vgcreate", "vg-0", device);
    const root = join(folder, "root.img");
    const names = ["root", "home", "srv", "var"];
    for (const name of names) {
      await disks.create("vg-0", name, "8M");
      await run("rm", ["-f", root]);
      await run("truncate", ["-s", "8M", root]);
      await run("mke2fs", ["-q", "-F", "-t", "ext4", root]);
      const unmount = await mount(root, join(folder, "inside"), "loop");
      writeFileSync(join(folder, "inside", `this-is-${name}`), "");
      if (name === "root") {
        await run("mkdir", [
          ...["etc", "bin", "home", "srv", "var"].map((one) => join(folder, "inside", one)),
        ]);
        writeFileSync(
          join(folder, "inside/etc/fstab"),
          `/dev/mapper/vg--0-root / ext4 defaults 0 1
/dev/vg-0/home /home ext4 defaults 0 2
/dev/disk/by-id/dm-name-vg--0-srv /srv ext4 defaults 0 2
/dev/mapper/vg--0-var /var ext4 defaults 0 2
`,
        );
      }
      unmount();
      await disks.fill("vg-0", name, root);
    }
    disks.close();
    const served = await serve(join(folder, "table-cloud"), { guest: images[0]! });
    expect(readdirSync(served.guest("guest"))).toContain("this-is-root");
    for (const name of names.slice(1))
      expect(readdirSync(join(served.guest("guest"), name))).toContain(`this-is-${name}`);
    expect(await served.stop()).toBe(0);
  });
});

describe("LVM's metadata", () => {
  test("that has gone round its ring many times is read, and a damaged copy gives way to the other", async () => {
    const images = await makeImages("ring", ["64M"]);
    const disks = await LvmDisks.open(folder, images);
    const [device] = disks.devices as [string];
    await disks.lvm(
      "pvcreate",
      "--dataalignment",
      "64k",
      "--metadatasize",
      "32k",
      "--pvmetadatacopies",
      "2",
      device,
    );
    await disks.lvm("vgcreate", "vg", device);
    await disks.create("vg", "lv", "48M");
    const header = () => headerOf(images[0]!);
    const end = () => header().readBigUInt64LE(40) + header().readBigUInt64LE(48);
    for (let round = 0; round < 200 && end() <= header().readBigUInt64LE(32); round++)
      await disks.lvm("vgchange", round % 2 === 0 ? "--addtag" : "--deltag", "a-tag", "vg");
    expect(end()).toBeGreaterThan(header().readBigUInt64LE(32));
    expect(await volumesOf(images[0]!)).toContainEqual(
      expect.objectContaining({ name: "vg-lv", size: 48 * MIB, problem: "" }),
    );
    disks.close();

    const whole = readFileSync(images[0]!);
    const textAt = 4096 + Number(whole.readBigUInt64LE(4096 + 40));
    const damaged = join(folder, "damaged.img");
    for (const at of [4096 + 48, textAt + 20]) {
      await copyImage(images[0]!, damaged);
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1;
      writeFileSync(damaged, bytes);
      const listed = await run("sh", ["-c", `${process.execPath} ${main} volumes ${damaged} 2>&1`]);
      expect(listed).toMatch(
        /copy of LVM's metadata at byte 4096 has a .* with a wrong checksum; it is not used/,
      );
      expect(listed).toMatch(/^vg-lv +unknown +50331648 /m);
    }
  });
});

describe("a running guest", () => {
  test("its writes into a logical volume are shown as it commits them, also after it has extended it", async () => {
    const images = await makeImages("live", ["160M"], MIB);
    const disks = await LvmDisks.open(folder, images, [MIB]);
    const [device] = disks.devices as [string];
    await disks.lvm("vgcreate", "vg", device);
    await disks.create("vg", "root", "32M");
    const start = await disks.extentStart(device, 0);
    await run("mke2fs", [
      "-q",
      "-F",
      "-t",
      "ext4",
      "-E",
      `offset=${MIB + start},resize=1G`,
      images[0]!,
      "32M",
    ]);
    const inside = join(folder, "live-inside");
    const within = ["--offset", `${MIB + start}`, "--sizelimit", `${128 * MIB}`];
    const loop = await loopDevice(images[0]!, within);
    const unmount = await mount(loop.device, inside, "rw");
    const served = await serve(join(folder, "live-cloud"), { guest: images[0]! });
    const tree = served.volume("guest", "vg-root");
    const log = openSync(join(inside, "log"), "a");
    let expected = "";
    for (let line = 0; line < 20; line++) {
      appendFileSync(log, `line ${line}\n`);
      expected += `line ${line}\n`;
      fsyncSync(log);
      expect(await eventually(() => readFileSync(join(tree, "log"), "utf8"), expected)).toBe(expected);
    }
    // As soon as its names have been crawled, events have paths.
    const events = () => readFileSync(join(served.guest("guest"), ".events"), "utf8");
    const isTold = (): boolean => {
      appendFileSync(log, "again\n");
      fsyncSync(log);
      return /"event":"content".*"path":"\/log"/.test(events());
    };
    expect(await eventually(isTold, true)).toBe(true);
    const status = JSON.parse(
      await run(process.execPath, [main, "status", "--json", "--state", `${served.mountPoint}-state`]),
    );
    expect(status.volumes).toContainEqual(
      expect.objectContaining({ volume: "vg-root", state: "followed", capture: "watch" }),
    );

    await disks.lvm("lvextend", "-L", "96M", "vg/root");
    closeSync(log);
    unmount();
    // Another test's host may have taken the mount along into its own namespace, and lets go of it soon.
    const isChecked = () =>
      run("e2fsck", ["-f", "-p", loop.device]).then(
        () => true,
        (error: Error) => {
          if (!error.message.includes("Cannot continue")) throw error;
          return false;
        },
      );
    await expect.poll(isChecked, { timeout: 60_000, interval: 200 }).toBe(true);
    await run("resize2fs", [loop.device, "96M"]);
    const unmountLarger = await mount(loop.device, inside, "rw");
    const large = Buffer.alloc(60 * MIB, "slashcloud ");
    writeFileSync(join(inside, "large"), large);
    await run("sync", ["-f", inside]);
    expect(await eventually(() => large.equals(readFileSync(join(tree, "large"))), true)).toBe(true);
    expect(await eventually(() => served.log().includes("has changed its logical volumes"), true)).toBe(true);
    const before = readFileSync(join(tree, "log"), "utf8");
    const again = openSync(join(inside, "log"), "a");
    appendFileSync(again, "after\n");
    fsyncSync(again);
    expect(await eventually(() => readFileSync(join(tree, "log"), "utf8"), `${before}after\n`)).toBe(
      `${before}after\n`,
    );
    closeSync(again);
    unmountLarger();
    loop.free();
    disks.close();
    expect(await served.stop()).toBe(0);
  });

  test("what it moves to other extents goes on to be read, from there", async () => {
    const images = await makeImages("moved", ["96M"]);
    const disks = await LvmDisks.open(folder, images);
    const [device] = disks.devices as [string];
    await disks.lvm("vgcreate", "vg", device);
    await disks.create("vg", "lv", "24M");
    const image = await makeFileSystem("moved");
    await disks.fill("vg", "lv", image);
    const served = await serve(join(folder, "moved-cloud"), { guest: images[0]! });
    const unmount = await mount(image, join(folder, "kernel"), "ro,loop");
    expect(readdirSync(served.volume("guest", "vg-lv"))).toContain("small");

    await disks.edit("vg", (text) => text.replace(/("pv0", )0\n/, "$110\n"));
    await disks.fill("vg", "lv", image);
    const [old, now] = await Promise.all([0, 10].map((extent) => disks.extentStart(device, extent)));
    expect((await disks.segments("vg", "lv"))[0]?.areas[0]?.first).toBe(10);
    expect(now).toBe(old! + 40 * MIB);
    // What was looked at so long ago is looked at again with the next read.
    await sleep(600);
    const file = openSync(images[0]!, "r+");
    writeSync(file, Buffer.alloc(24 * MIB), 0, 24 * MIB, old!);
    closeSync(file);
    const differences = compareWalks(
      await walkKernel(join(folder, "kernel")),
      await walkOurs(served.volume("guest", "vg-lv"), served.guest("guest")),
    ).differences;
    expect(differences).toEqual([]);
    expect(served.log()).toContain("has changed its logical volumes");
    unmount();
    disks.close();
    expect(await served.stop()).toBe(0);
  });

  test("its disk may be at the tap: logical volumes are looked at whenever something is written", async () => {
    const images = await makeImages("tap", ["96M"]);
    const disks = await LvmDisks.open(folder, images);
    const [device] = disks.devices as [string];
    await disks.lvm("vgcreate", "vg", device);
    await disks.create("vg", "lv", "64M");
    const start = await disks.extentStart(device, 0);
    disks.close();
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-E", `offset=${start}`, images[0]!, "64M"]);
    const socket = join(folder, "tap.sock");
    const served = await serve(join(folder, "tap-cloud"), { g: images[0]! }, ["--tap", `unix:${socket}`]);
    const disk = await nbdfuse(`nbd+unix:///g?socket=${socket}`, join(folder, "tap-nbd"));
    const loop = await loopDevice(disk.file, ["--offset", `${start}`, "--sizelimit", `${64 * MIB}`]);
    const inside = join(folder, "tap-inside");
    const unmount = await mount(loop.device, inside, "rw");
    for (let number = 0; number < 10; number++) {
      const file = openSync(join(inside, `file-${number}`), "w");
      appendFileSync(file, `${number}`);
      fsyncSync(file);
      closeSync(file);
      const shown = join(served.volume("g", "vg-lv"), `file-${number}`);
      expect(await eventually(() => readFileSync(shown, "utf8"), `${number}`)).toBe(`${number}`);
    }
    const status = JSON.parse(
      await run(process.execPath, [main, "status", "--json", "--state", `${served.mountPoint}-state`]),
    );
    expect(status.volumes).toContainEqual(
      expect.objectContaining({ volume: "vg-lv", state: "followed", capture: "watch", reopened: 0 }),
    );
    unmount();
    loop.free();
    await disk.end();
    expect(await served.stop()).toBe(0);
  });
});
