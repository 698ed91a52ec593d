import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 as zlibCrc32 } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Range } from "../src/images/range.js";
import { openRawImage } from "../src/images/raw.js";
import { crc32 } from "../src/volumes/crc32.js";
import { findVolumes, type VolumeTable } from "../src/volumes/volumes.js";

// sfdisk and sgdisk wait for the disk.
vi.setConfig({ testTimeout: 120_000 });

const MIB = 1024 * 1024;
const TIB = 2 ** 40;

let dir: string;
let path: string;
let log: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "slashcloud-volumes-"));
  path = join(dir, "disk.img");
  log = [];
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function sparse(size: number): void {
  writeFileSync(path, "");
  truncateSync(path, size);
}

function sfdisk(script: string, device = path): void {
  execFileSync("sfdisk", ["--quiet", "--wipe", "never", device], {
    input: `${script}\n`,
    stdio: ["pipe", "ignore", "ignore"],
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
}

function sgdisk(...options: string[]): void {
  execFileSync("sgdisk", [...options, path], { stdio: "pipe" });
}

function bytesAt(position: number, length: number): Buffer {
  const fd = openSync(path, "r");
  const buffer = Buffer.alloc(length);
  readSync(fd, buffer, 0, length, position);
  closeSync(fd);
  return buffer;
}

function write(position: number, bytes: Buffer | string): void {
  const fd = openSync(path, "r+");
  const buffer = Buffer.from(bytes as string);
  writeSync(fd, buffer, 0, buffer.length, position);
  closeSync(fd);
}

function flip(position: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, position);
  byte[0] = (byte[0] as number) ^ 1;
  writeSync(fd, byte, 0, 1, position);
  closeSync(fd);
}

/** Gives the file as a device with sectors of 4096 bytes. */
function as4Kn(use: (device: string) => void): void {
  const device = execFileSync("losetup", ["--find", "--show", "--sector-size", "4096", path], {
    encoding: "utf8",
  });
  try {
    use(device.trim());
  } finally {
    execFileSync("losetup", ["--detach", device.trim()]);
  }
}

function volumes(diskName = "sda"): VolumeTable {
  const image = openRawImage(path);
  try {
    return findVolumes(image, diskName, (line) => log.push(line));
  } finally {
    image.close();
  }
}

/** The table as sfdisk tells it, in the words of VolumeTable. */
function oracle(device = path) {
  const { partitiontable: table } = JSON.parse(
    execFileSync("sfdisk", ["--json", device], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  );
  const id = table.id.toLowerCase().replace("0x", "");
  const extended = ["5", "f", "85"];
  return {
    kind: table.label === "dos" ? "mbr" : table.label,
    id,
    sectorSize: table.sectorsize,
    volumes: (table.partitions ?? [])
      .map(
        (partition: {
          node: string;
          start: number;
          size: number;
          type: string;
          uuid?: string;
          name?: string;
        }) => {
          const number = Number(/p?(\d+)$/.exec(partition.node.slice(device.length))?.[1]);
          return {
            name: `sda${number}`,
            number,
            offset: partition.start * table.sectorsize,
            length: partition.size * table.sectorsize,
            partitionType: partition.type.toLowerCase().padStart(2, "0"),
            partitionUuid: partition.uuid?.toLowerCase() ?? `${id}-${number.toString(16).padStart(2, "0")}`,
            partitionLabel: partition.name ?? "",
            parent: "sda",
            extended: table.label === "dos" && extended.includes(partition.type),
          };
        },
      )
      .filter((volume: { extended: boolean }) => !volume.extended)
      .map(({ extended: _, ...volume }: { extended: boolean }) => volume),
  };
}

/** What sfdisk can tell, too: where the table itself lies is compared in map.test.ts. */
function withoutSource({ volumes: found, ranges: _, ...table }: VolumeTable) {
  return { ...table, volumes: found.map(({ source: _, ...volume }) => volume) };
}

/** Compares with sfdisk, expects no log line, and returns the volumes' names. */
function expectAsSfdisk(): string[] {
  const table = volumes();
  expect(withoutSource(table)).toEqual(oracle());
  expect(log).toEqual([]);
  return table.volumes.map((volume) => volume.name);
}

function expectWholeDisk(): void {
  const table = volumes();
  expect(table.kind).toBe("none");
  expect(table.volumes.map(({ name, number, offset, parent }) => ({ name, number, offset, parent }))).toEqual(
    [{ name: "sda", number: 0, offset: 0, parent: "" }],
  );
}

describe("an MBR disk", () => {
  it("has its primary partitions, with gaps in their numbers", () => {
    sparse(200 * MIB);
    sfdisk("label: dos\nlabel-id: 0x0000beef\nstart=2048,size=16M,type=c,bootable\nstart=100M,size=32M");
    expect(expectAsSfdisk()).toEqual(["sda1", "sda2"]);
    execFileSync("sfdisk", ["--delete", path, "1"], { stdio: "ignore" });
    expect(expectAsSfdisk()).toEqual(["sda2"]);
    expect(volumes().volumes[0]?.partitionUuid).toBe("0000beef-02");
    expect(execFileSync("partx", ["-rgo", "UUID", path], { encoding: "utf8" }).trim()).toBe("0000beef-02");
  });

  it.each(["5", "f", "85"])("has the logical partitions in an extended one of type %s", (type) => {
    sparse(400 * MIB);
    sfdisk(
      `label: dos\nsize=16M\nsize=300M,type=${type}\nsize=8M\n\n` +
        Array.from({ length: 20 }, (_, index) => `size=${index + 1}M,type=${index % 2 ? "82" : "83"}`).join(
          "\n",
        ),
    );
    const names = expectAsSfdisk();
    expect(names.slice(0, 5)).toEqual(["sda1", "sda3", "sda4", "sda5", "sda6"]);
    expect(names.length).toBeGreaterThan(15);
  });

  it("has logical partitions whose chain is not in the order of the disk", () => {
    sparse(400 * MIB);
    sfdisk("label: dos\nstart=2048,size=300M,type=5");
    execFileSync("fdisk", [path], {
      // Logical partitions made from the last to the first.
      input: "n\nl\n409600\n+8M\nn\nl\n204800\n+8M\nn\nl\n8192\n+8M\nw\n",
      stdio: ["pipe", "ignore", "ignore"],
    });
    expect(expectAsSfdisk().length).toBe(3);
  });

  it("has partitions that end beyond 2^32 bytes and up to 2 TiB", () => {
    sparse(10 * TIB);
    sfdisk("label: dos\nsize=5G\nsize=1500G\nsize=400G,type=5\nsize=1G\nsize=100G\nsize=200G");
    expect(expectAsSfdisk()).toEqual(["sda1", "sda2", "sda4", "sda5", "sda6"]);
  });

  it("is read in sectors of 4096 bytes where its contents show it", () => {
    sparse(256 * MIB);
    as4Kn((device) => {
      sfdisk("label: dos\nsize=64M\nsize=100M,type=5\nsize=16M\nsize=16M", device);
      const table = volumes();
      expect(withoutSource(table)).toEqual(oracle(device));
    });
    sparse(256 * MIB);
    as4Kn((device) => {
      sfdisk("label: dos\nsize=64M\nsize=100M", device);
      // Nothing on the disk tells yet.
      expect(volumes().sectorSize).toBe(512);
      const { offset } = oracle(device).volumes[1];
      execFileSync("mkfs.ext4", ["-qF", "-E", `offset=${offset}`, device, "20M"], { stdio: "ignore" });
      expect(withoutSource(volumes())).toEqual(oracle(device));
    });
  });

  it("is not taken for one of 4096-byte sectors by what lies elsewhere on it", () => {
    sparse(256 * MIB);
    sfdisk("label: dos\nstart=2048,size=4M\nstart=16384,size=64M");
    execFileSync("mkfs.ext4", ["-qF", "-E", "offset=8388608", path, "20M"], { stdio: "ignore" });
    expectAsSfdisk();
  });

  it("is served as far as the image goes, with a log line", () => {
    sparse(200 * MIB);
    sfdisk("label: dos\nsize=50M\nsize=50M\nsize=50M");
    const before = oracle();
    truncateSync(path, 70 * MIB);
    const table = volumes();
    expect(withoutSource(table)).toEqual(before);
    expect(table.volumes.map(({ source }) => source instanceof Range && source.length)).toEqual([
      50 * MIB,
      50 * MIB,
      50 * MIB,
    ]);
    expect(log).toEqual([
      `sda2: reaches ${31 * MIB} bytes past the end of the image; served as far as it goes`,
      `sda3: reaches ${81 * MIB} bytes past the end of the image; served as far as it goes`,
    ]);
    const image = openRawImage(path);
    const cut = findVolumes(image, "sda", () => {}).volumes.map((volume) => volume.source);
    expect(cut.map((source) => source.size)).toEqual([50 * MIB, 19 * MIB, 0]);
    expect(cut[1]?.read(Buffer.alloc(4096), 0, 4096, 19 * MIB - 100)).toBe(100);
    expect(cut[2]?.read(Buffer.alloc(4096), 0, 4096, 0)).toBe(0);
    image.close();
  });

  it("may have overlapping partitions", () => {
    sparse(64 * MIB);
    sfdisk("label: dos\nsize=10M\nsize=10M");
    // The second entry's start, moved into the first partition.
    write(0x1be + 16 + 8, Buffer.from([0, 16, 0, 0]));
    const found = volumes().volumes;
    expect(found.map(({ offset, length }) => [offset, length])).toEqual([
      [MIB, 10 * MIB],
      [2 * MIB, 10 * MIB],
    ]);
  });

  it("names partitions of a disk that ends in a digit as the kernel does", () => {
    sparse(64 * MIB);
    sfdisk("label: dos\nsize=10M");
    expect(volumes("nvme0n1").volumes.map(({ name, parent }) => [name, parent])).toEqual([
      ["nvme0n1p1", "nvme0n1"],
    ]);
  });

  it("keeps its other partitions when the chain of logical ones loops, breaks or never ends", () => {
    sparse(600 * MIB);
    sfdisk("label: dos\nsize=10M\nsize=500M,type=5\nsize=1M\nsize=1M\nsize=10M\nsize=10M\nsize=10M");
    const extended = 11 * MIB;
    const second = extended + bytesAt(extended + 0x1be + 16 + 8, 4).readUInt32LE(0) * 512;
    const names = () => volumes().volumes.map((volume) => volume.name);
    expect(names()).toEqual(["sda1", "sda3", "sda4", "sda5", "sda6", "sda7"]);

    // The second record's link leads to the first record.
    write(second + 0x1be + 16 + 8, Buffer.alloc(4));
    log = [];
    expect(names()).toEqual(["sda1", "sda3", "sda4", "sda5", "sda6"]);
    expect(log).toEqual([expect.stringContaining("leads back to sector 22528")]);

    write(second + 510, Buffer.from([0, 0]));
    log = [];
    expect(names()).toEqual(["sda1", "sda3", "sda4", "sda5"]);
    expect(log).toEqual([expect.stringContaining("has no signature")]);

    // Each sector of the extended partition links to the next: with a partition, and without.
    const chain = (partitionSectors: number) => {
      for (let record = 0; record < 1000; record++) {
        const sector = Buffer.alloc(512);
        sector.writeUInt8(0x83, 0x1be + 4);
        sector.writeUInt32LE(1, 0x1be + 8);
        sector.writeUInt32LE(partitionSectors, 0x1be + 12);
        sector.writeUInt8(5, 0x1be + 20);
        sector.writeUInt32LE(record + 1, 0x1be + 24);
        sector.writeUInt32LE(1, 0x1be + 28);
        sector.writeUInt16LE(0xaa55, 510);
        write(extended + record * 512, sector);
      }
      log = [];
      return names();
    };
    expect(chain(1)).toHaveLength(251 + 3);
    expect(log).toEqual([expect.stringContaining("more than 255 partitions")]);
    expect(chain(0)).toHaveLength(3);
    expect(log).toEqual([expect.stringContaining("100 extended boot records in a row are empty")]);
  });
});

describe("a GPT disk", () => {
  const script =
    'label: gpt\nsize=100M,type=uefi,name="EFI System"\nsize=200M,name="Grüße, 世界"\nsize=50M,type=swap\nsize=300M,name=data';

  it("has its partitions with types, GUIDs and names", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    expect(expectAsSfdisk()).toEqual(["sda1", "sda2", "sda3", "sda4"]);
    expect(volumes().volumes[1]?.partitionLabel).toBe("Grüße, 世界");
  });

  it("has gaps in its numbers, partitions out of order and the longest name", () => {
    sparse(1024 * MIB);
    sgdisk("-n", "7:800M:+20M", "-n", "3:100M:+50M", "-n", "128:10M:+1M", "-c", `7:${"n".repeat(36)}`);
    expect(expectAsSfdisk()).toEqual(["sda3", "sda7", "sda128"]);
  });

  it("may have more than 128 entries, and none", () => {
    sparse(1024 * MIB);
    sgdisk("--resize-table=512", ...[...Array(250)].flatMap((_, index) => ["-n", `${index + 1}:0:+1M`]));
    expect(expectAsSfdisk()).toHaveLength(250);
    sgdisk("-n", "255:0:+1M", "-n", "256:0:+1M", "-n", "300:0:+1M");
    expect(volumes().volumes.at(-1)?.name).toBe("sda255");
    expect(log).toEqual(["sda: partitions from number 256 on are not shown"]);
    log = [];
    sgdisk("--zap-all");
    sgdisk("--clear");
    expect(expectAsSfdisk()).toEqual([]);
  });

  it("is known by its GPT when its MBR is a hybrid", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    sgdisk("--hybrid=1:2:4");
    expect(expectAsSfdisk()).toEqual(["sda1", "sda2", "sda3", "sda4"]);
  });

  it("may be larger than 2 TiB, and as large as 10", () => {
    sparse(10 * TIB);
    sfdisk("label: gpt\nsize=3T\nsize=1M\nsize=6T,name=last");
    expect(expectAsSfdisk()).toEqual(["sda1", "sda2", "sda3"]);
    write(512, Buffer.alloc(92));
    expect(withoutSource(volumes())).toEqual(oracle());
    expect(log).toEqual([
      expect.stringMatching(/^sda: the primary GPT header has no signature; the backup at/),
    ]);
  });

  it("may have sectors of 4096 bytes, also when only its backup is left", () => {
    sparse(10 * TIB);
    as4Kn((device) => {
      sfdisk(`${script}\nsize=5T`, device);
      const expected = oracle(device);
      expect(expected.sectorSize).toBe(4096);
      expect(withoutSource(volumes())).toEqual(expected);
      expect(log).toEqual([]);
      write(4096, Buffer.alloc(4096));
      expect(withoutSource(volumes())).toEqual(expected);
      expect(log).toHaveLength(1);
    });
  });

  const damages: [string, (path: string) => void, RegExp][] = [
    [
      "is wiped",
      () => write(512, Buffer.alloc(512)),
      /has no signature; the backup at sector 2097151 is used/,
    ],
    ["has a wrong checksum", () => write(512 + 16, "oops"), /has a wrong checksum/],
    ["has a flipped bit", () => flip(512 + 60), /has a wrong checksum/],
    ["has damaged entries", () => write(1024 + 20, "oops"), /has entries with a wrong checksum/],
    ["has an impossible size", () => write(512 + 12, Buffer.alloc(4, 255)), /has an impossible size/],
    ["is wiped with its entries", () => write(512, Buffer.alloc(33 * 512)), /has no signature/],
  ];
  it.each(damages)("is known by its backup when the primary header %s", (_, damage, line) => {
    sparse(1024 * MIB);
    sfdisk(script);
    const expected = oracle();
    damage(path);
    expect(withoutSource(volumes())).toEqual(expected);
    expect(log).toEqual([expect.stringMatching(line)]);
  });

  it("is known by its backup where that was the end before the image grew", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    const expected = withoutSource(volumes());
    truncateSync(path, 4096 * MIB);
    write(512 + 16, "oops");
    expect(withoutSource(volumes())).toEqual(expected);
    write(512, Buffer.alloc(512));
    expect(withoutSource(volumes())).toEqual(expected);
    expect(log).toHaveLength(2);
  });

  it("is known without its backup", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    const expected = oracle();
    write(1024 * MIB - 33 * 512, Buffer.alloc(33 * 512));
    expect(withoutSource(volumes())).toEqual(expected);
    expect(log).toEqual([]);
  });

  it("is served as far as a truncated image goes, with log lines", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    const expected = oracle();
    truncateSync(path, 150 * MIB);
    expect(withoutSource(volumes())).toEqual(expected);
    expect(log.map((line) => line.split(":")[0])).toEqual(["sda2", "sda3", "sda4"]);
  });

  it("is known when its first sector was wiped, and its header was not", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    const expected = oracle();
    write(0, Buffer.alloc(512));
    expect(withoutSource(volumes())).toEqual(expected);
    expect(log).toEqual([expect.stringContaining("the first sector is wiped")]);
    // Wiped on purpose, as before a new use: the backup far away is not a table.
    write(0, Buffer.alloc(MIB));
    expectWholeDisk();
  });

  it("is one whole disk, with a log line, when no header is good", () => {
    sparse(1024 * MIB);
    sfdisk(script);
    write(512, Buffer.alloc(512));
    write(1024 * MIB - 512, Buffer.alloc(512));
    expectWholeDisk();
    expect(log).toEqual([expect.stringContaining("no good backup")]);
  });

  it("may have entries of 256 bytes, and does not show what ends before it begins", () => {
    sparse(64 * MIB);
    sfdisk("label: gpt\nsize=10M,name=one\nsize=10M,name=two\nsize=10M,name=three");
    const expected = oracle();
    const header = bytesAt(512, 512);
    const entries = bytesAt(1024, 128 * 128);
    const spread = Buffer.alloc(64 * 256);
    for (let index = 0; index < 64; index++)
      entries.copy(spread, index * 256, index * 128, index * 128 + 128);
    const seal = () => {
      header.writeUInt32LE(64, 80);
      header.writeUInt32LE(256, 84);
      header.writeUInt32LE(zlibCrc32(spread), 88);
      header.writeUInt32LE(0, 16);
      header.writeUInt32LE(zlibCrc32(header.subarray(0, 92)), 16);
      write(512, header);
      write(1024, spread);
    };
    seal();
    expect(withoutSource(volumes())).toEqual(expected);
    spread.writeUInt32LE(1, 256 + 40);
    seal();
    expect(volumes().volumes.map((volume) => volume.name)).toEqual(["sda1", "sda3"]);
    expect(log).toEqual(["sda: partition 2 ends before it begins; it is not shown"]);
  });
});

