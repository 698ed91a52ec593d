/**
 * LZX blocks that are not compressed: wimlib writes none, but reads them, as Windows writes them. So they are made here of
 * what wimlib has compressed, and wimlib has to read them as we do.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { decompressLzx } from "../src/filesystems/ntfs/compression/lzx.js";
import { IoError } from "../src/images/io-error.js";
import { wimResources } from "./support/compressed.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("lzx-blocks");
afterAll(cleanUp);

const license = readFileSync("/usr/share/common-licenses/GPL-3");
/** Bytes without a call, so that nothing is translated where they move. */
const raw = Buffer.from(Array.from({ length: 300 }, (_, index) => (index * 73) % 128));

/** The header of a block of bytes as they are, after the first `bits` bits of words of 16. */
function uncompressed(before: Buffer, bits: number, bytes: Buffer): Buffer {
  let text = "";
  for (let at = 0; at < before.length; at += 2) {
    text += before.readUInt16LE(at).toString(2).padStart(16, "0");
  }
  text = `${text.slice(0, bits)}0110${bytes.length.toString(2).padStart(16, "0")}`;
  // Where a word has just ended, there is another one that means nothing.
  text += "0".repeat(16 - (text.length % 16));
  const words = Buffer.alloc(text.length / 8);
  for (let at = 0; at < text.length; at += 16) {
    words.writeUInt16LE(Number.parseInt(text.slice(at, at + 16), 2), at / 8);
  }
  const recent = Buffer.from("010000000100000001000000", "hex");
  return Buffer.concat([words, recent, bytes, Buffer.alloc(bytes.length % 2)]);
}

/** What we read; undefined if we refuse it. */
function decompressed(chunk: Buffer, room: number): Buffer | undefined {
  const target = Buffer.alloc(room);
  try {
    decompressLzx(chunk, 0, chunk.length, target, 0, room);
    return target;
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    return undefined;
  }
}

let archives = 0;

/** Whether wimlib reads those bytes of that chunk: it compares their digest. */
async function isReadByWimlib(chunk: Buffer, contents: Buffer): Promise<boolean> {
  const place = join(folder, `archive-${archives++}`);
  mkdirSync(join(place, "in"), { recursive: true });
  writeFileSync(join(place, "in", "file"), contents);
  const archive = join(place, "a.wim");
  await run("wimlib-imagex", ["capture", join(place, "in"), archive, "--compress=LZX", "--chunk-size=32K"]);
  const bytes = readFileSync(archive);
  const at = bytes.indexOf(createHash("sha1").update(contents).digest(), bytes.readUIntLE(56, 6)) - 30;
  expect(at).toBeGreaterThan(0);
  bytes.writeUIntLE(chunk.length, at, 6);
  bytes[at + 7] = 0x04;
  bytes.writeUIntLE(bytes.length, at + 8, 6);
  writeFileSync(archive, Buffer.concat([bytes, chunk]));
  try {
    await run("wimlib-imagex", ["extract", archive, "1", "/file", `--dest-dir=${place}`]);
  } catch (error) {
    expect((error as Error).message).toMatch(/decompress|corrupt|SHA-1/i);
    return false;
  }
  return readFileSync(join(place, "file")).equals(contents);
}

test("Blocks of bytes as they are are read as wimlib reads them", async () => {
  const texts = new Map<string, Buffer>();
  for (let index = 0; index < 48; index++) {
    texts.set(`text-${index}`, license.subarray(index * 100, index * 100 + 9000 + index * 7));
  }
  let inTheMiddle = 0;
  let atTheEnd = 0;
  const wrong: string[] = [];
  for (const { name, contents, stream } of await wimResources(folder, texts, "LZX", "32K")) {
    const index = Number(name.slice(5));
    const bytes = raw.subarray(0, 200 + (index % 3));
    const first = Buffer.concat([uncompressed(Buffer.alloc(0), 0, bytes), stream]);
    const after = Buffer.concat([bytes, contents]);
    if (!decompressed(first, after.length)?.equals(after)) wrong.push(`${name} after bytes`);
    if (index % 8 === 0) expect(await isReadByWimlib(first, after)).toBe(true);

    // How many bits of its last word the compressed block uses is not told: one of them is right.
    const before = Buffer.concat([contents, bytes]);
    for (let bits = 1; bits <= 16; bits++) {
      const chunk = uncompressed(stream, (stream.length - 2) * 8 + bits, bytes);
      if (!decompressed(chunk, before.length)?.equals(before)) continue;
      // 20 bits of header.
      const isAligned = (bits + 20) % 16 === 0;
      if (isAligned ? atTheEnd++ < 2 : inTheMiddle++ % 8 === 0) {
        expect({ name, bits, read: await isReadByWimlib(chunk, before) }).toEqual({ name, bits, read: true });
      }
    }
  }
  expect(wrong).toEqual([]);
  expect(inTheMiddle + atTheEnd).toBeGreaterThanOrEqual(48);
  expect(atTheEnd).toBeGreaterThan(0);
});

test("What is wrong with such a block is an I/O error, and wimlib refuses it", async () => {
  const good = uncompressed(Buffer.alloc(0), 0, raw);
  expect(decompressed(good, raw.length)?.equals(raw)).toBe(true);
  for (let length = 0; length < good.length; length++) {
    expect(decompressed(good.subarray(0, length), raw.length)).toBeUndefined();
  }
  expect(decompressed(good, raw.length - 1)).toBeUndefined();
  expect(decompressed(good, raw.length + 1)).toBeUndefined();
  expect(await isReadByWimlib(good.subarray(0, 100), raw)).toBe(false);
});
