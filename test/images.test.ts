import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sizeByReading, sizeInSysfs } from "../src/images/block-device.js";
import { ImageError } from "../src/images/image-error.js";
import { Range } from "../src/images/range.js";
import { openRawImage } from "../src/images/raw.js";

let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "slashcloud-images-"));
  path = join(dir, "disk.img");
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function withLoop<T>(file: string, use: (device: string) => T): T {
  const device = execFileSync("losetup", ["--find", "--show", "--read-only", file], {
    encoding: "utf8",
  }).trim();
  try {
    return use(device);
  } finally {
    execFileSync("losetup", ["--detach", device]);
  }
}

function problemOf(name: string): string {
  try {
    openRawImage(name).close();
  } catch (error) {
    expect(error).toBeInstanceOf(ImageError);
    expect((error as ImageError).exitCode).toBe(1);
    expect((error as ImageError).path).toBe(name);
    expect((error as Error).message).not.toContain("\n");
    expect((error as Error).message.startsWith(`${name}: `)).toBe(true);
    return (error as Error).message.slice(name.length + 2);
  }
  throw new Error(`${name} was opened`);
}

describe("a raw image", () => {
  it("gives the bytes at a position, and fewer at its end", () => {
    writeFileSync(path, "0123456789");
    const image = openRawImage(path);
    const target = Buffer.alloc(8, ".");
    expect(image.name).toBe(path);
    expect(image.size).toBe(10);
    expect(image.read(target, 2, 4, 3)).toBe(4);
    expect(target.toString()).toBe("..3456..");
    expect(image.read(target, 0, 8, 7)).toBe(3);
    expect(image.read(target, 0, 8, 10)).toBe(0);
    expect(image.read(target, 0, 8, 2 ** 44)).toBe(0);
    for (const beyond of [2 ** 53 - 1, 2 ** 53, 2 ** 64, 1e300])
      expect(image.read(target, 0, 8, beyond)).toBe(0);
    image.close();
    image.close();
    expect(() => image.read(target, 0, 8, 0)).toThrow();
  });

  it("shows at once that the guest's disk has grown", () => {
    writeFileSync(path, "first");
    const image = openRawImage(path);
    expect(image.size).toBe(5);
    appendFileSync(path, " and second");
    expect(image.size).toBe(16);
    const target = Buffer.alloc(6);
    expect(image.read(target, 0, 6, 10)).toBe(6);
    expect(target.toString()).toBe("second");
    image.close();
  });

  it("is read beyond 2^41 bytes and takes no room for what is sparse", () => {
    const size = 3 * 2 ** 41;
    const position = 2 * 2 ** 41 + 12345;
    writeFileSync(path, "");
    truncateSync(path, size);
    const fd = openSync(path, "r+");
    writeSync(fd, "far away", position);
    closeSync(fd);
    const image = openRawImage(path);
    expect(image.size).toBe(size);
    const target = Buffer.alloc(8);
    expect(image.read(target, 0, 8, position)).toBe(8);
    expect(target.toString()).toBe("far away");
    expect(image.read(target, 0, 8, size - 3)).toBe(3);
    image.close();
    expect(statSync(path).blocks).toBeLessThan(100);
  });

  it("may be a block device, with its size from sysfs or, without that, by reading", () => {
    writeFileSync(path, "");
    truncateSync(path, 3 * 2 ** 41 + 512);
    const fd = openSync(path, "r+");
    writeSync(fd, "on a device", 2 ** 42);
    closeSync(fd);
    withLoop(path, (device) => {
      const image = openRawImage(device);
      const target = Buffer.alloc(11);
      expect(image.size).toBe(3 * 2 ** 41 + 512);
      expect(image.read(target, 0, 11, 2 ** 42)).toBe(11);
      expect(target.toString()).toBe("on a device");
      expect(image.read(target, 0, 11, image.size - 4)).toBe(4);
      expect(image.read(target, 0, 11, 2 ** 60)).toBe(0);
      image.close();
      const raw = openSync(device, "r");
      expect(sizeByReading(raw)).toBe(3 * 2 ** 41 + 512);
      closeSync(raw);
      expect(sizeInSysfs(statSync(device).rdev)).toBe(3 * 2 ** 41 + 512);
      // No device has this number.
      expect(sizeInSysfs(0xfff_ff)).toBeUndefined();
    });
  });

  it.each([512, 1024, 1536, 2048, 4096, 65536, 99 * 512])(
    "measures a device of %i bytes by reading",
    (size) => {
      writeFileSync(path, Buffer.alloc(size));
      const fd = openSync(path, "r");
      expect(sizeByReading(fd)).toBe(size);
      closeSync(fd);
    },
  );
});

