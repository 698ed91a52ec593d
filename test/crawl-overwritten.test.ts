/** A crawl that takes so long that the guest writes over what the crawl still needs. */
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { crawlFileSystem } from "../src/filesystems/formats.js";
import type { Image, Source } from "../src/images/image.js";
import { openRawImage } from "../src/images/raw.js";
import { IndexSink } from "../src/inference/index-sink.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, loopDevice, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { imageDirectory } from "./support/journal-images.js";

vi.setConfig({ testTimeout: 120_000 });

const memory = imageDirectory();
onEnd(() => rmSync(memory, { recursive: true, force: true }));
const folder = workFolder("overwritten", memory);

afterAll(cleanUp);

/** An image as it was, and from a moment on as it is later. */
class Switched implements Source {
  image: Image;

  constructor(image: Image) {
    this.image = image;
  }

  get size(): number {
    return this.image.size;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    return this.image.read(target, targetOffset, length, position);
  }
}

/** Tells when the version that is crawled has been opened, and when an inode has been read. */
class SwitchingSink extends IndexSink {
  readonly #begun: () => void;
  readonly #read: (ino: number) => void;

  constructor(begun: () => void, read: (ino: number) => void = () => {}) {
    super(1 << 30);
    this.#begun = begun;
    this.#read = read;
  }

  override inode(...[ino, ...more]: Parameters<IndexSink["inode"]>): void {
    super.inode(ino, ...more);
    this.#read(ino);
  }

  override begin(rootInode: number): void {
    super.begin(rootInode);
    this.#begun();
  }
}

test.each([
  ["ext4", ["-t", "ext4"]],
  ["ext3", ["-t", "ext3"]],
])(
  "%s: names of which the journal had the only copy are found though that is written over",
  async (name, make) => {
    const image = join(folder, `${name}.img`);
    await run("truncate", ["-s", "64M", image]);
    await run("mke2fs", ["-q", "-F", ...make, "-b", "1024", "-N", "8192", "-J", "size=1", image]);
    const loop = await loopDevice(image);
    const inside = join(folder, `${name}-inside`);
    const unmount = await mount(loop.device, inside, "noatime");
    const journalled = join(inside, "directory");
    mkdirSync(journalled);
    writeFileSync(join(journalled, "in-its-place"), "");
    // Freezing puts everything in its place.
    await run("fsfreeze", ["-f", inside]);
    await run("fsfreeze", ["-u", inside]);
    writeFileSync(join(journalled, "in-the-journal"), "");
    await run("python3", ["-c", COMMIT, inside]);
    const early = `${image}.early`;
    copyFileSync(image, early);
    // The directory is in every transaction, so that none of them puts it in its place.
    await run("python3", ["-c", GO_ON, inside, "900"]);
    const late = `${image}.late`;
    copyFileSync(image, late);
    const first = openRawImage(early);
    const second = openRawImage(late);
    const source = new Switched(first);
    const sink = new SwitchingSink(() => {
      source.image = second;
    });
    expect(crawlFileSystem(source, new BlockCache(1 << 20), () => {}, sink)?.bad).toBe(0);
    const directory = statSync(journalled).ino;
    const found = [...(sink.index.children([directory]).get(directory)?.keys() ?? [])];
    expect(found).toContain("in-its-place");
    expect(found).toContain("in-the-journal");
    first.close();
    second.close();
    unmount();
    loop.free();
  },
);

test("names that move to another block of their directory, after its inode was read and before its blocks are, are found", async () => {
  const image = join(folder, "split.img");
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", image]);
  const loop = await loopDevice(image);
  const inside = join(folder, "split-inside");
  const unmount = await mount(loop.device, inside, "noatime");
  const path = join(inside, "directory");
  mkdirSync(path);
  const early = Array.from({ length: 60 }, (_, n) => `${n}`.padEnd(100, "x"));
  for (const name of early) writeFileSync(join(path, name), "");
  const freeze = async () => {
    await run("fsfreeze", ["-f", inside]);
    await run("fsfreeze", ["-u", inside]);
  };
  await freeze();
  copyFileSync(image, `${image}.early`);
  // Blocks are split.
  for (let n = 0; n < 100; n++) writeFileSync(join(path, `later-${n}`.padEnd(100, "x")), "");
  await freeze();
  copyFileSync(image, `${image}.late`);
  const [first, second] = [openRawImage(`${image}.early`), openRawImage(`${image}.late`)];
  const source = new Switched(first);
  const directory = statSync(path).ino;
  const sink = new SwitchingSink(
    () => {},
    (ino) => {
      if (ino === directory) source.image = second;
    },
  );
  crawlFileSystem(source, new BlockCache(1 << 20), () => {}, sink);
  const found = [...(sink.index.children([directory]).get(directory)?.keys() ?? [])];
  for (const name of early) expect(found).toContain(name);
  expect(new Set(found).size).toBe(found.length);
  first.close();
  second.close();
  unmount();
  loop.free();
});

/** The commit of what has been done: the fsync of a directory. */
const COMMIT = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(fd)
`;

/** Transactions, each with a name in the directory and other metadata. */
const GO_ON = `
import os, sys
top = sys.argv[1]
fd = os.open(top, os.O_RDONLY)
for n in range(int(sys.argv[2])):
    os.close(os.open(f"{top}/directory/later", os.O_CREAT | os.O_WRONLY))
    os.fsync(fd)
    os.unlink(f"{top}/directory/later")
    os.fsync(fd)
`;
