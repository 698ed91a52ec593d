/** A policy on a file system that finds names in other spellings than they have, before there is a map of its names. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { Grant } from "../src/cloud/policy/grant.js";
import { policySettings } from "../src/cloud/policy/settings.js";
import { VolumeAccess } from "../src/cloud/policy/volume-access.js";
import { volumeRoots } from "../src/cloud/policy/volume-roots.js";
import { Attributes, type FileSystem } from "../src/filesystems/filesystem.js";
import { openFileSystem } from "../src/filesystems/formats.js";
import { openRawImage } from "../src/images/raw.js";
import { InodeIndex } from "../src/inference/inode-index.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { mountNtfs } from "./support/compressed.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";

const folder = workFolder("spelling");

afterAll(cleanUp);

const RULES = policySettings.parse([
  { path: "/Secret", access: "hide" },
  { path: "*.pem", access: "hide" },
  { path: "/A long directory", access: "hide" },
]);

let fileSystem: FileSystem;
let access: VolumeAccess;
let hints: InodeIndex;

/** What a look-up is granted, as the tree does it. */
function grant(...path: string[]): Grant | "absent" {
  const attributes = new Attributes();
  let directory = fileSystem.rootInode;
  let found: Grant = Grant.SHOW;
  for (const name of path) {
    const ino = fileSystem.lookup(directory, Buffer.from(name));
    if (ino === 0) return "absent";
    fileSystem.stat(ino, attributes);
    found = access.ofName(directory, Buffer.from(name), ino, attributes, false);
    if (found === Grant.HIDE) return found;
    directory = ino;
  }
  return found;
}

/** A file system that finds other spellings, or takes them for other names, and has a name for DOS. */
interface Kind {
  readonly name: string;
  readonly make: (image: string) => Promise<unknown>;
  readonly folds: boolean;
  readonly hasAlias?: boolean;
}

const KINDS: readonly Kind[] = [
  {
    name: "FAT",
    make: (image) => run("mkfs.vfat", ["-F", "16", image]),
    folds: true,
    hasAlias: true,
  },
  {
    name: "ext4 with casefold",
    make: (image) => run("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "casefold", image]),
    folds: true,
  },
  { name: "NTFS without regard to case", make: (image) => run("mkntfs", ["-q", "-F", image]), folds: true },
  { name: "NTFS", make: (image) => run("mkntfs", ["-q", "-F", image]), folds: false },
];

describe.each(KINDS)("$name", ({ name, make, folds, hasAlias }) => {
  beforeEach(async () => {
    const image = join(folder, `${name.replaceAll(" ", "-")}.img`);
    const source = join(folder, "source");
    writeFileSync(source, "text\n");
    await run("truncate", ["-s", "32M", image]);
    await make(image);
    const paths = ["Secret/key", "A long directory/file", "Open/server.pem", "Open/notes"];
    const directories = ["Secret", "A long directory", "Open"];
    if (name === "FAT") {
      for (const directory of directories) await run("mmd", ["-i", image, `::/${directory}`]);
      for (const path of paths) await run("mcopy", ["-i", image, source, `::/${path}`]);
    } else if (name.startsWith("NTFS")) {
      const mounted = join(folder, "ntfs");
      const unmount = await mountNtfs(image, mounted, "noatime");
      try {
        for (const directory of directories) mkdirSync(join(mounted, directory));
        for (const path of paths) writeFileSync(join(mounted, path), "text\n");
      } finally {
        await unmount();
      }
    } else {
      const commands = directories.map((directory) => `mkdir "${directory}"`);
      // EXT4_CASEFOLD_FL and EXT4_EXTENTS_FL; the root as well.
      commands.push(...paths.map((path) => `write ${source} "${path}"`));
      commands.push(...["/", ...directories].map((path) => `set_inode_field "${path}" flags 0x40080000`));
      writeFileSync(join(folder, "commands"), `${commands.join("\n")}\n`);
      await run("debugfs", ["-w", "-f", join(folder, "commands"), image]);
    }
    const matching = { ignoresCase: folds };
    fileSystem = openFileSystem(
      openRawImage(image),
      new BlockCache(1 << 20),
      () => {},
      matching,
    ) as FileSystem;
    const root = volumeRoots(RULES, "web", new Map([["sda1", ["/"]]])).get("sda1");
    if (root === undefined) throw new Error("no rule holds");
    hints = new InodeIndex(fileSystem.rootInode);
    access = new VolumeAccess(root, () => fileSystem, hints);
  });

  /** Of another spelling than the directory has. */
  const otherwise = (granted: Grant): Grant | "absent" => (folds ? granted : "absent");

  test("what is hidden is hidden however it is spelled", () => {
    expect(grant("Secret")).toBe(Grant.HIDE);
    expect(grant("SECRET")).toBe(otherwise(Grant.HIDE));
    expect(grant("sEcret", "key")).toBe(otherwise(Grant.HIDE));
    expect(grant("a LONG directory")).toBe(otherwise(Grant.HIDE));
    expect(grant("Open", "server.pem")).toBe(Grant.HIDE);
    expect(grant("Open", "SERVER.PEM")).toBe(otherwise(Grant.HIDE));
    expect(grant("open", "Server.pem")).toBe(otherwise(Grant.HIDE));
    if (hasAlias) expect(grant("ALONGD~1")).toBe(Grant.HIDE);
  });

  test("what is shown is shown however it is spelled", () => {
    expect(grant("OPEN")).toBe(otherwise(Grant.SHOW));
    expect(grant("open", "NOTES")).toBe(otherwise(Grant.SHOW));
    expect(grant("Open", "NOTES")).toBe(otherwise(Grant.SHOW));
    expect(grant("Open", "notes")).toBe(Grant.SHOW);
  });

  test("just the names that directories list are found as listed", () => {
    const found = (name: string, asListed: boolean): boolean =>
      fileSystem.lookup(fileSystem.rootInode, Buffer.from(name), asListed) !== 0;
    for (const name of ["Secret", "Open", "A long directory"]) {
      expect([name, found(name, true)]).toEqual([name, true]);
      for (const other of [name.toUpperCase(), name.toLowerCase()]) {
        expect([other, found(other, true)]).toEqual([other, false]);
        expect([other, found(other, false)]).toEqual([other, folds]);
      }
    }
    expect(found("ALONGD~1", true)).toBe(false);
  });

  test("a map of names with another spelling, of before a rename, shows nothing", () => {
    const ino = fileSystem.lookup(fileSystem.rootInode, Buffer.from("Secret"));
    const attributes = new Attributes();
    fileSystem.stat(ino, attributes);
    hints.link(fileSystem.rootInode, Buffer.from("secret"), ino);
    expect(access.ofInode(ino, attributes)).toBe(Grant.HIDE);
    const open = fileSystem.lookup(fileSystem.rootInode, Buffer.from("Open"));
    fileSystem.stat(open, attributes);
    hints.link(fileSystem.rootInode, Buffer.from("Open"), open);
    expect(access.ofInode(open, attributes)).toBe(Grant.SHOW);
  });
});