describe("a user who names something else gets one line", () => {
  it("for a path that is not there", () => {
    expect(problemOf(path)).toContain("no such image");
    expect(problemOf(join(path, "below"))).toContain("no such image");
    writeFileSync(path, "x");
    expect(problemOf(join(path, "below"))).toContain("no such image");
    symlinkSync("nowhere", join(dir, "dangling"));
    expect(problemOf(join(dir, "dangling"))).toContain("no such image");
    symlinkSync("circle", join(dir, "circle"));
    expect(problemOf(join(dir, "circle"))).toContain("ELOOP");
  });

  it("for a directory, an empty file, a FIFO, a socket and a character device", async () => {
    expect(problemOf(dir)).toContain("directory");
    writeFileSync(path, "");
    expect(problemOf(path)).toContain("empty");
    const fifo = join(dir, "fifo");
    execFileSync("mkfifo", [fifo]);
    expect(problemOf(fifo)).toContain("FIFO");
    expect(problemOf("/dev/null")).toContain("character device");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(dir, "socket"), resolve));
    expect(problemOf(join(dir, "socket"))).toContain("socket");
    await new Promise((resolve) => server.close(resolve));
  });

  it("for a loop device that nothing is attached to, and a node without a device", () => {
    const loop = join(dir, "loop");
    execFileSync("mknod", [loop, "b", "7", "173"]);
    expect(problemOf(loop)).toContain("no medium");
    const nothing = join(dir, "nothing");
    execFileSync("mknod", [nothing, "b", "240", "0"]);
    expect(problemOf(nothing)).toContain("no medium");
  });

  it("for an image that others may not read", () => {
    writeFileSync(path, "secret");
    chmodSync(path, 0o600);
    chmodSync(dir, 0o755);
    mkdirSync(join(dir, "closed"), { mode: 0o700 });
    process.seteuid?.(65534);
    try {
      expect(problemOf(path)).toContain("no right to read");
      expect(problemOf(join(dir, "closed", "disk.img"))).toContain("no right to read");
    } finally {
      process.seteuid?.(0);
    }
  });
});

describe("a range of an image", () => {
  it("has its own positions and ends where it ends or the image does", () => {
    writeFileSync(path, "0123456789");
    const image = openRawImage(path);
    const target = Buffer.alloc(10);
    const read = (range: Range, length: number, position: number) =>
      target.toString("latin1", 0, range.read(target, 0, length, position));

    const inside = new Range(image, 2, 5);
    expect(inside.size).toBe(5);
    expect(read(inside, 10, 0)).toBe("23456");
    expect(read(inside, 2, 1)).toBe("34");
    expect(read(inside, 2, 4)).toBe("6");
    expect(read(inside, 2, 5)).toBe("");
    expect(read(inside, 2, 2 ** 53)).toBe("");

    const cut = new Range(image, 8, 5);
    expect(cut.size).toBe(2);
    expect(read(cut, 5, 0)).toBe("89");
    const beyond = new Range(image, 20, 5);
    expect(beyond.size).toBe(0);
    expect(read(beyond, 5, 0)).toBe("");

    const rest = new Range(image, 4, Number.POSITIVE_INFINITY);
    expect(rest.size).toBe(6);
    appendFileSync(path, "abc");
    expect(rest.size).toBe(9);
    expect(read(rest, 9, 0)).toBe("456789abc");
    expect(cut.size).toBe(5);
    image.close();
  });
});
