import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { securityToPosix } from "../src/filesystems/ntfs/security.js";
import { IoError } from "../src/images/io-error.js";
import { makeNtfs, mountNtfs } from "./support/compressed.js";
import { slashcloud } from "./support/control-socket.js";
import { cleanUp, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("security");
afterAll(cleanUp);

const script = join(import.meta.dirname, "support/ntfs_security.py");

interface Told {
  name: string;
  directory: boolean;
  mode: number;
  uid: number;
  gid: number;
  descriptor: string;
}

/** Has a directory filled through ntfs-3g, and tells how a later mount shows what is in it. */
async function told(name: string, make: (directory: string) => void): Promise<Told[]> {
  const image = join(folder, `${name}.img`);
  const mounted = join(folder, name);
  await makeNtfs(image);
  let unmount = await mountNtfs(image, mounted, "permissions");
  try {
    const directory = join(mounted, "made");
    mkdirSync(directory);
    make(directory);
  } finally {
    await unmount();
  }
  unmount = await mountNtfs(image, mounted, "permissions,ro");
  try {
    const text = python("tell", join(mounted, "made"));
    return text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  } finally {
    await unmount();
  }
}

/** What our reader of the file system shows, which has to be what ntfs-3g shows. */
function compareListing(name: string, files: Told[]): void {
  const { code, output } = slashcloud("ls", "--json", `${join(folder, name)}.img:/made`);
  expect(code).toBe(0);
  const shown = (JSON.parse(output) as { name: string; mode: string; uid: number; gid: number }[]).map(
    ({ name, mode, uid, gid }) => `${name} ${mode} ${uid}:${gid}`,
  );
  const expected = files.map(
    ({ name, mode, uid, gid }) => `${name} ${mode.toString(8).padStart(4, "0")} ${uid}:${gid}`,
  );
  expect(shown.sort()).toEqual(expected.sort());
}

function python(what: string, directory: string, input = ""): string {
  return execFileSync("python3", [script, what, directory], {
    input,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
}

function posix(descriptor: Buffer, from = 0, length = descriptor.length) {
  const out = { mode: -1, uid: -1, gid: -1 };
  securityToPosix(descriptor, from, length, out);
  return out;
}

function compare(files: Told[]): void {
  const wrong: string[] = [];
  for (const { name, mode, uid, gid, descriptor } of files) {
    const ours = posix(Buffer.from(descriptor, "hex"));
    if (ours.mode !== mode || ours.uid !== uid || ours.gid !== gid) {
      const text = ({ mode, uid, gid }: { mode: number; uid: number; gid: number }) =>
        `${mode.toString(8)} ${uid}:${gid}`;
      wrong.push(`${name}: ${text({ mode, uid, gid })}, and we say ${text(ours)} of ${descriptor}`);
    }
  }
  expect(wrong).toEqual([]);
}

test("What chmod and chown set through ntfs-3g is read as ntfs-3g reads it", async () => {
  const files = await told("modes", (directory) => python("make-modes", directory));
  expect(files.length).toBeGreaterThan(1500);
  expect(new Set(files.map(({ uid }) => uid)).size).toBeGreaterThan(4);
  expect(new Set(files.map(({ mode }) => mode)).size).toBeGreaterThan(500);
  compare(files);
  compareListing("modes", files);
});

function sid(text: string): Buffer {
  const [, , authority, ...sub] = text.split("-").map(Number);
  const bytes = Buffer.alloc(8 + 4 * sub.length);
  bytes[0] = 1;
  bytes[1] = sub.length;
  bytes[7] = authority!;
  sub.forEach((value, index) => {
    bytes.writeUInt32LE(value, 8 + 4 * index);
  });
  return bytes;
}

interface Ace {
  deny?: boolean;
  flags?: number;
  mask: number;
  sid: string;
}

function descriptor(owner: string, group: string, aces: Ace[] | null): Buffer {
  const entries = (aces ?? []).map((ace) => {
    const person = sid(ace.sid);
    const head = Buffer.alloc(8);
    head[0] = ace.deny ? 1 : 0;
    head[1] = ace.flags ?? 0;
    head.writeUInt16LE(8 + person.length, 2);
    head.writeUInt32LE(ace.mask, 4);
    return Buffer.concat([head, person]);
  });
  const acl = Buffer.alloc(aces === null ? 0 : 8);
  if (aces !== null) {
    acl[0] = 2;
    acl.writeUInt16LE(8 + Buffer.concat(entries).length, 2);
    acl.writeUInt16LE(entries.length, 4);
  }
  const list = Buffer.concat([acl, ...entries]);
  const header = Buffer.alloc(20);
  header[0] = 1;
  header.writeUInt16LE(aces === null ? 0x8000 : 0x8004, 2);
  header.writeUInt32LE(20 + list.length, 4);
  header.writeUInt32LE(20 + list.length + sid(owner).length, 8);
  header.writeUInt32LE(aces === null ? 0 : 20, 16);
  return Buffer.concat([header, list, sid(owner), sid(group)]);
}

const ADMINISTRATORS = "S-1-5-32-544";
const SYSTEM = "S-1-5-18";
const USERS = "S-1-5-32-545";
const TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
const PERSON = "S-1-5-21-1085031214-1563985344-725345543-1001";
const FULL = 0x1f01ff;
const READ = 0x1200a9;
const MODIFY = 0x1301bf;

/** Descriptors as Windows makes them. */
const windows: Record<string, Buffer> = {
  // C:\Windows\System32\notepad.exe
  "program-of-trusted-installer": descriptor(TRUSTED_INSTALLER, TRUSTED_INSTALLER, [
    { mask: FULL, sid: TRUSTED_INSTALLER },
    { mask: READ, sid: ADMINISTRATORS },
    { mask: READ, sid: SYSTEM },
    { mask: READ, sid: USERS },
    { mask: READ, sid: "S-1-15-2-1" },
  ]),
  // C:\Users\me\file
  "file-of-a-user": descriptor(PERSON, "S-1-5-21-1085031214-1563985344-725345543-513", [
    { flags: 0x10, mask: FULL, sid: SYSTEM },
    { flags: 0x10, mask: FULL, sid: ADMINISTRATORS },
    { flags: 0x10, mask: FULL, sid: PERSON },
  ]),
  // C:\ of Windows 10
  "root-of-a-drive": descriptor(TRUSTED_INSTALLER, TRUSTED_INSTALLER, [
    { mask: 4, sid: "S-1-5-11" },
    { flags: 0x0b, mask: 0x1301bf, sid: "S-1-5-11" },
    { flags: 0x03, mask: FULL, sid: SYSTEM },
    { flags: 0x03, mask: FULL, sid: ADMINISTRATORS },
    { flags: 0x03, mask: READ, sid: USERS },
  ]),
  // C:\ProgramData\file
  "file-of-system": descriptor(SYSTEM, SYSTEM, [
    { flags: 0x10, mask: FULL, sid: SYSTEM },
    { flags: 0x10, mask: FULL, sid: ADMINISTRATORS },
    { flags: 0x10, mask: READ, sid: USERS },
  ]),
  "file-of-administrators": descriptor(ADMINISTRATORS, SYSTEM, [
    { flags: 0x10, mask: FULL, sid: ADMINISTRATORS },
    { flags: 0x10, mask: FULL, sid: SYSTEM },
    { flags: 0x10, mask: MODIFY, sid: "S-1-5-11" },
    { flags: 0x10, mask: READ, sid: USERS },
  ]),
  // C:\System Volume Information
  "for-system-only": descriptor(ADMINISTRATORS, SYSTEM, [{ flags: 0x03, mask: FULL, sid: SYSTEM }]),
  "for-everyone": descriptor(ADMINISTRATORS, ADMINISTRATORS, [{ mask: FULL, sid: "S-1-1-0" }]),
  "with-denial": descriptor(ADMINISTRATORS, SYSTEM, [
    { deny: true, mask: 0x20, sid: "S-1-1-0" },
    { mask: FULL, sid: ADMINISTRATORS },
    { mask: READ, sid: "S-1-1-0" },
  ]),
  "without-a-list": descriptor(ADMINISTRATORS, ADMINISTRATORS, null),
  "with-an-empty-list": descriptor(PERSON, USERS, []),
};

test("What Windows writes is read as ntfs-3g reads it", async () => {
  const lines = Object.entries(windows).map(([name, bytes], index) => {
    return `${index % 2 === 0 ? "f" : "d"} ${name} ${bytes.toString("hex")}\n`;
  });
  const files = await told("windows", (directory) => python("make-descriptors", directory, lines.join("")));
  expect(files.map(({ name }) => name).sort()).toEqual(Object.keys(windows).sort());
  compare(files);
  compareListing("windows", files);
  // A look by eye at some of what both say.
  const modes = new Map(files.map(({ name, mode }) => [name, mode.toString(8)]));
  expect(modes.get("program-of-trusted-installer")).toBe("755");
  expect(modes.get("file-of-a-user")).toBe("700");
  expect(modes.get("for-everyone")).toBe("777");
});

test("Lists of rights at random are read as ntfs-3g reads them", async () => {
  const random = randomNumbers(3);
  const own = "S-1-5-21-3141592653-589793238-462843383";
  const people = [
    ADMINISTRATORS,
    SYSTEM,
    USERS,
    PERSON,
    TRUSTED_INSTALLER,
    "S-1-1-0",
    "S-1-5-11",
    "S-1-5-4",
    "S-1-0-0",
    "S-1-3-0",
    "S-1-3-1",
    `${own}-12000`,
    `${own}-12001`,
    `${own}-12003`,
    `${own}-10000`,
    "S-1-5-21-3141592653-589793238-462843384-12002",
    "S-1-5-21-3141592653-589793238-462843387-12002",
  ];
  const one = <T>(of: readonly T[]): T => of[random(of.length)]!;
  const masks = [
    FULL,
    READ,
    MODIFY,
    0x10000000,
    0x80000000,
    0x20000000,
    0x40000000,
    1,
    2,
    4,
    0x20,
    0x80000,
    0x100116,
  ];
  const lines: string[] = [];
  for (let index = 0; index < 3000; index++) {
    const owner = one(people);
    const group = random(3) === 0 ? owner : one(people);
    const local = [owner, group, ...people];
    const aces = Array.from({ length: random(7) }, () => ({
      deny: random(5) === 0,
      flags: one([0, 0, 0, 0x10, 0x03, 0x0b]),
      mask: random(3) === 0 ? (random(0x200) | (one([0, 8, 0x10]) << 16)) >>> 0 : one(masks),
      sid: random(2) === 0 ? local[random(4)]! : one(local),
    }));
    lines.push(`${one(["f", "d"])} n${index} ${descriptor(owner, group, aces).toString("hex")}\n`);
  }
  const files = await told("random", (directory) => python("make-descriptors", directory, lines.join("")));
  expect(files.length).toBeGreaterThan(2900);
  expect(new Set(files.map(({ mode }) => mode)).size).toBeGreaterThan(100);
  compare(files);
});

test("A file without a descriptor is root's and has no rights", () => {
  expect(posix(Buffer.alloc(8), 4, 0)).toEqual({ mode: 0, uid: 0, gid: 0 });
});

test("A damaged descriptor is an I/O error, and nothing else", () => {
  const random = randomNumbers(11);
  const all = Object.values(windows);
  let refused = 0;
  let read = 0;
  for (let round = 0; round < 30_000; round++) {
    const good = all[round % all.length]!;
    const bytes = Buffer.concat([Buffer.alloc(3, 0xff), good, Buffer.alloc(random(3), 0xff)]);
    for (let count = 1 + random(4); count > 0; count--) bytes[3 + random(good.length)] = random(256);
    const length = random(4) === 0 ? random(good.length) + 1 : good.length;
    try {
      const { mode } = posix(bytes, 3, length);
      expect(mode >= 0 && mode <= 0o7777).toBe(true);
      read++;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(1000);
  expect(read).toBeGreaterThan(1000);
});

/** Numbers from 0 up to `limit`, the same in each run. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
