/** An MFT in pieces, with a list of attributes that says where its runs go on: small volumes never come to that. */
import { changeBytes } from "./ntfs-data.js";

const DATA = 0x80;
const END = 0xffffffff;
/** Records that are kept for what $MFT needs. */
const FIRST_SPARE = 16;
/** Those that stay where they are. */
const KEPT = 24;

/**
 * Moves the records of a volume with clusters as large as records into `pieces` runs that do not lie together, half of
 * which only an extension of record 0 tells.
 */
export function fragmentMft(image: string, pieces: number): void {
  changeBytes(image, (read, write) => {
    const boot = read(0, 512);
    const size = boot.readUInt16LE(11) * boot[13]!;
    const cluster = (lcn: number) => read(lcn * size, size);
    const first = unfixed(cluster(Number(boot.readBigUInt64LE(0x30))));
    const data = attributes(first).find(({ type }) => type === DATA)!.bytes;
    const places = clustersOf(data);
    const bitmapAt = clustersOf(
      attributes(unfixed(cluster(places[6]!))).find(({ type }) => type === DATA)!.bytes,
    );
    const used = Buffer.concat(bitmapAt.map(cluster));
    const length = Math.ceil((places.length - KEPT) / pieces);
    let next = places.length + 100;
    const moved = places.map((place, vcn) => {
      if (vcn < KEPT) return place;
      // A cluster of somebody else's lies between any two pieces.
      if ((vcn - KEPT) % length === 0) next += 2;
      while ((used[next >> 3]! & (1 << (next & 7))) !== 0) next++;
      used[next >> 3]! |= 1 << (next & 7);
      write(next * size, cluster(place));
      return next++;
    });
    for (const old of places.slice(KEPT)) used[old >> 3]! &= ~(1 << (old & 7));
    bitmapAt.forEach((lcn, n) => {
      write(lcn * size, used.subarray(n * size, (n + 1) * size));
    });
    const middle = Math.floor(moved.length / 2);
    const extension = Buffer.from(first);
    const kept = attributes(first).filter(({ type }) => type !== DATA);
    const parts = [part(data, moved, 0, middle), part(data, moved, middle, moved.length)] as const;
    const list = listOf([
      ...kept.map(({ type, bytes }) => ({ type, vcn: 0, record: 0, instance: bytes.readUInt16LE(14) })),
      { type: DATA, vcn: 0, record: 0, instance: parts[0].readUInt16LE(14) },
      { type: DATA, vcn: middle, record: FIRST_SPARE, instance: parts[1].readUInt16LE(14) },
    ]);
    setAttributes(first, [...kept.map(({ bytes }) => bytes), parts[0], list]);
    setAttributes(extension, [parts[1]]);
    // An extension: of record 0, used once; it has a number of its own.
    extension.writeUInt16LE(0, 0x12);
    extension.writeUInt32LE(0, 0x20);
    extension.writeUInt32LE(first.readUInt16LE(0x10) * 0x10000, 0x24);
    extension.writeUInt16LE(FIRST_SPARE, 0x10);
    extension.writeUInt32LE(FIRST_SPARE, 0x2c);
    write(places[0]! * size, fixed(first));
    write(places[FIRST_SPARE]! * size, fixed(extension));
    write(Number(boot.readBigUInt64LE(0x38)) * size, fixed(first));
  });
}

function unfixed(record: Buffer): Buffer {
  const [array, count] = [record.readUInt16LE(4), record.readUInt16LE(6)];
  for (let n = 1; n < count; n++) record.copy(record, n * 512 - 2, array + n * 2, array + n * 2 + 2);
  return record;
}

function fixed(record: Buffer): Buffer {
  const copy = Buffer.from(record);
  const [array, count] = [copy.readUInt16LE(4), copy.readUInt16LE(6)];
  for (let n = 1; n < count; n++) {
    copy.copy(copy, array + n * 2, n * 512 - 2, n * 512);
    copy.copy(copy, n * 512 - 2, array, array + 2);
  }
  return copy;
}

