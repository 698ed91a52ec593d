/** Links of a Windows guest to its other volumes, which its registry tells. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { mountedDevices } from "../src/inspect/windows/machine.js";
import { makeNtfs, mountNtfs } from "./support/compressed.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";
import { junction, setAttributes, symbolicLink } from "./support/ntfs-data.js";
import { guidBytes, writeGpt, writeMbr } from "./support/partition-tables.js";
import { buildHive, key, withHiveFile } from "./support/registry-hive.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const folder = workFolder("windows-volumes");
afterAll(cleanUp);

const REPARSE = "system.ntfs_reparse_data";
const MIB = 1 << 20;
const SECTOR = 512;
/** Of the first disk (MBR), and where its partitions begin. */
const SIGNATURE = 0x11223344;
const SYSTEM_START = 2048;
const DATA_START = 2048 + 32 * 2048;
/** Of the second disk's (GPT) partition, and one that no disk has. */
const PARTITION = "6b3c1f02-58d1-4e0a-9d54-0102030405ff";
const ELSEWHERE = "6b3c1f02-58d1-4e0a-9d54-010203040500";
const NUMBERED = "{0a1b2c3d-0000-11ee-8000-001122334455}";

function onMbr(start: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32LE(SIGNATURE, 0);
  bytes.writeBigUInt64LE(BigInt(start * SECTOR), 4);
  return bytes;
}

function onGpt(guid: string): Buffer {
  return Buffer.concat([Buffer.from("DMIO:ID:"), guidBytes(guid)]);
}

const HIVE = buildHive(
  key(
    "ROOT",
    {},
    key("Select", { Current: 1 }),
    key("MountedDevices", {
      "\\DosDevices\\C:": onMbr(SYSTEM_START),
      "\\DosDevices\\D:": onMbr(DATA_START),
      "\\DosDevices\\F:": onGpt(PARTITION),
      "\\DosDevices\\G:": onGpt(ELSEWHERE),
      "\\DosDevices\\H:": Buffer.from("\\??\\SCSI#CdRom", "utf16le"),
      [`\\??\\Volume${NUMBERED}`]: onMbr(DATA_START),
      "\\??\\Volume{short}": onMbr(DATA_START),
    }),
  ),
);

/** By the path of a link: what it is in Windows, and what it says in the tree; without it, what it says without a registry. */
interface Link {
  readonly point: Buffer;
  readonly leads: string;
  readonly without: string;
  readonly isFile?: boolean;
}

const ofSystem: Record<string, Link> = {
  films: { point: junction("\\??\\D:\\FILMS"), leads: ".volumes/sda2/Films", without: "D:/FILMS" },
  "Mounts/Data": {
    point: junction(`\\??\\Volume${NUMBERED}\\`),
    leads: "../.volumes/sda2",
    without: `../Volume${NUMBERED}`,
  },
  "Mounts/by capitals": {
    point: junction(`\\??\\VOLUME${NUMBERED.toUpperCase()}\\films\\OLD`),
    leads: "../.volumes/sda2/Films/Old",
    without: `../VOLUME${NUMBERED.toUpperCase()}/films/OLD`,
  },
  "Mounts/FAT": { point: junction("\\??\\F:\\"), leads: "../.volumes/sdb1", without: "../F:" },
  "Mounts/by its partition": {
    point: junction(`\\??\\Volume{${PARTITION}}\\letters\\`),
    leads: "../.volumes/sdb1/letters",
    without: `../Volume{${PARTITION}}/letters`,
  },
  note: {
    point: symbolicLink("\\??\\d:\\films\\note.TXT", false),
    leads: ".volumes/sda2/Films/Note.txt",
    without: "D:/films/note.TXT",
    isFile: true,
  },
  "Mounts/not there": {
    point: junction("\\??\\D:\\no\\where"),
    leads: "../.volumes/sda2/no/where",
    without: "../D:/no/where",
  },
  "Mounts/gone": { point: junction("\\??\\G:\\x"), leads: "../G:/x", without: "../G:/x" },
  "Mounts/disc": { point: junction("\\??\\H:\\x"), leads: "../H:/x", without: "../H:/x" },
  "Mounts/unknown": { point: junction("\\??\\Q:\\x"), leads: "../Q:/x", without: "../Q:/x" },
  "Mounts/no number": {
    point: junction("\\??\\Volume{short}\\x"),
    leads: "../Volume{short}/x",
    without: "../Volume{short}/x",
  },
  "Mounts/own": { point: junction("\\??\\C:\\USERS"), leads: "../Users", without: "../Users" },
  "Mounts/up": {
    point: symbolicLink("\\??\\D:\\films\\..\\..\\..\\..\\..\\..\\films", false),
    leads: "../.volumes/sda2/Films",
    without: "../D:/films/films/",
  },
  // No Windows makes such a name; a guest that means ill may.
  "Mounts/slashes": {
    point: symbolicLink("\\??\\D:\\films/../../../../../../../../etc", false),
    leads: "../.volumes/sda2/films/etc/",
    without: "../D:/films/etc/",
  },
};

