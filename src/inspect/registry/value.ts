/** A value of a key in a registry hive, and what kinds of data mean. */
import { type Cells, damaged } from "./cells.js";

const VALUE_BYTES = 20;
/** A name has at most 16,383 characters. */
const MOST_VALUE_BYTES = VALUE_BYTES + 2 * 16_383;
const COMPRESSED_NAME = 0x1;
/** Data of up to four bytes is in the place of its offset. */
const IN_PLACE = 0x8000_0000;
/** What is longer is cut into segments, since version 1.4 of the format. */
const SEGMENT = 16_344;
const FIRST_WITH_SEGMENTS = 4;
/** Bytes of a value that are read. */
const MOST_DATA = 1 << 20;

/** Characters of a text that are taken. */
const MOST_TEXT = 512;

const REG_SZ = 1;
const REG_EXPAND_SZ = 2;
const REG_DWORD = 4;
const REG_DWORD_BIG_ENDIAN = 5;
const REG_MULTI_SZ = 7;
const REG_QWORD = 11;

export interface Value {
  readonly name: string;
  /** REG_SZ is 1, and so on. */
  readonly type: number;
  readonly data: Buffer;
}

/** Throws an Error with a line if it is damaged, or larger than values are read. */
export function valueAt(cells: Cells, offset: number): Value {
  const cell = cells.typed(offset, "vk", VALUE_BYTES, MOST_VALUE_BYTES);
  const nameBytes = cell.readUInt16LE(2);
  if (VALUE_BYTES + nameBytes > cell.length) throw damaged(offset);
  const isCompressed = (cell.readUInt16LE(16) & COMPRESSED_NAME) !== 0;
  return {
    name: cell.toString(isCompressed ? "latin1" : "utf16le", VALUE_BYTES, VALUE_BYTES + nameBytes),
    type: cell.readUInt32LE(12),
    data: dataOf(cells, cell, offset),
  };
}

function dataOf(cells: Cells, value: Buffer, offset: number): Buffer {
  const told = value.readUInt32LE(4);
  if (told >= IN_PLACE) {
    const length = told - IN_PLACE;
    if (length > 4) throw damaged(offset);
    return value.subarray(8, 8 + length);
  }
  if (told === 0) return Buffer.alloc(0);
  const place = value.readUInt32LE(8);
  if (told > MOST_DATA) throw new Error(`a value has more than ${MOST_DATA} bytes, which are not read`);
  if (told <= SEGMENT || cells.minorVersion < FIRST_WITH_SEGMENTS) return cells.cell(place, told, told);
  // Other programs than Windows do not cut what is long.
  const first = cells.cell(place, 8, told);
  if (first.toString("latin1", 0, 2) !== "db" || first.length >= told) return cells.cell(place, told, told);
  return joined(cells, place, first, told);
}

function joined(cells: Cells, place: number, head: Buffer, length: number): Buffer {
  const count = head.readUInt16LE(2);
  if (count !== Math.ceil(length / SEGMENT)) throw damaged(place);
  const list = cells.cell(head.readUInt32LE(4), 4 * count, 4 * count);
  const parts: Buffer[] = [];
  for (let index = 0, left = length; index < count; index++) {
    const bytes = Math.min(left, SEGMENT);
    parts.push(cells.cell(list.readUInt32LE(4 * index), bytes, bytes));
    left -= bytes;
  }
  return Buffer.concat(parts);
}

/**
 * A text: REG_SZ or REG_EXPAND_SZ, or the first of a REG_MULTI_SZ, up to the first zero or to 512 characters. Undefined for
 * other kinds.
 */
export function textOf(value: Value | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (value.type !== REG_SZ && value.type !== REG_EXPAND_SZ && value.type !== REG_MULTI_SZ) return undefined;
  const text = value.data.toString("utf16le", 0, 2 * MOST_TEXT);
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

/** A number: REG_DWORD of either order, REG_QWORD below 2^53. Undefined for other kinds. */
export function numberOf(value: Value | undefined): number | undefined {
  if (value === undefined) return undefined;
  const { type, data } = value;
  if (type === REG_DWORD && data.length === 4) return data.readUInt32LE(0);
  if (type === REG_DWORD_BIG_ENDIAN && data.length === 4) return data.readUInt32BE(0);
  if (type === REG_QWORD && data.length === 8) {
    const number = data.readUInt32LE(0) + data.readUInt32LE(4) * 2 ** 32;
    return Number.isSafeInteger(number) ? number : undefined;
  }
  return undefined;
}
