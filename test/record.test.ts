/** Recordings: slashcloud's own, QEMU's and the kernel's logs of writes, and Gamma-Ray's pipe. */
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { openRecording } from "../src/capture/recording/open.js";
import { RecordingWriter } from "../src/capture/recording/writer.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

const folder = workFolder("record");

afterAll(cleanUp);

const MIB = 1 << 20;

function slashcloud(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

const common = { fua: false, time: 1_700_000_000_123 };
const records: WriteRecord[] = [
  { ...common, kind: "write", offset: 4096, length: 1000, data: Buffer.alloc(1000, "a"), sequence: 1 },
  { ...common, kind: "zeroes", offset: 0, length: 5000, data: undefined, fua: true, sequence: 2 },
  { ...common, kind: "flush", offset: 0, length: 0, data: undefined, sequence: 3 },
  { ...common, kind: "discard", offset: 2 ** 40, length: 2 ** 35, data: undefined, sequence: 4 },
  { ...common, kind: "gap", offset: 8192, length: 512, data: undefined, sequence: 2 ** 33 },
  {
    ...common,
    kind: "write",
    offset: 2 ** 41,
    length: 512,
    data: Buffer.alloc(512, "b"),
    sequence: 2 ** 33 + 1,
  },
  { ...common, kind: "write", offset: 512, length: 2 ** 30, data: undefined, sequence: 2 ** 33 + 2 },
];

async function read(path: string, form: "auto" | "pipe" = "auto") {
  const recording = await openRecording(path, form);
  const all: WriteRecord[] = [];
  for await (const record of recording.records) all.push(record);
  return { all, torn: recording.ending.torn, diskSize: recording.diskSize };
}

async function write(name: string, all: readonly WriteRecord[], diskSize = 2 ** 42): Promise<string> {
  const path = join(folder, name);
  const writer = await RecordingWriter.create(path, diskSize);
  // In two batches, as a queue would.
  await writer.write(all.slice(0, 2));
  await writer.write(all.slice(2));
  await writer.close();
  return path;
}

describe("a recording", () => {
  test.each(["plain.rec", "zipped.rec.gz"])("%s has what was written to it, to the byte", async (name) => {
    const path = await write(name, records);
    expect(await read(path)).toEqual({ all: records, torn: undefined, diskSize: 2 ** 42 });
    const bytes = readFileSync(path);
    expect((name.endsWith(".gz") ? gunzipSync(bytes) : bytes).subarray(0, 8).toString()).toBe("SLCLREC\n");
    await expect(RecordingWriter.create(path, 1)).rejects.toThrow("EEXIST");
  });

  test("a torn end is left out, wherever it is torn", async () => {
    const path = await write("torn.rec", records);
    const whole = readFileSync(path);
    const cut = join(folder, "cut.rec");
    for (let length = 40; length < whole.length; length += 37) {
      writeFileSync(cut, whole.subarray(0, length));
      const { all } = await read(cut);
      expect(all).toEqual(records.slice(0, all.length));
    }
    writeFileSync(cut, Buffer.concat([whole, Buffer.alloc(5000)]));
    expect(await read(cut)).toMatchObject({ all: records, torn: "a record that is not whole" });
  });

  test("a torn end of a gzipped one is left out, too", async () => {
    const many = Array.from({ length: 20 }, (_, i) => ({
      ...records[0]!,
      length: 4096,
      data: randomBytes(4096),
      sequence: i + 1,
    }));
    const path = await write("torn.rec.gz", many);
    truncateSync(path, statSync(path).size - 30_000);
    const { all, torn } = await read(path);
    expect(all.length).toBeGreaterThan(10);
    expect(all).toEqual(many.slice(0, all.length));
    expect(torn).toBeDefined();
    appendFileSync(path, Buffer.alloc(50_000));
    const damaged = await read(path);
    expect(damaged.all.length).toBeGreaterThan(10);
    expect(damaged.all).toEqual(many.slice(0, damaged.all.length));
  });

  test("a flipped bit ends it there", async () => {
    const path = await write("flipped.rec", records);
    const bytes = readFileSync(path);
    bytes[40 + 44 + 500]! ^= 1;
    writeFileSync(path, bytes);
    expect(await read(path)).toMatchObject({ all: [], torn: "a record that is not whole" });
  });

  test("numbers that make no sense are an end, not an allocation", async () => {
    const path = await write("huge.rec", records.slice(0, 1));
    const bytes = readFileSync(path);
    bytes.writeUInt32LE(0xffffffff, 40 + 36);
    writeFileSync(path, bytes);
    expect((await read(path)).all).toEqual([]);
  });
});

describe("slashcloud replay", () => {
  test("applies what was recorded, up to a record if wanted, and tells of gaps", async () => {
    const image = join(folder, "image.img");
    writeFileSync(image, Buffer.alloc(16384, "x"));
    const few = [records[0]!, records[1]!, records[2]!, { ...records[4]!, sequence: 4 }];
    const bare = { ...records[6]!, length: 1024, sequence: 5 };
    const path = await write("few.rec", [...few, bare], 16384);
    expect(slashcloud("replay", path, "--onto", image, "--until", "1").status).toBe(0);
    const expected = Buffer.alloc(16384, "x").fill("a", 4096, 5096);
    expect(readFileSync(image).equals(expected)).toBe(true);
    const { status, stdout, stderr } = slashcloud("replay", path, "--onto", image);
    expect(readFileSync(image).equals(expected.fill(0, 0, 5000))).toBe(true);
    expect(status).toBe(1);
    expect(stderr).toContain("up to 1536 bytes in 2 ranges are not what they were");
    expect(stdout).toContain("5 records (6000 bytes), up to number 5");
  });

  test("one clear line for what cannot be replayed", async () => {
    const image = join(folder, "small.img");
    writeFileSync(image, Buffer.alloc(4096, "x"));
    const path = await write("other.rec", records);
    const tells = (args: string[], line: RegExp, exit = 1) => {
      const { status, stderr } = slashcloud("replay", ...args);
      expect(stderr).toMatch(line);
      expect(stderr.trim().split("\n").length).toBeLessThanOrEqual(exit === 1 ? 1 : 3);
      expect(status).toBe(exit);
    };
    tells([path, "--onto", image], /has 4096 bytes, the recorded disk 4398046511104/);
    tells([image, "--onto", image], /small\.img: it is no recording/);
    tells([join(folder, "none"), "--onto", image], /none: cannot be used \(ENOENT\)/);
    tells([path, "--onto", join(folder, "none")], /no such image/);
    tells([path, "--onto", image, "--until", "x"], /whole number/, 2);
    expect(readFileSync(image).equals(Buffer.alloc(4096, "x"))).toBe(true);
  });
});

describe("logs of others", () => {
  test("QEMU's blklogwrites: replayed onto the base, the log gives the disk", async () => {
    const [disk, base, log] = ["disk.img", "base.img", "log.img"].map((name) => join(folder, name));
    writeFileSync(disk!, Buffer.alloc(8 * MIB, "0"));
    copyFileSync(disk!, base!);
    writeFileSync(log!, "");
    const options = [
      "driver=blklogwrites",
      `file.driver=file,file.filename=${disk}`,
      `log.driver=file,log.filename=${log}`,
    ];
    const commands = [
      "write -P 1 0 4096",
      "write -P 2 512 1024",
      "write -z 1M 2M",
      "write -P 3 4M 3M",
      "write -f -P 4 7M 64k",
      "discard 5M 1M",
      "write -P 5 5M 1M",
      "flush",
    ];
    await run("qemu-io", [
      "--image-opts",
      options.join(","),
      ...commands.flatMap((command) => ["-c", command]),
    ]);
    const { all } = await read(log!);
    expect(
      all.filter(({ kind }) => kind === "discard").map(({ offset, length }) => [offset, length]),
    ).toEqual([[5 * MIB, MIB]]);
    expect(all.some(({ kind }) => kind === "flush")).toBe(true);
    expect(slashcloud("replay", log!, "--onto", base!).status).toBe(0);
    expect(digest(base!)).toBe(digest(disk!));
  });

  test("the kernel's form: marks are passed over, flags are told, the rest of an old log is not", async () => {
    const path = join(folder, "dm.log");
    const sector = 4096;
    const entry = (at: number, count: number, flags: number, data?: Buffer) => {
      const head = Buffer.alloc(sector);
      head.writeBigUInt64LE(BigInt(at), 0);
      head.writeBigUInt64LE(BigInt(count), 8);
      head.writeBigUInt64LE(BigInt(flags), 16);
      return data === undefined ? head : Buffer.concat([head, data]);
    };
    const superblock = Buffer.alloc(sector);
    superblock.writeBigUInt64LE(0x6a736677736872n, 0);
    superblock.writeBigUInt64LE(1n, 8);
    superblock.writeBigUInt64LE(4n, 16);
    superblock.writeUInt32LE(sector, 24);
    const data = Buffer.alloc(2 * sector, "d");
    const log = [
      superblock,
      entry(3, 2, 2 | 16, data),
      entry(0, 0, 8),
      entry(9, 7, 4),
      entry(5, 2, 1, data),
      entry(0, 2, 0, data),
    ];
    writeFileSync(path, Buffer.concat(log));
    const { all, torn } = await read(path);
    expect(all.map(({ kind, offset, length, fua }) => [kind, offset / sector, length / sector, fua])).toEqual(
      [
        ["write", 3, 2, true],
        ["discard", 9, 7, false],
        ["flush", 0, 0, false],
        ["write", 5, 2, false],
      ],
    );
    expect(torn).toBeUndefined();
    writeFileSync(path, Buffer.concat(log).subarray(0, 7 * sector));
    expect((await read(path)).torn).toMatch(/missing/);
  });

  test("Gamma-Ray's pipe: sectors and data, from a pipe as they come", async () => {
    const [image, fifo] = ["pipe.img", "pipe"].map((name) => join(folder, name));
    writeFileSync(image!, Buffer.alloc(MIB, "0"));
    const record = (sector: number, count: number, fill: string) => {
      const head = Buffer.alloc(12);
      head.writeBigInt64LE(BigInt(sector), 0);
      head.writeInt32LE(count, 8);
      return Buffer.concat([head, Buffer.alloc(count * 512, fill)]);
    };
    const stream = Buffer.concat([
      record(0, 1, "a"),
      record(8, 64, "b"),
      record(1, 0, ""),
      record(2, 3, "c"),
    ]);
    await run("mkfifo", [fifo!]);
    const whole = join(folder, "pipe.bin");
    writeFileSync(whole, Buffer.concat([stream, record(100, 2, "d").subarray(0, 700)]));
    const feed = run("sh", ["-c", `cat ${whole} > ${fifo}`]);
    const { all, torn } = await read(fifo!, "pipe");
    await feed;
    expect(all.map(({ offset, length }) => [offset / 512, length / 512])).toEqual([
      [0, 1],
      [8, 64],
      [2, 3],
    ]);
    expect(torn).toBe("688 bytes of a write");
    const { status, stderr } = slashcloud("replay", whole, "--form", "pipe", "--onto", image!);
    expect(status).toBe(0);
    expect(stderr).toContain("ends with 688 bytes of a write");
    const expected = Buffer.alloc(MIB, "0")
      .fill("a", 0, 512)
      .fill("b", 4096, 4096 + 32768)
      .fill("c", 1024, 2560);
    expect(readFileSync(image!).equals(expected)).toBe(true);
    writeFileSync(whole, Buffer.alloc(512, 0xff));
    await expect(read(whole, "pipe")).rejects.toThrow("make no sense");
    expect(existsSync(fifo!)).toBe(true);
  });
});
