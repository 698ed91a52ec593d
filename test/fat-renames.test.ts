/** Files of FAT and exFAT that are renamed have other numbers then, and are told as renamed. */
import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { crawlFileSystem } from "../src/filesystems/formats.js";
import { openRawImage } from "../src/images/raw.js";
import { IndexSink } from "../src/inference/index-sink.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, loopDevice, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { told, until } from "./support/told-volume.js";
import { UmlGuest } from "./support/uml-kernel.js";

const folder = workFolder("fat-renames");
afterAll(cleanUp);

/** A guest with a volume: does what a line of shell says, and then all of it is on the image. */
interface Guest {
  does(command: string): Promise<void>;
  end(): Promise<void>;
}

async function exfat(image: string): Promise<Guest> {
  await run("mkfs.exfat", ["-c", "4K", image]);
  const { device, free } = await loopDevice(image);
  const inside = `${image}-inside`;
  mkdirSync(inside);
  await run("mount.exfat-fuse", [device, inside]);
  const unmount = onEnd(() => unmountNow(inside));
  return {
    does: async (command) => {
      await run("sh", ["-ec", `cd '${inside}'; ${command}`]);
      await run("sync", ["-f", inside]);
      const disk = openSync(device, "r+");
      fsyncSync(disk);
      closeSync(disk);
    },
    end: async () => {
      unmount();
      free();
    },
  };
}

async function vfat(image: string): Promise<Guest> {
  await run("mkfs.vfat", ["-F", "16", image]);
  const uml = new UmlGuest(workFolder("fat-renames-uml", folder), image);
  return { does: (command) => uml.does(`${command}; sync`), end: () => uml.end() };
}

/** The numbers of all files by their names, as they are on the image now. */
function numbersIn(image: string): Map<string, number> {
  const source = openRawImage(image);
  const sink = new IndexSink(Number.POSITIVE_INFINITY);
  crawlFileSystem(source, new BlockCache(1 << 20), () => {}, sink);
  source.close();
  return new Map([...sink.index.inodes()].map((ino) => [basename(String(sink.index.path(ino))), ino]));
}

describe.each([
  ["exfat", "16M", exfat],
  ["vfat", "16M", vfat],
] as const)("%s", (format, size, make) => {
  test("a file that is renamed is told as that, once, with the number that it has then", async () => {
    const image = join(folder, `${format}.img`);
    await run("truncate", ["-s", size, image]);
    const guest = await make(image);
    await guest.does("mkdir d; echo a > a; head -c 9000 /dev/urandom > d/b; echo c > c; echo x > x; : > e");
    const { events, hasMap, followed, look, stop } = told(folder, format, image);
    await until(() => followed()[0] !== undefined, look);
    await until(hasMap);
    let seen = 0;
    const eventsOf = async (command: string): Promise<string[]> => {
      await guest.does(command);
      await until(() => events().length > seen, look);
      const numbers = numbersIn(image);
      const found = events().slice(seen);
      seen += found.length;
      for (const { event, path, inode } of found)
        if (event === "renamed") expect(inode, path).toBe(numbers.get(basename(path)));
      return found
        .map(({ event, path, from }) => `${event} ${from === undefined ? "" : `${from} `}${path}`)
        .sort();
    };
    expect(await eventsOf("mv a 'a name that is longer'; mv d/b moved; mv c d")).toEqual([
      "renamed /a /a name that is longer",
      "renamed /c /d/c",
      "renamed /d/b /moved",
    ]);
    // Together with its directory.
    expect(await eventsOf("mv d dir; mv dir/c dir/cc")).toEqual(["renamed /d /dir", "renamed /d/c /d/cc"]);
    // The place of one that goes.
    expect(await eventsOf("mv moved x")).toEqual(["deleted /x", "renamed /moved /x"]);
    // What is changed as well is known no more, and nothing is known of what is empty.
    expect(await eventsOf("mv e empty")).toEqual(["created /empty", "deleted /e"]);
    // Times of creation tell seconds: whatever takes the slot within one is the same file by all that is known.
    await guest.does("sleep 2.1");
    expect(await eventsOf("rm x; head -c 100 /dev/urandom > y")).toEqual(["created /y", "deleted /x"]);
    stop();
    await guest.end();
  }, 120_000);
});