describe("a disk without a table is one volume", () => {
  it("when it holds zeros, garbage or very little", () => {
    sparse(64 * MIB);
    expectWholeDisk();
    writeFileSync(path, Buffer.from("garbage ".repeat(100_000)));
    expectWholeDisk();
    for (const size of [1, 511, 512, 513, 1024, 4096]) {
      writeFileSync(path, Buffer.alloc(size, 0x55));
      expectWholeDisk();
    }
    expect(log).toEqual([]);
  });

  it("and has all bytes, also those that it grows by", () => {
    sparse(64 * MIB);
    const image = openRawImage(path);
    const [whole] = findVolumes(image, "sda", () => {}).volumes;
    expect(whole?.length).toBe(64 * MIB);
    truncateSync(path, 65 * MIB);
    expect(whole?.source.size).toBe(65 * MIB);
    image.close();
  });

  it("when it holds a file system", () => {
    for (const make of [
      ["mkfs.ext4", "-qF"],
      ["mkfs.ext4", "-qF", "-b", "1024"],
      ["mkfs.xfs", "-q", "-f"],
    ]) {
      sparse(512 * MIB);
      execFileSync(make[0]!, [...make.slice(1), path]);
      expectWholeDisk();
    }
    expect(log).toEqual([]);
  });

  it("when an ext file system has a boot loader before it", () => {
    sparse(64 * MIB);
    execFileSync("mkfs.ext4", ["-qF", path]);
    const loader = Buffer.alloc(512);
    loader.writeUInt16LE(0xaa55, 510);
    write(0, loader);
    expectWholeDisk();
    // Code that looks like an entry: on no disk of this size, or overlapping another.
    loader.writeUInt32LE(0x4567_89ab, 0x1be + 8);
    loader.writeUInt32LE(0x1234, 0x1be + 12);
    loader.writeUInt8(0x33, 0x1be + 4);
    write(0, loader);
    expectWholeDisk();
    loader.writeUInt32LE(100, 0x1be + 8);
    loader.writeUInt8(0x33, 0x1ce + 4);
    loader.writeUInt32LE(200, 0x1ce + 8);
    loader.writeUInt32LE(0x1234, 0x1ce + 12);
    write(0, loader);
    expectWholeDisk();
  });

  it("when a FAT or NTFS file system's boot sector looks like an MBR", () => {
    sparse(64 * MIB);
    const boot = Buffer.alloc(512);
    boot.set([0xeb, 0x3c, 0x90], 0);
    boot.write("mkfs.fat", 3, "latin1");
    boot.writeUInt16LE(512, 11);
    boot[13] = 4;
    boot.writeUInt16LE(1, 14);
    boot[16] = 2;
    boot[21] = 0xf8;
    boot.writeUInt16LE(0xaa55, 510);
    write(0, boot);
    expectWholeDisk();
    // Boot code where the table would be, by chance without a wrong boot indicator.
    boot.writeUInt32LE(0x7e00_1234, 0x1be + 12);
    write(0, boot);
    expectWholeDisk();
    boot.write("NTFS    ", 3, "latin1");
    boot.fill(0, 11, 32);
    write(0, boot);
    expectWholeDisk();
  });

  it("but a table counts, where stale marks of a file system lie around it", () => {
    sparse(64 * MIB);
    execFileSync("mkfs.ext4", ["-qF", path]);
    sfdisk("label: dos\nsize=10M\nsize=20M");
    expect(bytesAt(1080, 2)).toEqual(Buffer.from([0x53, 0xef]));
    expect(expectAsSfdisk()).toEqual(["sda1", "sda2"]);
  });

  it("when an old GPT's backup is all that is left of its table", () => {
    sparse(64 * MIB);
    sfdisk("label: gpt\nsize=10M");
    execFileSync("mkfs.ext4", ["-qF", path]);
    expectWholeDisk();
  });

  it("and an image that cannot be read is logged, not thrown", () => {
    const unreadable = {
      size: MIB,
      read(): number {
        throw new Error("EIO: i/o error, read");
      },
    };
    expect(findVolumes(unreadable, "sda", (line) => log.push(line)).kind).toBe("none");
    expect(log[0]).toBe("sda: cannot be read at byte 0: EIO: i/o error, read");
  });
});

it("the checksum is zlib's", () => {
  for (const text of ["", "a", "123456789", "x".repeat(1000)]) {
    expect(crc32(Buffer.from(text))).toBe(zlibCrc32(text));
  }
});
