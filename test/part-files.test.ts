/** What was told of a transaction before the whole, as the next server finds it. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { PartFiles } from "../src/daemon/part-files.js";
import type { TakenPart } from "../src/filesystems/follower.js";
import { cleanUp, workFolder } from "./support/images-mount.js";

afterAll(cleanUp);

const root = workFolder("part-files");
const KEY = "guest/sda1";
const UUID = "6d1a";
let folders = 0;

function part(sequence: number, number: number, name = "a name\xff"): TakenPart {
  const records = Buffer.from(new SharedArrayBuffer(64)).fill(number);
  const names = [{ directory: 2, generation: 0, name: Buffer.from(name, "latin1"), ino: 0, now: 12 }];
  const attributes = { old: undefined, now: new Map([["user.a", Buffer.from("value")]]) };
  const changes = {
    inodes: [{ ino: 12, old: undefined, now: undefined, attributes }],
    names,
    unsureInodes: [],
    unsureDirectories: [],
  };
  return { sequence, logical: { number, records }, changes, seconds: 5, nanoseconds: 6 };
}

/** A folder of its own, what is said of it, and the one file in it. */
function open() {
  const folder = join(root, `${++folders}`);
  const log: string[] = [];
  const start = () => new PartFiles(folder, (line) => log.push(line));
  return { folder, log, start, file: () => join(folder, readdirSync(folder)[0] as string) };
}

const numbers = (files: PartFiles) => files.load(KEY)?.parts.map(({ logical }) => logical.number);

test("parts come back as they were, each once, and only those of the last transaction", () => {
  const { start, log } = open();
  const one = start();
  expect(one.load(KEY)).toBeUndefined();
  one.add(KEY, UUID, part(6, 1));
  for (const number of [1, 2, 2, 1, 3]) one.add(KEY, UUID, part(7, number));
  one.close();
  const kept = start().load(KEY);
  expect(kept?.uuid).toBe(UUID);
  expect(kept?.parts.map(({ logical }) => logical.number)).toEqual([1, 2, 3]);
  for (const [index, { logical, ...rest }] of (kept?.parts ?? []).entries()) {
    const { logical: expected, ...others } = part(7, index + 1);
    expect(rest).toEqual(others);
    expect(Buffer.from(logical.records)).toEqual(Buffer.from(expected.records));
  }
  expect(log).toEqual([]);
});

test("what a transaction that is whole has made needless goes, and nothing of a later one", () => {
  const { start } = open();
  const files = start();
  files.drop(KEY, { sequence: 7 });
  files.add(KEY, UUID, part(8, 1));
  files.drop(KEY, { sequence: 7 });
  expect(numbers(files)).toEqual([1]);
  files.drop(KEY, { sequence: 8 });
  expect(files.load(KEY)).toBeUndefined();
  files.add(KEY, UUID, part(9, 1));
  files.close();
  const next = start();
  next.drop(KEY);
  expect(next.load(KEY)).toBeUndefined();
  next.close();
});

test("a part that was half written is none, and those after it count", () => {
  const { start, file, log } = open();
  const one = start();
  one.add(KEY, UUID, part(7, 1));
  one.add(KEY, UUID, part(7, 2, "a long name".repeat(50)));
  one.close();
  truncateSync(file(), readFileSync(file()).length - 3);
  const two = start();
  expect(numbers(two)).toEqual([1]);
  two.add(KEY, UUID, part(7, 2));
  two.add(KEY, UUID, part(7, 3));
  expect(numbers(two)).toEqual([1, 2, 3]);
  two.close();
  expect(log).toEqual([]);
});

test("parts without those before them, or of two file systems, are of no use", () => {
  for (const later of [
    (files: PartFiles) => files.add(KEY, UUID, part(7, 3)),
    (files: PartFiles) => files.add(KEY, "another", part(7, 2)),
  ]) {
    const files = open().start();
    files.add(KEY, UUID, part(7, 1));
    later(files);
    expect(files.load(KEY)).toBeUndefined();
    files.close();
  }
});

test("a file that makes no sense is passed over, and said to be", () => {
  const { folder, start, file, log } = open();
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, encodeURIComponent(KEY)), Buffer.from([4, 0, 0, 0, 1, 2, 3, 4]));
  const files = start();
  expect(files.load(KEY)).toBeUndefined();
  expect(log.length).toBe(1);
  appendFileSync(file(), "more");
  files.add(KEY, UUID, part(7, 1));
  expect(numbers(files)).toEqual([1]);
  files.close();
});
