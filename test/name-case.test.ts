/** Names without regard to case: NTFS against ntfs-3g, directories that tell case, and what the kernel keeps of spellings. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { FileSystem } from "../src/filesystems/filesystem.js";
import { openNtfs } from "../src/filesystems/ntfs/open.js";
import { openRawImage } from "../src/images/raw.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { makeNtfs, mountNtfs } from "./support/compressed.js";
import { Configured, eventually } from "./support/configured.js";
import { cleanUp, onEnd, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { attributeAt, changeRecord } from "./support/ntfs-data.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const folder = workFolder("ntfs-case");
const ESTALE = 116;
afterAll(cleanUp);

/** Letters that $UpCase, Unicode and the kernel's tables each treat in a way of their own. */
const NAMES = [
  ...["Windows", "System32", "README.txt", "a", "Z", "x".repeat(255), "with space", "dots.and.More"],
  ...["Ärger", "ÉCOLE", "Straße", "STRASSE", "ſharp", "ıstanbul", "İzmir", "ΣΊΣΥΦΟΣ", "σίσυφος", "Сибирь"],
  ...["ﬁsh", "Dž", "ǆ", "Ａｂｃ", "𐐀deseret", "ÿ", "µ", "Ω", "Å", "ꙁ", "Ⅷ", "ⓐ", "ა", "Ა", "ẞ", "ŉ", "ǰ"],
];

function open(image: string, ignoresCase: boolean): FileSystem {
  const source = openRawImage(image);
  onEnd(() => source.close());
  return openNtfs(source, new BlockCache(16 << 20), () => {}, { ignoresCase });
}

/** A name as people may write it: whole words, and single letters of it, in the other case. */
function spellings(name: string): string[] {
  const found = [name, name.toUpperCase(), name.toLowerCase(), name.normalize("NFD")];
  const letters = [...name];
  for (let at = 0; at < Math.min(letters.length, 12); at++) {
    const letter = letters[at]!;
    for (const other of [letter.toUpperCase(), letter.toLowerCase()])
      found.push([...letters.slice(0, at), other, ...letters.slice(at + 1)].join(""));
  }
  // Longer names there are none on NTFS, and the kernel has none for ntfs-3g either.
  return [...new Set(found)].filter((each) => Buffer.byteLength(each) <= 255);
}