const ofData: Record<string, Link> = {
  "to the system": {
    point: junction("\\??\\C:\\users\\ALICE"),
    leads: "../../Users/Alice",
    without: "users/ALICE",
  },
  "Films/back": { point: junction("\\??\\D:\\FILMS\\old"), leads: "../Films/Old", without: "../Films/Old" },
  "Films/numbered": {
    point: junction(`\\??\\Volume${NUMBERED}\\films\\old`),
    leads: "../Films/Old",
    without: `../Volume${NUMBERED}/films/old`,
  },
  "Films/to the third": {
    point: junction("\\??\\F:\\letters"),
    leads: "../../../.volumes/sdb1/letters",
    without: "../F:/letters",
  },
  // Without a registry the letter counts for nothing where the target is there.
  "Films/another letter": {
    point: junction("\\??\\G:\\films"),
    leads: "../../../G:/films",
    without: "../Films",
  },
};

const disk = join(folder, "disk.img");
const broken = join(folder, "broken.img");
const second = join(folder, "second.img");

async function makeVolume(
  image: string,
  links: Readonly<Record<string, Link>>,
  fill: (at: (path: string) => string) => void,
): Promise<void> {
  await makeNtfs(image, 30);
  const mounted = join(folder, "mounted");
  const unmount = await mountNtfs(image, mounted, "noatime");
  const at = (path: string): string => join(mounted, path);
  try {
    fill(at);
    for (const [path, { isFile }] of Object.entries(links)) {
      if (isFile) writeFileSync(at(path), "");
      else mkdirSync(at(path));
    }
    setAttributes(Object.entries(links).map(([path, { point }]) => [at(path), REPARSE, point]));
  } finally {
    await unmount();
  }
}

async function makeDisk(
  image: string,
  size: number,
  writeTable: () => void,
  parts: ReadonlyArray<readonly [string, number]>,
): Promise<void> {
  writeFileSync(image, "");
  truncateSync(image, size);
  writeTable();
  for (const [part, start] of parts)
    await run("dd", [
      `if=${part}`,
      `of=${image}`,
      "bs=1M",
      `seek=${start * SECTOR}`,
      ...["oflag=seek_bytes", "conv=notrunc,sparse", "status=none"],
    ]);
}

