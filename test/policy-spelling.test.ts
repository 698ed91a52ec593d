/** A policy on a file system that finds names in other spellings than they have, before there is a map of its names. */
import { writeFileSync } from "node:fs";
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

describe.each([
  ["FAT", async (image: string) => run("mkfs.vfat", ["-F", "16", image])],
  [
    "ext4 with casefold",
    async (image: string) => run("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "casefold", image]),
  ],
])("%s", (name, make) => {
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
    } else {
      const commands = directories.map((directory) => `mkdir "${directory}"`);
      // EXT4_CASEFOLD_FL and EXT4_EXTENTS_FL; the root as well.
      commands.push(...paths.map((path) => `write ${source} "${path}"`));
      commands.push(...["/", ...directories].map((path) => `set_inode_field "${path}" flags 0x40080000`));
      writeFileSync(join(folder, "commands"), `${commands.join("\n")}\n`);
      await run("debugfs", ["-w", "-f", join(folder, "commands"), image]);
    }
    fileSystem = openFileSystem(openRawImage(image), new BlockCache(1 << 20), () => {}) as FileSystem;
    const root = volumeRoots(RULES, "web", new Map([["sda1", ["/"]]])).get("sda1");
    if (root === undefined) throw new Error("no rule holds");
    access = new VolumeAccess(root, () => fileSystem, new InodeIndex(fileSystem.rootInode));
  });

  test("what is hidden is hidden however it is spelled", () => {
    expect(grant("Secret")).toBe(Grant.HIDE);
    expect(grant("SECRET")).toBe(Grant.HIDE);
    expect(grant("sEcret", "key")).toBe(Grant.HIDE);
    expect(grant("a LONG directory")).toBe(Grant.HIDE);
    expect(grant("Open", "SERVER.PEM")).toBe(Grant.HIDE);
    expect(grant("open", "Server.pem")).toBe(Grant.HIDE);
    if (name === "FAT") expect(grant("ALONGD~1")).toBe(Grant.HIDE);
  });

  test("what is shown is shown however it is spelled", () => {
    expect(grant("OPEN")).toBe(Grant.SHOW);
    expect(grant("open", "NOTES")).toBe(Grant.SHOW);
    expect(grant("Open", "notes")).toBe(Grant.SHOW);
  });
});