function attributes(record: Buffer): Array<{ type: number; bytes: Buffer }> {
  const found = [];
  for (let at = record.readUInt16LE(20); record.readUInt32LE(at) !== END; at += record.readUInt32LE(at + 4))
    found.push({
      type: record.readUInt32LE(at),
      bytes: Buffer.from(record.subarray(at, at + record.readUInt32LE(at + 4))),
    });
  return found;
}

function setAttributes(record: Buffer, all: readonly Buffer[]): void {
  const start = record.readUInt16LE(20);
  const sorted = [...all].sort((a, b) => a.readUInt32LE(0) - b.readUInt32LE(0));
  const bytes = Buffer.concat([...sorted, Buffer.from("ffffffff00000000", "hex")]);
  record.fill(0, start);
  bytes.copy(record, start);
  record.writeUInt32LE(start + bytes.length, 0x18);
  if (start + bytes.length > record.length) throw new Error("the attributes do not fit");
}

/** Where each cluster of an attribute lies. */
function clustersOf(attribute: Buffer): number[] {
  const places: number[] = [];
  let lcn = 0;
  for (let at = attribute.readUInt16LE(0x20); attribute[at] !== 0; ) {
    const [lengthSize, stepSize] = [attribute[at]! & 15, attribute[at]! >> 4];
    const length = attribute.readUIntLE(at + 1, lengthSize);
    lcn += attribute.readIntLE(at + 1 + lengthSize, stepSize);
    for (let n = 0; n < length; n++) places.push(lcn + n);
    at += 1 + lengthSize + stepSize;
  }
  return places;
}

/** The attribute with the runs from cluster `from` up to `end` alone. */
function part(attribute: Buffer, places: readonly number[], from: number, end: number): Buffer {
  const runs: number[] = [];
  let before = 0;
  for (let vcn = from; vcn < end; ) {
    const start = places[vcn]!;
    let length = 1;
    while (vcn + length < end && places[vcn + length] === start + length) length++;
    runs.push(0x31, length, ...int24(start - before));
    if (length > 127) throw new Error("a run that is too long");
    before = start;
    vcn += length;
  }
  const head = Buffer.from(attribute.subarray(0, 0x40));
  const bytes = Buffer.concat([head, Buffer.from(runs), Buffer.alloc(8 - (runs.length % 8))]);
  bytes.writeUInt32LE(bytes.length, 4);
  // A number of its own in its record.
  bytes.writeUInt16LE(from === 0 ? attribute.readUInt16LE(14) : 0, 14);
  bytes.writeBigUInt64LE(BigInt(from), 0x10);
  bytes.writeBigUInt64LE(BigInt(end - 1), 0x18);
  bytes.writeUInt16LE(0x40, 0x20);
  // The first part tells the sizes.
  if (from > 0) bytes.fill(0, 0x28, 0x40);
  return bytes;
}

function int24(value: number): number[] {
  const bytes = Buffer.alloc(3);
  bytes.writeIntLE(value, 0, 3);
  return [...bytes];
}

/** A list of attributes, in the record itself. */
function listOf(
  entries: ReadonlyArray<{ type: number; vcn: number; record: number; instance: number }>,
): Buffer {
  const sorted = [...entries].sort((a, b) => a.type - b.type || a.vcn - b.vcn);
  const value = Buffer.concat(
    sorted.map(({ type, vcn, record, instance }) => {
      const entry = Buffer.alloc(32);
      entry.writeUInt32LE(type, 0);
      entry.writeUInt16LE(32, 4);
      entry[7] = 26;
      entry.writeUInt32LE(vcn, 8);
      entry.writeUInt32LE(record, 16);
      entry.writeUInt16LE(record === 0 ? 1 : record, 22);
      entry.writeUInt16LE(instance, 24);
      return entry;
    }),
  );
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0x20, 0);
  head.writeUInt32LE(24 + value.length, 4);
  head.writeUInt16LE(24, 10);
  head.writeUInt16LE(20, 14);
  head.writeUInt32LE(value.length, 16);
  head.writeUInt16LE(24, 20);
  return Buffer.concat([head, value]);
}
