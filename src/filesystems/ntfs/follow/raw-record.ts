/** What a record's first bytes tell, which no fix-up concerns (NTFS documentation, "File Record"). */
import { RecordFlags } from "../record.js";

/** "FILE" */
const MAGIC = 0x454c4946;
const SEQUENCE_AT = 0x10;
const FLAGS_AT = 0x16;
const BASE_AT = 0x20;

/** Whether the record at `at` says that it is in use. */
export function saysInUse(buffer: Buffer, at: number): boolean {
  return buffer.readUInt32LE(at) === MAGIC && (buffer.readUInt16LE(at + FLAGS_AT) & RecordFlags.IN_USE) !== 0;
}

export function sequenceOf(buffer: Buffer, at: number): number {
  return buffer.readUInt16LE(at + SEQUENCE_AT);
}

/** The record that it goes on with; `record`, its own number, if it is no extension. */
export function baseOf(buffer: Buffer, at: number, record: number): number {
  const low = buffer.readUInt32LE(at + BASE_AT);
  const isNone = low === 0 && buffer.readUInt32LE(at + BASE_AT + 4) === 0;
  return isNone ? record : low;
}
