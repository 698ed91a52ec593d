/** FAT and exFAT: where a guest mounts them, what they are called, other letters, and disks that are damaged. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Attributes, type FileSystem } from "../src/filesystems/filesystem.js";
import { identify, openFileSystem } from "../src/filesystems/formats.js";
import type { Source } from "../src/images/image.js";
import { IoError } from "../src/images/io-error.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("fat-cases");
afterAll(cleanUp);

class Memory implements Source {
  bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    if (position >= this.bytes.length) return 0;
    return this.bytes.copy(target, targetOffset, position, Math.min(position + length, this.bytes.length));
  }
}

function open(bytes: Buffer): FileSystem {
  const fileSystem = openFileSystem(new Memory(bytes), new BlockCache(1 << 20), () => {});
  if (fileSystem === undefined) throw new Error("not recognised");
  return fileSystem;
}

function errnoOf(action: () => unknown): number {
  try {
    action();
  } catch (error) {
    if (error instanceof IoError) return error.errno;
    throw error;
  }
  return 0;
}

const at = (fileSystem: FileSystem, ...names: string[]) =>
  names.reduce((ino, name) => fileSystem.lookup(ino, Buffer.from(name)), fileSystem.rootInode);

function contents(fileSystem: FileSystem, ...names: string[]): string {
  const target = Buffer.alloc(100_000);
  const ino = at(fileSystem, ...names);
  return target.toString("latin1", 0, fileSystem.read(ino, 0, target.length, target, 0));
}

/** An image with files of one cluster (512 bytes) and more. */
function fat(width: "12" | "16"): Buffer {
  const image = join(folder, `fat${width}.img`);
  execFileSync("truncate", ["-s", width === "12" ? "1M" : "8M", image]);
  execFileSync("mkfs.vfat", ["-F", width, "-s", "1", image]);
  for (const [name, size] of [
    ["one", 500],
    ["four", 2000],
    ["Long name of a FILE.text", 1500],
  ] as const) {
    writeFileSync(join(folder, name), (name[0] as string).repeat(size));
    execFileSync("mcopy", ["-i", image, join(folder, name), "::"]);
  }
  execFileSync("mmd", ["-i", image, "::below"]);
  execFileSync("mcopy", ["-i", image, join(folder, "four"), "::below/four"]);
  return readFileSync(image);
}

