/** What a real kernel's writes were, by file and byte: each sector that it writes says itself whose it is. */
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import type { Written } from "../src/inference/written.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { cleanUp, mount, workFolder } from "./support/images-mount.js";
import {
  type Played,
  play,
  type RecordedStream,
  recordStream,
  type StreamRecipe,
} from "./support/write-stream.js";

vi.setConfig({ testTimeout: 180_000 });

const folder = workFolder("inference");

afterAll(cleanUp);

const SECTOR = 512;

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
}

/** A sector of a file that was written: `inode generation sector`. */
type Place = string;

interface Stamped {
  readonly place: Place;
  /** Where on the disk. */
  readonly at: number;
  readonly isDeleted: boolean;
}

/** What each record's sectors say of themselves. */
function stampedIn({ data, offset }: WriteRecord, files: RecordedStream["files"]): Stamped[] {
  const found: Stamped[] = [];
  for (let at = 0; data !== undefined && at + SECTOR <= data.length; at += SECTOR) {
    if (data.toString("latin1", at, at + 4) !== "STMP") continue;
    const [, inode, generation, isDeleted] = files[data.readUInt32LE(at + 4)]!;
    const place = `${inode} ${generation} ${data.readUInt32LE(at + 8)}`;
    found.push({ place, at: offset + at, isDeleted });
  }
  return found;
}

/** For each sector of a file, the last number in the stream with which it was told. */
function told(written: readonly Written[]): Map<Place, number> {
  const places = new Map<Place, number>();
  for (const { ino, generation, ranges, sequence } of written) {
    for (const [offset, length] of ranges) {
      for (let at = Math.floor(offset / SECTOR); at * SECTOR < offset + length; at++) {
        const place = `${ino} ${generation} ${at}`;
        places.set(place, Math.max(sequence, places.get(place) ?? 0));
      }
    }
  }
  return places;
}

/** The sectors of all files as the kernel has them in the end: those with stamps. */
async function finalPlaces(stream: RecordedStream): Promise<Set<Place>> {
  const inside = join(folder, "final");
  const unmount = await mount(stream.after, inside, "ro,loop");
  const program = `
import os, struct, sys
for top, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(top, name)
        if os.path.islink(path): continue
        with open(path, "rb") as file:
            while sector := file.read(512):
                if sector[:4] == b"STMP": print(*struct.unpack("<II", sector[4:12]))
`;
  const text = execFileSync("python3", ["-c", program, inside], { encoding: "latin1", maxBuffer: 1 << 30 });
  unmount();
  return new Set(
    text
      .trim()
      .split("\n")
      .map((line) => {
        const [number, sector] = line.split(" ").map(Number) as [number, number];
        const [, inode, generation] = stream.files[number]!;
        return `${inode} ${generation} ${sector}`;
      }),
  );
}

/** Whether all that was written was told of the right files, and nothing else. */
async function check(stream: RecordedStream, records: readonly WriteRecord[], played: Played): Promise<void> {
  const places = told(played.written);
  const stampedOutside = (record: WriteRecord) =>
    stampedIn(record, stream.files).filter(({ at }) => !played.isJournal(at));
  const final = await finalPlaces(stream);
  /** Where on the disk each was written last. */
  const stamped = new Map<Place, number>();
  for (const record of records) for (const { place, at } of stampedOutside(record)) stamped.set(place, at);
  const missed: string[] = [];
  let wanted = 0;
  for (const record of records) {
    for (const { place, at, isDeleted } of stampedOutside(record)) {
      // What was cut off, or deleted, may have gone before the commit that would have told whose it was.
      if (isDeleted || !final.has(place) || stamped.get(place) !== at) continue;
      wanted++;
      if ((places.get(place) ?? 0) < record.sequence)
        missed.push(`${place}, written with ${record.sequence}`);
    }
  }
  const wrong = [...places.keys()].filter((place) => !stamped.has(place) && final.has(place));
  expect(wanted).toBeGreaterThan(1000);
  expect(missed.slice(0, 10)).toEqual([]);
  expect(wrong.slice(0, 10)).toEqual([]);
}

