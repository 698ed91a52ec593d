/** The documents of a crawl's file, by the library and none of our code. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { type Document, deserialize } from "bson";

/** Each document's bytes. */
export function documentBytes(path: string): Buffer[] {
  const file = readFileSync(path);
  const bytes = path.endsWith(".gz") ? gunzipSync(file) : file;
  const all: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readInt32LE(at))
    all.push(bytes.subarray(at, at + bytes.readInt32LE(at)));
  return all;
}

export function documents(path: string): Document[] {
  return documentBytes(path).map((bytes) => deserialize(bytes, { promoteBuffers: true }));
}

/** An inode's extents, also those of documents after it. */
export function extentsOf(all: readonly Document[], ino: number): Document[] {
  return all.flatMap((document) =>
    (document.type === "inode" || document.type === "extents") && document.ino === ino
      ? (document.extents ?? [])
      : [],
  );
}