describe("a guest's mount table", () => {
  test("puts an EFI system partition to /boot/efi, by UUID, and others by LABEL and PARTUUID", async () => {
    const image = join(folder, "gpt.img");
    await run("truncate", ["-s", "200M", image]);
    await run("bash", [
      "-c",
      `printf 'label: gpt\\nsize=40M, type=U, uuid=11111111-2222-3333-4444-555555555555\\nsize=60M\\nsize=40M\\nsize=20M, uuid=99999999-8888-7777-6666-555555555555\\n' | sfdisk -q ${image}`,
    ]);
    const { partitiontable } = JSON.parse(await run("sfdisk", ["--json", image])) as {
      partitiontable: { partitions: Array<{ start: number; size: number }> };
    };
    const put = async (n: number, make: (part: string) => Promise<unknown>) => {
      const part = join(folder, `part${n}.img`);
      const { start, size } = partitiontable.partitions[n] as { start: number; size: number };
      await run("truncate", ["-s", `${size * 512}`, part]);
      await make(part);
      await run("dd", [
        `if=${part}`,
        `of=${image}`,
        "bs=512",
        `seek=${start}`,
        "conv=notrunc,sparse",
        "status=none",
      ]);
    };
    const efi = join(folder, "BOOTX64.EFI");
    writeFileSync(efi, "MZ".repeat(5000));
    await put(0, async (part) => {
      await run("mkfs.vfat", ["-F", "32", "-s", "1", "-n", "EFI", "-i", "ABCD1234", part]);
      await run("mmd", ["-i", part, "::EFI", "::EFI/BOOT"]);
      await run("mcopy", ["-i", part, efi, "::EFI/BOOT/"]);
    });
    const root = join(folder, "root");
    for (const name of ["etc", "bin", "boot/efi", "srv/shared", "srv/small"])
      mkdirSync(join(root, name), { recursive: true });
    writeFileSync(
      join(root, "etc/fstab"),
      [
        "UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1",
        "LABEL=Sh\u00e4red /srv/shared exfat defaults 0 0",
        "PARTUUID=99999999-8888-7777-6666-555555555555 /srv/small vfat defaults 0 0",
      ].join("\n"),
    );
    await put(1, (part) => run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", root, part]));
    await put(2, (part) => run("mkfs.exfat", ["-L", "Sh\u00e4red", part]));
    await put(3, async (part) => {
      await run("mkfs.vfat", ["-F", "16", part]);
      await run("mcopy", ["-i", part, efi, "::small.bin"]);
    });
    const served = await serve(join(folder, "cloud"), { g: image });
    const tree = served.guest("g");
    expect(readFileSync(join(tree, "boot/efi/EFI/BOOT/BOOTX64.EFI"), "latin1")).toBe("MZ".repeat(5000));
    expect(readFileSync(join(tree, "boot/efi/efi/boot/bootx64.efi"), "latin1")).toBe("MZ".repeat(5000));
    expect(statSync(join(tree, "boot/efi/EFI")).mode & 0o7777).toBe(0o755);
    expect(readdirSync(join(tree, "srv/shared"))).toEqual([]);
    expect(readdirSync(join(tree, "srv/small"))).toEqual(["small.bin"]);
    await served.stop();
  }, 120_000);
});

describe("labels and serial numbers are those that blkid tells", () => {
  const blkid = (image: string, tag: string) =>
    execFileSync("sh", ["-c", 'blkid -p -o value -s "$2" "$1" || true', "sh", image, tag]).toString().trim();

  test.each([
    ["vfat", ["mkfs.vfat", "-F", "16", "-n", "MY LABEL", "-i", "00ABCDEF"]],
    ["vfat", ["mkfs.vfat", "-F", "32", "-s", "1"]],
    ["vfat", ["mkfs.vfat", "-F", "12", "-n", "TWELVE"]],
    ["exfat", ["mkfs.exfat", "-L", "\u00dcber \u65e5\u672c"]],
    ["exfat", ["mkfs.exfat"]],
  ])("%s %j", async (type, [program, ...args]) => {
    const image = join(folder, "label.img");
    await run("rm", ["-f", image]);
    await run("truncate", ["-s", args.includes("12") ? "1M" : "40M", image]);
    await run(program as string, [...args, image]);
    const found = identify(new Memory(readFileSync(image)));
    expect(found).toEqual({ type, label: blkid(image, "LABEL"), uuid: blkid(image, "UUID") });
    expect(found?.uuid).toMatch(/^[0-9A-F]{4}-[0-9A-F]{4}$/);
  });
});

describe("names in other letters", () => {
  test("are found in FAT, as is the short name, and a point at the end does not count", () => {
    const fileSystem = open(fat("16"));
    const ino = at(fileSystem, "Long name of a FILE.text");
    expect(ino).not.toBe(0);
    for (const name of [
      "LONG NAME OF A FILE.TEXT",
      "long name of a file.text",
      "LONGNA~1.TEX",
      "longna~1.tex",
      "Long name of a FILE.text..",
    ])
      expect(at(fileSystem, name), name).toBe(ino);
    expect(at(fileSystem, "Long name of a FILE")).toBe(0);
    expect(at(fileSystem, "...")).toBe(0);
  });
});

describe("a damaged FAT", () => {
  /** Where the table begins, and a file's entry in the root directory. */
  const places = (bytes: Buffer) => {
    const table = bytes.readUInt16LE(14) * 512;
    const root = table + 2 * bytes.readUInt16LE(22) * 512;
    return { table, root, entry: (name: string) => bytes.indexOf(name.padEnd(11), root, "latin1") };
  };
  const setNext = (bytes: Buffer, cluster: number, next: number) =>
    bytes.writeUInt16LE(next, places(bytes).table + cluster * 2);
  const firstOf = (bytes: Buffer, name: string) => bytes.readUInt16LE(places(bytes).entry(name) + 26);

  test("a chain that goes in a circle, or to a free cluster, or ends early, is an error for that file alone", () => {
    for (const change of [
      (bytes: Buffer, first: number) => setNext(bytes, first + 1, first),
      (bytes: Buffer, first: number) => setNext(bytes, first + 1, first + 1),
      (bytes: Buffer, first: number) => setNext(bytes, first + 1, 4000),
      (bytes: Buffer, first: number) => setNext(bytes, first + 1, 0),
      (bytes: Buffer, first: number) => setNext(bytes, first + 1, 1),
      (bytes: Buffer, first: number) => setNext(bytes, first + 1, 0xffff),
    ]) {
      const bytes = fat("16");
      change(bytes, firstOf(bytes, "FOUR"));
      const fileSystem = open(bytes);
      expect(errnoOf(() => contents(fileSystem, "four"))).toBe(5);
      expect(contents(fileSystem, "one")).toBe("o".repeat(500));
      expect(contents(fileSystem, "below", "four")).toBe("f".repeat(2000));
    }
  });

  test("chains that meet are read as they are", () => {
    const bytes = fat("16");
    setNext(bytes, firstOf(bytes, "FOUR"), firstOf(bytes, "ONE"));
    setNext(bytes, firstOf(bytes, "ONE"), firstOf(bytes, "LONGNA~1TEX"));
    const fileSystem = open(bytes);
    expect(contents(fileSystem, "four").slice(0, 512)).toBe("f".repeat(512));
    expect(contents(fileSystem, "four").slice(512, 1000)).toBe("o".repeat(488));
    expect(contents(fileSystem, "one")).toBe("o".repeat(500));
  });

  test("a directory that leads to itself, to the root, or to no directory, ends nothing", () => {
    for (const cluster of [0, 1, 2, 4000, 0xffff]) {
      const bytes = fat("16");
      bytes.writeUInt16LE(cluster, places(bytes).entry("BELOW") + 26);
      const fileSystem = open(bytes);
      const found = at(fileSystem, "below");
      expect(errnoOf(() => fileSystem.lookup(found, Buffer.from("four")))).not.toBe(0);
      expect(contents(fileSystem, "one")).toBe("o".repeat(500));
    }
    const bytes = fat("16");
    const first = firstOf(bytes, "BELOW");
    setNext(bytes, first, first);
    const fileSystem = open(bytes);
    expect(errnoOf(() => fileSystem.lookup(at(fileSystem, "below"), Buffer.from("none")))).toBe(5);
  });

  test("a boot sector that cannot be is refused with what is wrong", () => {
    const bytes = fat("12");
    bytes[13] = 0x80;
    bytes.writeUInt16LE(0, 19);
    bytes.writeUInt32LE(40, 32);
    expect(() => open(bytes)).toThrow("no room for data");
  });
});

describe("exFAT", () => {
  const image = join(folder, "exfat.img");
  const loop = () => execFileSync("losetup", ["--find", "--show", image]).toString().trim();

  /** An image with some files, made once. */
  let made: Buffer | undefined;
  const exfat = (): Buffer => {
    if (made !== undefined) return Buffer.from(made);
    execFileSync("truncate", ["-s", "4M", image]);
    execFileSync("mkfs.exfat", ["-c", "512", image]);
    const device = loop();
    const inside = join(folder, "exfat-inside");
    mkdirSync(inside, { recursive: true });
    try {
      execFileSync("mount.exfat-fuse", [device, inside], { stdio: "pipe" });
      try {
        writeFileSync(join(inside, "\u00c4 file"), "a".repeat(2000));
        writeFileSync(join(inside, "other"), "o".repeat(700));
      } finally {
        execFileSync("umount", [inside]);
      }
      execFileSync("sync", [device]);
    } finally {
      execFileSync("losetup", ["-d", device]);
    }
    made = readFileSync(image);
    return Buffer.from(made);
  };

  /** Where the set of the first file begins, and making its checksum right. */
  const setAt = (bytes: Buffer): number => {
    for (let place = bytes.readUInt32LE(88) * 512; ; place += 32)
      if (bytes[place] === 0x85 && bytes[place + 32] === 0xc0) return place;
  };
  const seal = (bytes: Buffer) => {
    const start = setAt(bytes);
    let sum = 0;
    for (let n = 0; n < 96; n++)
      if (n !== 2 && n !== 3) sum = (((sum << 15) | (sum >> 1)) + (bytes[start + n] as number)) & 0xffff;
    bytes.writeUInt16LE(sum, start + 2);
  };

  test("names are compared in capital letters by the volume's own table", () => {
    const fileSystem = open(exfat());
    expect(contents(fileSystem, "\u00e4 FILE")).toBe("a".repeat(2000));
    expect(at(fileSystem, "\u00e4 FILES")).toBe(0);
  });

  test("what has not been written reads as zeros", () => {
    const bytes = exfat();
    bytes.writeUInt32LE(600, setAt(bytes) + 32 + 8);
    seal(bytes);
    expect(contents(open(bytes), "\u00c4 file")).toBe("a".repeat(600) + "\0".repeat(1400));
  });

  test("times are away from UTC as they say", () => {
    const bytes = exfat();
    const start = setAt(bytes);
    const stat = (offset: number): number => {
      bytes[start + 23] = offset;
      seal(bytes);
      const fileSystem = open(bytes);
      const out = new Attributes();
      fileSystem.stat(at(fileSystem, "\u00c4 file"), out);
      return out.mtime;
    };
    const utc = stat(0x80);
    expect(stat(0x88)).toBe(utc - 2 * 3600);
    expect(stat(0x80 | (0x80 - 20))).toBe(utc + 5 * 3600);
    expect(stat(0x08)).toBe(utc);
  });

  test("a set with a wrong checksum is an error for that file alone", () => {
    const bytes = exfat();
    const start = setAt(bytes);
    bytes[start + 14] = (bytes[start + 14] as number) ^ 1;
    const fileSystem = open(bytes);
    expect(errnoOf(() => fileSystem.stat(at(fileSystem, "\u00c4 file"), new Attributes()))).toBe(5);
    expect(contents(fileSystem, "other")).toBe("o".repeat(700));
  });

  test("a boot region with a wrong checksum is refused", () => {
    const bytes = exfat();
    bytes[200] = (bytes[200] as number) ^ 1;
    expect(() => open(bytes)).toThrow("its boot region has a wrong checksum");
  });
});