/** The same records in another order that a disk may do them in: between flushes, those that do not overlap change places. */
function reordered(records: readonly WriteRecord[], dice: (below: number) => number): WriteRecord[] {
  const order = [...records];
  const isBarrier = ({ kind, fua }: WriteRecord) => kind === "flush" || fua;
  const mayChange = (a: WriteRecord, b: WriteRecord) =>
    !isBarrier(a) && !isBarrier(b) && (a.offset + a.length <= b.offset || b.offset + b.length <= a.offset);
  for (let pass = 0; pass < 20; pass++) {
    for (let n = 1; n < order.length; n++) {
      const [a, b] = [order[n - 1]!, order[n]!];
      if (dice(2) === 0 && mayChange(a, b)) [order[n - 1], order[n]] = [b, a];
    }
  }
  return order.map((record, n) => ({ ...record, sequence: n + 1 }));
}

const ext4 = (...features: string[]) => ["-t", "ext4", "-b", "4096", ...features];
const recipes: readonly (StreamRecipe & { readonly name: string })[] = [
  { name: "ext4, 4 KiB blocks", mke2fs: ext4() },
  { name: "ext4, 1 KiB blocks", mke2fs: ["-t", "ext4", "-b", "1024"] },
  { name: "ext3", mke2fs: ["-t", "ext3", "-b", "1024"], hasExtents: false },
  { name: "ext2", mke2fs: ["-t", "ext2", "-b", "4096"], hasExtents: false },
  { name: "ext4 that discards what it frees", mke2fs: ext4(), options: "discard" },
  { name: "ext4 that allocates at once", mke2fs: ext4(), options: "nodelalloc" },
  { name: "ext4 that logs data", mke2fs: ext4(), options: "data=journal" },
  { name: "ext4 in clusters, with inline data", mke2fs: ext4("-O", "bigalloc,inline_data", "-C", "16384") },
  { name: "ext4 with fast commits", mke2fs: ext4("-O", "fast_commit") },
];

describe.each(recipes)("what was written to $name", (recipe) => {
  const place = join(folder, recipe.name.replaceAll(/\W/g, "-"));
  let stream: RecordedStream;
  const dice = random(7);
  const batch = () => 1 + dice(60);

  test("is told of its files as it comes", async () => {
    await mkdir(place, { recursive: true });
    stream = await recordStream(place, recipe, 1);
    expect(readFileSync(stream.before).equals(readFileSync(stream.after))).toBe(false);
    const played = await play(place, stream, stream.records, { batch });
    await check(stream, stream.records, played);
  });

  test("is told once it is known what blocks hold", async () => {
    const played = await play(place, stream, stream.records, { batch, readyAfter: 0.4 });
    await check(stream, stream.records, played);
  });

  test("is told in whatever order the disk does it", async () => {
    const records = reordered(stream.records, dice);
    const played = await play(place, stream, records, { batch });
    await check(stream, records, played);
  });

  test("is told where it was lost what was written, and not where", async () => {
    const told = (record: WriteRecord): WriteRecord =>
      record.kind === "write" && dice(5) === 0 ? { ...record, kind: "gap", data: undefined } : record;
    const played = await play(place, stream, stream.records, { batch, told });
    await check(stream, stream.records, played);
    expect(played.counters.gaps).toBeGreaterThan(10);
  });

  test("is said to be lost where it was lost altogether", async () => {
    const { size } = statSync(stream.before);
    const told = (record: WriteRecord): WriteRecord =>
      record.sequence === 100 ? { ...record, kind: "gap", data: undefined, offset: 0, length: size } : record;
    const played = await play(place, stream, stream.records, { batch, told });
    expect(played.hasLost).toBe(true);
  });
});
