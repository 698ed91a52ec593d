/** What Windows writes and ntfs-3g does not show, or shows otherwise; and volumes that are damaged. */
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Attributes, FileType } from "../src/filesystems/filesystem.js";
import { identify } from "../src/filesystems/formats.js";
import { openNtfs } from "../src/filesystems/ntfs/open.js";
import { openImage } from "../src/images/open.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { inputs, makeNtfs, mountNtfs, wimResources } from "./support/compressed.js";
import { cleanUp, onEnd, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import {
  attributeAt,
  changeBytes,
  changeRecord,
  descriptor,
  extendedAttributes,
  junction,
  linuxLink,
  reparsePoint,
  setAttributes,
  symbolicLink,
  wofPoint,
  words,
} from "./support/ntfs-data.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("ntfs-windows");
afterAll(cleanUp);

const REPARSE = "system.ntfs_reparse_data";
const EIO = 5;
const E2BIG = 7;
const ENOTDIR = 20;
const ENOKEY = 126;
const EOPNOTSUPP = 95;

interface Opened {
  readonly fs: ReturnType<typeof openNtfs>;
  readonly log: string[];
  ino(path: string): number;
  stat(path: string): Attributes;
  link(path: string): string;
  read(path: string): Buffer;
  attribute(path: string, name: string): Buffer | undefined;
  names(path: string): string[];
}

/** A volume read by our own code alone. */
function open(image: string, ignoresCase = false): Opened {
  const source = openImage(image);
  onEnd(() => source.close());
  const log: string[] = [];
  const fs = openNtfs(source, new BlockCache(16 << 20), (line) => log.push(line), { ignoresCase });
  const ino = (path: string): number =>
    path
      .split("/")
      .filter((name) => name !== "")
      .reduce<number>((directory, name) => {
        const found = fs.lookup(directory, Buffer.from(name));
        if (found === 0) throw new Error(`${name} of ${path} is not there`);
        return found;
      }, fs.rootInode);
  return {
    fs,
    log,
    ino,
    stat: (path) => {
      const attributes = new Attributes();
      fs.stat(ino(path), attributes);
      return attributes;
    },
    link: (path) => fs.readlink(ino(path)).toString(),
    read: (path) => {
      const attributes = new Attributes();
      fs.stat(ino(path), attributes);
      const bytes = Buffer.alloc(attributes.size + 1);
      return bytes.subarray(0, fs.read(ino(path), 0, bytes.length, bytes, 0));
    },
    attribute: (path, name) => fs.attribute(ino(path), name),
    names: (path) => {
      const names: string[] = [];
      fs.list(ino(path), 0, {
        entry: (name, at, length) => names.push(name.toString("utf8", at, at + length)) > 0,
      });
      return names;
    },
  };
}

/** The errno with which something fails; 0 if it does not. */
function errno(action: () => unknown): number {
  try {
    action();
    return 0;
  } catch (error) {
    return (error as { errno: number }).errno;
  }
}

const system = join(folder, "system.img");
const data = join(folder, "data.img");
const EVERYONE = "S-1-1-0";
const USERS = "S-1-5-32-545";
const ADMINISTRATORS = "S-1-5-32-544";
const ALICE = "S-1-5-21-1-2-3-1001";
const NONE = "S-1-5-21-1-2-3-513";
const ALL = 0x1f01ff;
const READ_EXECUTE = 0x1200a9;
const READ_ONLY = 0x120089;
const stored = new Map<string, Buffer>();
const links: Record<string, { point: Buffer; leads: string; ours?: string; isFile?: boolean }> = {
  "Documents and Settings": { point: junction("\\??\\C:\\Users"), leads: "/Users" },
  "other case": { point: junction("\\??\\c:\\users\\ALICE"), leads: "/Users/Alice" },
  "by its name for DOS": { point: junction("\\??\\C:\\PROGRA~1\\inside"), leads: "/Program Files/inside" },
  drive: { point: junction("\\??\\C:\\"), leads: "/" },
  "not there": { point: junction("\\??\\C:\\no\\where"), leads: "/no/where" },
  "through a link": {
    point: junction("\\??\\C:\\documents and settings\\alice"),
    leads: "/Documents and Settings/alice",
  },
  "another drive": { point: junction("\\??\\D:\\films"), leads: "/D:/films" },
  "another volume": { point: junction("\\??\\Volume{0123}\\"), leads: "/Volume{0123}" },
  share: { point: symbolicLink("\\??\\UNC\\server\\share\\x", false), leads: "/UNC/server/share/x" },
  "a file": {
    point: symbolicLink("\\??\\C:\\users\\alice\\NOTES.TXT", false),
    leads: "/Users/Alice/Notes.txt",
    isFile: true,
  },
  relative: { point: symbolicLink("users\\alice", true), leads: "Users/Alice" },
  "Users/up": { point: symbolicLink("..\\WINDOWS\\system32", true), leads: "../Windows/System32" },
  "Users/Alice/from the top": { point: symbolicLink("\\windows", true), leads: "../../Windows" },
  "of Linux": { point: linuxLink("../etc/ünï"), leads: "../etc/ünï", isFile: true },
  unknown: {
    point: reparsePoint(0xa0000099, Buffer.alloc(4)),
    leads: "unsupported reparse tag 0xa0000099",
    isFile: true,
  },
};

beforeAll(async () => {
  await makeNtfs(system);
  const mounted = join(folder, "mounted");
  const unmount = await mountNtfs(system, mounted, "streams_interface=windows,special_files=wsl");
  const at = (path: string) => join(mounted, path);
  try {
    for (const path of ["Windows/System32/config", "Users/Alice", "Program Files/inside"])
      mkdirSync(at(path), { recursive: true });
    writeFileSync(at("Users/Alice/Notes.txt"), "notes");
    setAttributes([[at("Users/Alice/Notes.txt"), "system.ntfs_dos_name", Buffer.from("NOTES~1.TXT")]]);
    linkSync(at("Users/Alice/Notes.txt"), at("Users/Alice/Same.txt"));
    for (const [path, { isFile }] of Object.entries(links)) {
      if (isFile) writeFileSync(at(path), "");
      else mkdirSync(at(path));
    }
    setAttributes(Object.entries(links).map(([path, { point }]) => [at(path), REPARSE, point]));
    setAttributes([[at("Program Files"), "system.ntfs_dos_name", Buffer.from("PROGRA~1")]]);

    // Compressed as Windows does it with its own files.
    mkdirSync(at("packed"));
    const files = inputs();
    // Their decompression has a test of its own.
    for (const name of files.keys())
      if (!/^(text|shell|mixed|calls|size-(11|4097|32769|65537))$/.test(name)) files.delete(name);
    for (const [number, compress, chunk] of [
      [0, "XPRESS", "4K"],
      [1, "LZX", "32K"],
      [2, "XPRESS", "8K"],
      [3, "XPRESS", "16K"],
    ] as const) {
      for (const { name, contents, stream } of await wimResources(folder, files, compress, chunk)) {
        const path = `packed/${compress}${chunk}-${name}`;
        writeFileSync(at(path), "");
        truncateSync(at(path), contents.length);
        writeFileSync(at(`${path}:WofCompressedData`), stream);
        setAttributes([[at(path), REPARSE, wofPoint(number)]]);
        stored.set(path, contents);
      }
    }

    writeFileSync(at("streams"), "unnamed");
    writeFileSync(at("streams:short"), "short");
    writeFileSync(at("streams:long"), randomBytes(100_000));

    mkdirSync(at("linux"));
    const linux: Array<[name: string, type: string, values: Record<string, Buffer>]> = [
      ["file", "0o100644", { $LXUID: words(1000), $LXGID: words(100), $LXMOD: words(0o100640) }],
      ["socket", "0o140644", { $LXMOD: words(0o140755) }],
      ["fifo", "0o010644", { $LXUID: words(7), $LXMOD: words(0o10600) }],
      ["character", "0o020644, os.makedev(4, 65)", { $LXMOD: words(0o20666), $LXDEV: words(4, 65) }],
      ["block", "0o060644, os.makedev(8, 300)", { $LXMOD: words(0o60660), $LXDEV: words(8, 300) }],
    ];
    for (const [name, type, values] of linux) {
      await run("python3", ["-c", `import os; os.mknod("${at(`linux/${name}`)}", ${type})`]);
      setAttributes([[at(`linux/${name}`), "system.ntfs_ea", extendedAttributes(values)]]);
    }
    symlinkSync("../linux/file", at("linux/link"));

    mkdirSync(at("secure"));
    const allow = (who: string, mask: number, flags = 0) => ({ type: 0, flags, mask, who });
    const deny = (who: string, mask: number) => ({ type: 1, mask, who });
    const lists: Record<string, Buffer> = {
      everyone: descriptor(ADMINISTRATORS, ADMINISTRATORS, [allow(EVERYONE, ALL)]),
      "alice alone": descriptor(ALICE, NONE, [allow(ALICE, ALL), allow("S-1-5-18", ALL)]),
      "users may read": descriptor("S-1-5-18", NONE, [
        allow(ADMINISTRATORS, ALL),
        allow(USERS, READ_EXECUTE),
      ]),
      "group may read": descriptor(ALICE, NONE, [allow(NONE, READ_ONLY), allow(ALICE, 0x80000000)]),
      "denied first": descriptor(ALICE, NONE, [deny(EVERYONE, 2), allow(EVERYONE, ALL)]),
      "denied too late": descriptor(ALICE, NONE, [allow(EVERYONE, ALL), deny(EVERYONE, 2)]),
      "for children": descriptor(ALICE, NONE, [allow(ALICE, READ_ONLY), allow(EVERYONE, ALL, 0xb)]),
      nobody: descriptor(ALICE, NONE, []),
      "no list": descriptor(ALICE, "S-1-5-32-545", undefined),
      "of a service": descriptor("S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", NONE, [
        allow(USERS, READ_ONLY),
      ]),
    };
    for (const [name, list] of Object.entries(lists)) {
      writeFileSync(at(`secure/${name}`), "");
      setAttributes([[at(`secure/${name}`), "system.ntfs_acl", list]]);
    }
    for (const name of ["initialised", "encrypted", "bad runs", "no list", "torn"])
      writeFileSync(at(name), randomBytes(50_000));
    writeFileSync(at("deduplicated"), "x".repeat(5000));
    setAttributes([[at("deduplicated"), REPARSE, reparsePoint(0x80000013, Buffer.alloc(16))]]);
  } finally {
    await unmount();
  }

  await makeNtfs(data);
  const unmountData = await mountNtfs(data, mounted, "streams_interface=windows");
  try {
    mkdirSync(at("films/old"), { recursive: true });
    for (const [path, target] of [
      ["films/back", "\\??\\E:\\FILMS\\old"],
      ["to the system", "\\??\\C:\\Users\\Alice"],
    ] as const) {
      mkdirSync(at(path));
      setAttributes([[at(path), REPARSE, junction(target)]]);
    }
  } finally {
    await unmountData();
  }
});

describe("links", () => {
  test("lead where they lead in Windows, by the names that are there", () => {
    const { link, stat } = open(system);
    for (const [path, { leads }] of Object.entries(links)) {
      expect([path, link(path)]).toEqual([path, leads]);
      expect(stat(path).mode).toBe(FileType.LINK | 0o777);
      expect(stat(path).size).toBe(Buffer.byteLength(leads));
    }
  });

  test("of a volume of data lead to itself, or to the system's", () => {
    const { link } = open(data);
    expect(link("films/back")).toBe("../films/old");
    expect(link("to the system")).toBe("/Users/Alice");
  });

  test("ntfs-3g leads to the same, where it knows", async () => {
    const mounted = join(folder, "compared");
    const unmount = await mountNtfs(system, mounted, "ro");
    try {
      const { link } = open(system);
      for (const path of ["Documents and Settings", "other case", "a file"])
        expect(readlinkSync(join(mounted, path))).toBe(mounted + link(path));
      for (const path of ["relative", "Users/up", "of Linux", "unknown"])
        expect(readlinkSync(join(mounted, path))).toBe(link(path));
    } finally {
      await unmount();
    }
  });

  test("are no directories", () => {
    const { fs, ino } = open(system);
    const junction = ino("Documents and Settings");
    expect(errno(() => fs.lookup(junction, Buffer.from("Alice")))).toBe(ENOTDIR);
    expect(errno(() => fs.list(junction, 0, { entry: () => true }))).toBe(ENOTDIR);
  });
});

test("a guest's root is the volume of its Windows, and links lead through the tree", async () => {
  const disk = join(folder, "disk.img");
  writeFileSync(disk, "");
  truncateSync(disk, 300 << 20);
  const layout = "label: gpt\nstart=2048, size=262144\nstart=270336, size=262144\n";
  await run("sh", ["-c", `printf '${layout}' | sfdisk -q ${disk}`]);
  for (const [image, start] of [
    [data, 2048],
    [system, 270336],
  ] as const)
    await run("dd", [
      `if=${image}`,
      `of=${disk}`,
      "bs=1M",
      `seek=${start * 512}`,
      "oflag=seek_bytes",
      "conv=notrunc,sparse",
      "status=none",
    ]);
  const served = await serve(join(folder, "cloud"), { pc: disk });
  try {
    const root = served.guest("pc");
    expect(readFileSync(join(root, "Documents and Settings/Alice/Notes.txt"), "utf8")).toBe("notes");
    expect(readFileSync(join(root, "other case/Notes.txt"), "utf8")).toBe("notes");
    expect(readlinkSync(join(served.volume("pc", "sda1"), "films/back"))).toBe("../films/old");
    expect((await run("stat", ["-f", "-c", "%s", root])).trim()).toBe("4096");
    for (const [path, contents] of stored)
      expect(readFileSync(join(root, path)).equals(contents), path).toBe(true);
  } finally {
    expect(await served.stop()).toBe(0);
  }
});

test("what a guest writes is shown within seconds, though nobody is told of it", async () => {
  const image = join(folder, "live.img");
  copyFileSync(data, image);
  const served = await serve(join(folder, "live-cloud"), { pc: image });
  const mounted = join(folder, "live");
  try {
    const root = served.guest("pc");
    expect(readdirSync(root).sort()).toEqual(["films", "to the system"]);
    const unmount = await mountNtfs(image, mounted, "rw");
    try {
      writeFileSync(join(mounted, "new"), "new");
      await run("sync", ["-f", mounted]);
      await expect.poll(() => readdirSync(root), { timeout: 10_000 }).toContain("new");
      await expect.poll(() => readFileSync(join(root, "new"), "utf8"), { timeout: 10_000 }).toBe("new");
      writeFileSync(join(mounted, "new"), "newer bytes");
      await run("sync", ["-f", mounted]);
      await expect
        .poll(() => readFileSync(join(root, "new"), "utf8"), { timeout: 10_000 })
        .toBe("newer bytes");
    } finally {
      await unmount();
    }
  } finally {
    expect(await served.stop()).toBe(0);
  }
});

describe("names", () => {
  test("for DOS are not listed, not found, and do not count", () => {
    const { fs, names, stat } = open(system);
    expect(names("/")).toContain("Program Files");
    expect(names("/")).not.toContain("PROGRA~1");
    expect(fs.lookup(fs.rootInode, Buffer.from("PROGRA~1"))).toBe(0);
    expect(stat("Users/Alice/Notes.txt").nlink).toBe(2);
  });

  test("of the format's own files are not listed, and found", () => {
    const { names, stat } = open(system);
    expect(names("/").filter((name) => name.startsWith("$"))).toEqual([]);
    expect(stat("$UpCase").size).toBe(131072);
    expect(names("$Extend")).toContain("$ObjId");
  });

  test("are compared as they are, or without regard to case where that is asked for", () => {
    const exact = open(system);
    expect(exact.fs.lookup(exact.fs.rootInode, Buffer.from("WINDOWS"))).toBe(0);
    const other = open(system, true);
    expect(other.ino("WINDOWS/system32/CONFIG")).toBe(exact.ino("Windows/System32/config"));
    expect(other.fs.lookup(other.fs.rootInode, Buffer.from("Windowses"))).toBe(0);
  });
});

describe("contents", () => {
  test("that Windows has compressed itself", () => {
    const { read, stat, names, fs, ino } = open(system);
    expect(stored.size).toBeGreaterThan(20);
    for (const [path, contents] of stored) {
      expect(stat(path).mode & FileType.MASK).toBe(FileType.REGULAR);
      expect(read(path).equals(contents), path).toBe(true);
      const part = Buffer.alloc(5000);
      const there = fs.read(ino(path), 3000, 5000, part, 0);
      expect(part.subarray(0, there).equals(contents.subarray(3000, 8000)), path).toBe(true);
      expect(fs.attributeNames(ino(path))).toEqual([]);
    }
    expect(names("packed").length).toBe(stored.size + 2);
  });

  test("that were never written are zeros", () => {
    const image = join(folder, "changed.img");
    copyFileSync(system, image);
    const { ino } = open(system);
    changeRecord(image, ino("initialised"), (record) => {
      record.writeUInt32LE(12345, attributeAt(record, 0x80) + 0x38);
    });
    const whole = open(system).read("initialised");
    const changed = open(image);
    const read = changed.read("initialised");
    expect(read.length).toBe(50_000);
    expect(read.subarray(0, 12345).equals(whole.subarray(0, 12345))).toBe(true);
    expect(read.subarray(12345).equals(Buffer.alloc(50_000 - 12345))).toBe(true);
    expect(changed.fs.seek(changed.ino("initialised"), 0, true)).toBe(12345);
    expect(changed.fs.seek(changed.ino("initialised"), 13000, false)).toBe(-1);
  });

  test("that nobody can read say why", () => {
    const image = join(folder, "changed.img");
    copyFileSync(system, image);
    const { ino } = open(system);
    changeRecord(image, ino("encrypted"), (record) => {
      record.writeUInt16LE(0x4000, attributeAt(record, 0x80) + 0xc);
    });
    const { fs, ino: find } = open(image);
    const target = Buffer.alloc(10);
    expect(errno(() => fs.read(find("encrypted"), 0, 10, target, 0))).toBe(ENOKEY);
    expect(errno(() => fs.read(find("deduplicated"), 0, 10, target, 0))).toBe(EOPNOTSUPP);
  });
});

test("streams are attributes", () => {
  const { fs, ino, attribute } = open(system);
  expect(fs.attributeNames(ino("streams"))).toEqual(["user.long", "user.short"]);
  expect(attribute("streams", "user.short")?.toString()).toBe("short");
  expect(attribute("streams", "user.none")).toBe(undefined);
  expect(errno(() => attribute("streams", "user.long"))).toBe(E2BIG);
});

test("what WSL says of files holds", () => {
  const { stat, link } = open(system);
  const told = (name: string) => {
    const { mode, uid, gid, major, minor } = stat(`linux/${name}`);
    return [mode.toString(8), uid, gid, major, minor];
  };
  expect(told("file")).toEqual(["100640", 1000, 100, 0, 0]);
  expect(told("socket")).toEqual(["140755", 0, 0, 0, 0]);
  expect(told("fifo")).toEqual(["10600", 7, 0, 0, 0]);
  expect(told("character")).toEqual(["20666", 0, 0, 4, 65]);
  expect(link("linux/link")).toBe("../linux/file");
  expect(told("block")).toEqual(["60660", 0, 0, 8, 300]);
});

test("lists of who may do what are owners and modes, as ntfs-3g has them", async () => {
  const { stat } = open(system);
  const mounted = join(folder, "with-permissions");
  const unmount = await mountNtfs(system, mounted, "ro,permissions");
  try {
    const names = readdirSync(join(mounted, "secure"));
    expect(names.length).toBeGreaterThanOrEqual(10);
    for (const name of names) {
      const { mode, uid, gid } = stat(`secure/${name}`);
      const expected = statSync(join(mounted, "secure", name));
      expect({ name, mode, uid, gid }).toEqual({
        name,
        mode: expected.mode,
        uid: expected.uid,
        gid: expected.gid,
      });
    }
  } finally {
    await unmount();
  }
});

describe("a damaged volume", () => {
  const image = join(folder, "damaged.img");
  const damage = (change: Parameters<typeof changeBytes>[1]) => {
    copyFileSync(system, image);
    changeBytes(image, change);
    return open(image);
  };
  const mftAt = () => Number(readFileSync(system).readBigUInt64LE(0x30)) * 4096;

  test("is read by the copy of its boot sector", () => {
    const { read } = damage((_, write) => write(0, Buffer.alloc(8192)));
    expect(read("Users/Alice/Notes.txt").toString()).toBe("notes");
    const source = openImage(image);
    expect(identify(source)?.type).toBe("ntfs");
    source.close();
  });

  test("that has become something else is not NTFS for the copy's sake", async () => {
    copyFileSync(system, image);
    await run("mkswap", ["-q", image]);
    const source = openImage(image);
    expect(identify(source)?.type).toBe("swap");
    source.close();
  });

  test("is read by the copy of the MFT's own record", () => {
    const { read } = damage((_, write) => write(mftAt(), Buffer.alloc(1024)));
    expect(read("Users/Alice/Notes.txt").toString()).toBe("notes");
  });

  test("loses one file with one record", () => {
    const { ino } = open(system);
    const torn = ino("torn");
    const { fs, names, read } = damage((read, write) => {
      const at = mftAt() + torn * 1024 + 510;
      write(at, Buffer.from(read(at, 2).map((byte) => byte ^ 0xff)));
    });
    expect(names("/")).toContain("torn");
    expect(errno(() => fs.stat(torn, new Attributes()))).toBe(EIO);
    expect(read("Users/Alice/Notes.txt").toString()).toBe("notes");
  });

  test("loses one file with bad runs", () => {
    const { ino } = open(system);
    const number = ino("bad runs");
    copyFileSync(system, image);
    changeRecord(image, number, (record) => {
      const at = attributeAt(record, 0x80);
      record.fill(0x7f, at + record.readUInt16LE(at + 0x20) + 1, at + record.readUInt16LE(at + 0x20) + 3);
    });
    const { fs, read } = open(image);
    expect(errno(() => fs.read(number, 0, 10, Buffer.alloc(10), 0))).toBe(EIO);
    fs.stat(number, new Attributes());
    expect(read("Users/Alice/Notes.txt").toString()).toBe("notes");
  });

  test("that is marked as dirty is shown, and said to be", () => {
    copyFileSync(system, image);
    changeRecord(image, 3, (record) => {
      const at = attributeAt(record, 0x70);
      record.writeUInt16LE(1, at + record.readUInt16LE(at + 0x14) + 10);
    });
    const { log, read } = open(image);
    expect(log).toEqual(["it is marked as dirty (Windows would check it): it is shown as it is"]);
    expect(read("Users/Alice/Notes.txt").toString()).toBe("notes");
  });

  test("with a system that is hibernated is shown, and said to be", async () => {
    copyFileSync(data, image);
    const mounted = join(folder, "hibernated");
    const unmount = await mountNtfs(image, mounted, "rw");
    writeFileSync(join(mounted, "hiberfil.sys"), Buffer.concat([Buffer.from("HIBR"), Buffer.alloc(5000)]));
    await unmount();
    expect(open(image).log).toEqual(["the guest is hibernated: what it holds in its memory is not shown"]);
    expect(open(data).log).toEqual([]);
  });
});

test("volumes are named as blkid names them", async () => {
  const image = join(folder, "named.img");
  writeFileSync(image, "");
  truncateSync(image, 8 << 20);
  await run("mkntfs", ["-q", "-F", "-L", "Größe \u{1f600}", image]);
  const source = openImage(image);
  const uuid = (await run("blkid", ["-p", "-o", "value", "-s", "UUID", image])).trim();
  expect(identify(source)).toEqual({ type: "ntfs", label: "Größe \u{1f600}", uuid });
  source.close();
  expect(await run(process.execPath, [main, "ls", `${image}:/`])).toBe("");
});