describe("a volume at rest", () => {
  const image = join(folder, "rest.img");
  const records = new Map<string, number>();

  beforeAll(async () => {
    await makeNtfs(image, 32);
    const mounted = join(folder, "filled");
    const unmount = await mountNtfs(image, mounted, "noatime");
    try {
      for (const directory of ["few", "many", "sensitive"]) mkdirSync(join(mounted, directory));
      for (const name of NAMES) writeFileSync(join(mounted, "few", name), name);
      for (const name of NAMES) writeFileSync(join(mounted, "many", name), name);
      for (let n = 0; n < 2000; n++) writeFileSync(join(mounted, "many", `File ${n}`), "");
      for (const name of ["Both", "BOTH", "One"]) writeFileSync(join(mounted, "sensitive", name), name);
      mkdirSync(join(mounted, "sensitive", "Below"));
      writeFileSync(join(mounted, "sensitive", "Below", "File"), "");
      for (const path of ["few", "many", "sensitive", "sensitive/Both", "sensitive/BOTH", "sensitive/One"])
        records.set(path, lstatSync(join(mounted, path)).ino);
    } finally {
      await unmount();
    }
  });

  test("finds what ntfs-3g finds that ignores case", async () => {
    const mounted = join(folder, "ignoring");
    const unmount = await mountNtfs(image, mounted, "ro,ignore_case", "lowntfs-3g");
    try {
      const fs = open(image, true);
      let found = 0;
      let others = 0;
      for (const directory of ["few", "many"]) {
        for (const name of NAMES) {
          for (const spelling of spellings(name)) {
            const theirs = statSync(join(mounted, directory, spelling), { throwIfNoEntry: false })?.ino ?? 0;
            const ours = fs.lookup(records.get(directory)!, Buffer.from(spelling));
            expect([directory, spelling, ours]).toEqual([directory, spelling, theirs]);
            if (ours !== 0) found++;
            if (ours !== 0 && spelling !== name) others++;
          }
        }
      }
      expect(found).toBeGreaterThan(300);
      expect(others).toBeGreaterThan(200);
    } finally {
      await unmount();
    }
  });

  test("finds names exactly, where nothing else is asked for", () => {
    const fs = open(image, false);
    for (const directory of ["few", "many"]) {
      for (const name of NAMES) {
        for (const spelling of spellings(name)) {
          const isThere = NAMES.includes(spelling);
          expect([spelling, fs.lookup(records.get(directory)!, Buffer.from(spelling)) !== 0]).toEqual([
            spelling,
            isThere,
          ]);
        }
      }
    }
    expect(fs.foldsNames(records.get("few")!)).toBe(false);
  });

  test("of names that only case tells apart, finds the one that is meant", () => {
    const fs = open(image, true);
    const found = (name: string) => fs.lookup(records.get("sensitive")!, Buffer.from(name));
    expect(found("Both")).toBe(records.get("sensitive/Both"));
    expect(found("BOTH")).toBe(records.get("sensitive/BOTH"));
    expect([records.get("sensitive/Both"), records.get("sensitive/BOTH")]).toContain(found("both"));
    expect(found("ONE")).toBe(records.get("sensitive/One"));
  });

  test("tells case in a directory that says so, and only there", async () => {
    const own = join(folder, "sensitive.img");
    await run("cp", ["--sparse=always", image, own]);
    const directory = records.get("sensitive")!;
    changeRecord(own, directory, (record) => {
      const at = attributeAt(record, 0x10);
      const value = at + record.readUInt16LE(at + 20);
      expect([record.readUInt32LE(value + 0x24), record.readUInt32LE(value + 0x28)]).toEqual([0, 0]);
      record.writeUInt32LE(1, value + 0x28);
    });
    const fs = open(own, true);
    const found = (name: string) => fs.lookup(directory, Buffer.from(name));
    expect(fs.foldsNames(directory)).toBe(false);
    expect([found("one"), found("ONE"), found("both")]).toEqual([0, 0, 0]);
    expect(found("One")).toBe(records.get("sensitive/One"));
    expect(fs.foldsNames(fs.rootInode)).toBe(true);
    expect(fs.lookup(fs.rootInode, Buffer.from("SENSITIVE"))).toBe(directory);
    const below = found("Below");
    expect(fs.foldsNames(below)).toBe(true);
    expect(fs.lookup(below, Buffer.from("FILE"))).not.toBe(0);
  });
});

/** What somebody reads; undefined: there is no such file. */
const readOr = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    // Deleted between its being opened and read.
    if (errno === -ESTALE) return "stale";
    if (code !== "ENOENT") throw error;
    return undefined;
  }
};

/** Waits until the tree has these contents. */
async function comes(root: string, expected: Readonly<Record<string, string | undefined>>): Promise<void> {
  const now = () => Object.fromEntries(Object.keys(expected).map((path) => [path, readOr(join(root, path))]));
  const wanted = JSON.stringify(expected);
  await eventually(
    () => JSON.stringify(now()) === wanted,
    () => `${JSON.stringify(now())}, not ${wanted}`,
  );
}