beforeAll(async () => {
  const data = join(folder, "data.img");
  await makeVolume(data, ofData, (at) => {
    mkdirSync(at("Films/Old"), { recursive: true });
    writeFileSync(at("Films/Note.txt"), "a note");
    writeFileSync(at("Films/Old/reel"), "a reel");
  });
  const fat = join(folder, "fat.img");
  writeFileSync(fat, "");
  truncateSync(fat, 10 * MIB);
  await run("mkfs.vfat", [fat]);
  await run("mmd", ["-i", fat, "::/letters"]);
  writeFileSync(join(folder, "letter"), "a letter");
  await run("mcopy", ["-i", fat, join(folder, "letter"), "::/letters/first"]);
  const first = { start: SYSTEM_START, sectors: 65_536 };
  const size = 14 * MIB;
  const parts = [{ start: SYSTEM_START, sectors: 20_480, guid: PARTITION }];
  await makeDisk(second, size, () => writeGpt(second, ELSEWHERE, size / SECTOR, parts), [
    [fat, SYSTEM_START],
  ]);
  for (const [image, hive] of [
    [disk, HIVE],
    [broken, Buffer.from("no hive")],
  ] as const) {
    const system = join(folder, "system.img");
    await makeVolume(system, ofSystem, (at) => {
      for (const path of ["WINDOWS/system32/config", "Users/Alice", "Mounts"])
        mkdirSync(at(path), { recursive: true });
      writeFileSync(at("Users/Alice/diary"), "a diary");
      writeFileSync(at("WINDOWS/system32/config/system"), hive);
    });
    const table = [first, { start: DATA_START, sectors: 65_536 }];
    await makeDisk(image, 68 * MIB, () => writeMbr(image, SIGNATURE, 7, table), [
      [system, SYSTEM_START],
      [data, DATA_START],
    ]);
  }
});

const serving = async (
  images: Readonly<Record<string, string>>,
  options: readonly string[],
  look: (served: Served) => void | Promise<void>,
): Promise<string> => {
  const served = await serve(join(folder, "cloud"), images, options);
  try {
    await look(served);
  } finally {
    expect(await served.stop()).toBe(0);
  }
  return served.log();
};

/** The links of a folder that lead to something. */
function leading(at: string, links: Readonly<Record<string, Link>>): string[] {
  return Object.keys(links).filter((path) => existsSync(join(at, path)));
}

test("links lead to the guest's other volumes, from all of them", async () => {
  await serving({ pc: `${disk},${second}` }, [], (served) => {
    const root = served.guest("pc");
    const says = (at: string, links: Readonly<Record<string, Link>>) =>
      Object.keys(links).map((path) => [path, readlinkSync(join(at, path))]);
    const expected = (
      links: Readonly<Record<string, Link>>,
      of: (leads: string) => string = (leads) => leads,
    ) => Object.entries(links).map(([path, { leads }]) => [path, of(leads)]);
    expect(says(root, ofSystem)).toEqual(expected(ofSystem));
    expect(says(served.volume("pc", "sda2"), ofData)).toEqual(expected(ofData));
    // On its own the system's volume is two directories deeper; where it leads to is the same.
    const own = served.volume("pc", "sda1");
    expect(says(own, ofSystem)).toEqual(expected(ofSystem, (leads) => `../../${leads}`));

    expect(readFileSync(join(root, "films/Old/reel"), "utf8")).toBe("a reel");
    expect(readFileSync(join(root, "note"), "utf8")).toBe("a note");
    expect(readFileSync(join(root, "Mounts/Data/Films/Note.txt"), "utf8")).toBe("a note");
    expect(readFileSync(join(root, "Mounts/FAT/LETTERS/First"), "utf8")).toBe("a letter");
    expect(readFileSync(join(root, "films/to the third/first"), "utf8")).toBe("a letter");
    expect(readFileSync(join(root, "Mounts/Data/to the system/diary"), "utf8")).toBe("a diary");
    expect(readFileSync(join(own, "Mounts/Data/to the system/diary"), "utf8")).toBe("a diary");
    expect(readFileSync(join(root, "Mounts/Data/Films/back/reel"), "utf8")).toBe("a reel");
    expect(readdirSync(join(root, "Mounts/up"))).toContain("Note.txt");
    for (const path of [root, own, served.volume("pc", "sda2")])
      for (const link of leading(path, path.endsWith("sda2") ? ofData : ofSystem))
        expect(realpathSync(join(path, link)).startsWith(`${root}/`), link).toBe(true);
    expect(leading(root, ofSystem)).toEqual([
      ...["films", "Mounts/Data", "Mounts/by capitals", "Mounts/FAT", "Mounts/by its partition"],
      ...["note", "Mounts/own", "Mounts/up"],
    ]);
    expect(leading(served.volume("pc", "sda2"), ofData)).toEqual([
      ...["to the system", "Films/back", "Films/numbered", "Films/to the third"],
    ]);
    // What stat tells of a link is what reading it gives.
    expect(statSync(join(root, "films")).isDirectory()).toBe(true);
  });
});