describe("a volume that is written to", () => {
  const image = join(folder, "live.img");
  const inside = join(folder, "inside");
  const guest = (path: string): string => join(inside, path);

  beforeAll(async () => {
    await makeNtfs(image, 32);
    const unmount = await mountNtfs(image, inside, "noatime");
    mkdirSync(guest("Windows/System32"), { recursive: true });
    for (const name of ["Notes.txt", "Gone.txt", "Again.txt", "Stays.txt"])
      writeFileSync(guest(`Windows/${name}`), name);
    writeFileSync(guest("Windows/System32/Hosts"), "hosts");
    symlinkSync("System32/Hosts", guest("Windows/Link"));
    await unmount();
  });

  test("what the guest does is seen by all spellings that somebody has used", async () => {
    const served = await serve(join(folder, "cloud"), { pc: image }, ["--ignore-case"]);
    const root = served.guest("pc");
    try {
      const before = {
        "WINDOWS/NOTES.TXT": "Notes.txt",
        "windows/notes.txt": "Notes.txt",
        "Windows/gone.TXT": "Gone.txt",
        "windows/AGAIN.txt": "Again.txt",
        "windows/SYSTEM32/hosts": "hosts",
        "WINDOWS/link": "hosts",
        "windows/other.txt": undefined,
        "Windows/NEW.TXT": undefined,
        "windows/stays.txt": "Stays.txt",
      };
      await comes(root, before);
      // Twice: the second time the kernel has what it was told.
      await comes(root, before);
      const work = await mountNtfs(image, inside, "noatime");
      try {
        renameSync(guest("Windows/Notes.txt"), guest("Windows/Other.txt"));
        rmSync(guest("Windows/Gone.txt"));
        rmSync(guest("Windows/Again.txt"));
        writeFileSync(guest("Windows/Again.txt"), "another");
        writeFileSync(guest("Windows/New.txt"), "new");
        // One that only case tells from one that is there: whoever has used that spelling is to get it now.
        writeFileSync(guest("Windows/stays.txt"), "own");
        renameSync(guest("Windows/System32"), guest("Windows/SysWOW64"));
        await run("sync", ["-f", inside]);
        const after = {
          "WINDOWS/NOTES.TXT": undefined,
          "windows/notes.txt": undefined,
          "Windows/gone.TXT": undefined,
          "windows/AGAIN.txt": "another",
          "windows/SYSTEM32/hosts": undefined,
          "windows/syswow64/HOSTS": "hosts",
          "WINDOWS/link": undefined,
          "windows/other.txt": "Notes.txt",
          "Windows/NEW.TXT": "new",
          "windows/stays.txt": "own",
          "windows/Stays.txt": "Stays.txt",
        };
        await comes(root, after);
        renameSync(guest("Windows"), guest("Elsewhere"));
        await run("sync", ["-f", inside]);
        await comes(root, { "WINDOWS/OTHER.TXT": undefined, "elsewhere/OTHER.TXT": "Notes.txt" });
        renameSync(guest("Elsewhere"), guest("Windows"));
      } finally {
        await work();
      }
      await comes(root, { "WINDOWS/OTHER.TXT": "Notes.txt", "elsewhere/OTHER.TXT": undefined });
    } finally {
      expect(await served.stop()).toBe(0);
    }
  });

  test("the configuration turns it on and off while the tree is in use", async () => {
    const configured = new Configured(join(folder, "configured"));
    mkdirSync(configured.folder);
    const write = (ignoreCase: string): void =>
      configured.write(`${ignoreCase}guests:\n  - {name: pc, disks: [${image}]}\n`);
    write("");
    await configured.start();
    try {
      const root = configured.served.guest("pc");
      const other = join(root, "WINDOWS/OTHER.TXT");
      expect(existsSync(other)).toBe(false);
      expect(existsSync(join(root, "Windows/Other.txt"))).toBe(true);
      for (const [setting, isThere] of [
        ["ignoreCase: true\n", true],
        ["ignoreCase: false\n", false],
      ] as const) {
        write(setting);
        expect(configured.command("reload").status).toBe(0);
        await eventually(
          () => existsSync(other) === isThere,
          () => `${setting}: ${isThere ? "is not found" : "is found still"}`,
        );
        expect(existsSync(join(root, "Windows/Other.txt"))).toBe(true);
      }
    } finally {
      expect(await configured.stop()).toBe(0);
    }
  });
});

test("on FAT, too, a rename is seen by all spellings that somebody has used", async () => {
  const image = join(folder, "fat.img");
  await run("truncate", ["-s", "20M", image]);
  await run("mkfs.vfat", ["-F", "16", image]);
  const text = join(folder, "text");
  for (const name of ["Notes.txt", "A longer name.txt"]) {
    writeFileSync(text, name);
    await run("mcopy", ["-i", image, text, `::/${name}`]);
  }
  const served = await serve(join(folder, "fat"), { pc: image });
  try {
    const root = served.guest("pc");
    const before = {
      "Notes.txt": "Notes.txt",
      "NOTES.txt": "Notes.txt",
      "a LONGER name.txt": "A longer name.txt",
      "OTHER.txt": undefined,
    };
    await comes(root, before);
    await comes(root, before);
    await run("mren", ["-i", image, "::/Notes.txt", "::/Other.txt"]);
    await run("mren", ["-i", image, "::/A longer name.txt", "::/Notes.txt"]);
    const after = {
      "notes.TXT": "A longer name.txt",
      "NOTES.txt": "A longer name.txt",
      "a LONGER name.txt": undefined,
      "OTHER.txt": "Notes.txt",
    };
    await comes(root, after);
  } finally {
    expect(await served.stop()).toBe(0);
  }
});