test("with a registry that is broken, they say where they would lead", async () => {
  const log = await serving({ pc: `${broken},${second}` }, [], (served) => {
    const root = served.guest("pc");
    for (const [path, { without }] of Object.entries(ofSystem))
      expect([path, readlinkSync(join(root, path))]).toEqual([path, without]);
    for (const [path, { without }] of Object.entries(ofData))
      expect([path, readlinkSync(join(served.volume("pc", "sda2"), path))]).toEqual([path, without]);
    expect(leading(root, ofSystem)).toEqual(["Mounts/own"]);
  });
  expect(log).toContain("pc: links to other drives lead nowhere: registry: it is no registry hive\n");
});

test("two disks with one signature: nobody can tell which is meant", async () => {
  const copy = join(folder, "copy.img");
  await run("cp", ["--sparse=always", disk, copy]);
  await serving({ pc: `${disk},${copy}` }, [], (served) => {
    expect(readlinkSync(join(served.guest("pc"), "films"))).toBe("D:/FILMS");
    expect(existsSync(join(served.guest("pc"), "films"))).toBe(false);
  });
});

test("another guest's volumes are none of this one's", async () => {
  await serving({ pc: disk, other: second }, [], (served) => {
    const root = served.guest("pc");
    expect(readlinkSync(join(root, "Mounts/FAT"))).toBe("../F:");
    expect(existsSync(join(root, "Mounts/FAT"))).toBe(false);
    expect(readFileSync(join(root, "note"), "utf8")).toBe("a note");
  });
});

test("what a policy hides is hidden on these roads, too", async () => {
  const policy = join(folder, "policy.yaml");
  const rules = [
    "{path: /.volumes/sda2/Films/Old, access: hide}",
    "{path: /Users/Alice, access: hide}",
    "{volume: sdb1, path: '/**', access: metadata}",
  ];
  writeFileSync(policy, `policy:\n${rules.map((rule) => `  - ${rule}\n`).join("")}`);
  await serving({ pc: `${disk},${second}` }, ["--policy", policy], (served) => {
    const root = served.guest("pc");
    expect(readdirSync(join(root, "films"))).not.toContain("Old");
    for (const path of [
      "films/Old",
      "Mounts/by capitals",
      "Mounts/Data/Films/back",
      "Mounts/Data/to the system",
    ])
      expect([path, existsSync(join(root, path))]).toEqual([path, false]);
    expect(readFileSync(join(root, "note"), "utf8")).toBe("a note");
    expect(() => readFileSync(join(root, "Mounts/FAT/letters/first"))).toThrow("EACCES");
  });
});

describe("MountedDevices of a guest that means ill", () => {
  const devices = (values: Readonly<Record<string, Buffer>>): unknown[] => {
    const file = join(folder, "hive");
    writeFileSync(file, buildHive(key("ROOT", {}, key("MountedDevices", values))));
    return withHiveFile(file, mountedDevices);
  };
  const many = (count: number, bytes: number): Readonly<Record<string, Buffer>> =>
    Object.fromEntries(
      Array.from({ length: count }, (_, n) => [
        `\\??\\Volume{0a1b2c3d-0000-11ee-8000-${n.toString(16).padStart(12, "0")}}`,
        Buffer.alloc(bytes),
      ]),
    );

  test("are read as far as they can be a Windows' own", () => {
    expect(devices({ "\\DosDevices\\d:": onMbr(DATA_START), "\\DosDevices\\DD:": onMbr(1) })).toEqual([
      { name: "D:", diskSignature: "11223344", offset: DATA_START * SECTOR },
    ]);
    expect(devices(many(900, 12)).length).toBe(900);
    expect(() => devices(many(1001, 12))).toThrow("more than Windows writes there");
    expect(() => devices(many(9, 500_000))).toThrow("more than Windows writes there");
  });
});
