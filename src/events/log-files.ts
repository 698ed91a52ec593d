/**
 * The files of a log: `<folder>/<segment>`, of which the newest is written, and the one before it is kept. What was being
 * written when the writer was killed is told from what is whole.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import type { GuestEvent } from "./event.js";
import { LineParts, NEWLINE } from "./line.js";
import { NO_SEGMENT, type SegmentEnd } from "./log-position.js";
import { LogState } from "./log-state.js";

/** Bytes that are read from a segment's end to find its last checkpoint; twice as many if there is none. */
const TAIL = 512 << 10;
const CHECKPOINT_START = Buffer.from("\n#\t");

/** The folder of a guest's log, below the one of all logs. A guest's name is one that a directory can have. */
export function guestFolder(root: string, guest: string): string {
  return join(root, "guests", guest);
}

/** The folder of the log that has the events of all guests. */
export function everythingFolder(root: string): string {
  return join(root, "everything");
}

/** The file of a segment. */
export function segmentPath(folder: string, segment: number): string {
  return join(folder, String(segment));
}

/** The numbers of the segments that are there, the newest first. */
export function segmentsIn(folder: string): number[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => /^[1-9]\d{0,8}$/.test(name))
    .map(Number)
    .sort((a, b) => b - a);
}

/** A log as it was found. */
export interface FoundLog {
  /** Up to the last whole transaction. */
  readonly current: SegmentEnd;
  readonly previous: SegmentEnd;
  readonly state: LogState;
  /** All segments that are there. */
  readonly segments: readonly number[];
}

/** Reads how far a log goes. Changes nothing. Throws a system error other than ENOENT. */
export function findLog(folder: string): FoundLog {
  const segments = segmentsIn(folder);
  for (const segment of segments) {
    const found = lastWhole(segmentPath(folder, segment));
    // All of it belongs to a transaction whose end was not written: the log ends in the segment before.
    if (found === undefined) continue;
    const before = segments.includes(segment - 1) ? wholeFile(folder, segment - 1) : NO_SEGMENT;
    const { size, written, state } = found;
    return { current: { segment, size, written }, previous: before, state, segments };
  }
  return { current: NO_SEGMENT, previous: NO_SEGMENT, state: new LogState(), segments };
}

function wholeFile(folder: string, segment: number): SegmentEnd {
  const fd = openSync(segmentPath(folder, segment), "r");
  try {
    const { size, mtimeMs } = fstatSync(fd);
    return { segment, size, written: mtimeMs };
  } finally {
    closeSync(fd);
  }
}

/** Where a segment's last whole transaction ends, and what is known there. */
function lastWhole(path: string): { size: number; written: number; state: LogState } | undefined {
  const fd = openSync(path, "r");
  try {
    const { size, mtimeMs } = fstatSync(fd);
    for (let length = Math.min(TAIL, size); ; length = Math.min(length * 2, size)) {
      const tail = readTail(fd, size, length);
      for (
        let at = tail.lastIndexOf(CHECKPOINT_START);
        at >= 0;
        at = at === 0 ? -1 : tail.lastIndexOf(CHECKPOINT_START, at - 1)
      ) {
        const end = wholeFrom(tail, at + 1);
        if (end !== undefined) return { size: size - length + end.at, written: mtimeMs, state: end.state };
      }
      if (length < size) continue;
      const end = wholeFrom(tail, 0);
      return end && { size: end.at, written: mtimeMs, state: end.state };
    }
  } finally {
    closeSync(fd);
  }
}

function readTail(fd: number, size: number, length: number): Buffer {
  const tail = Buffer.allocUnsafe(length);
  let got = 0;
  while (got < length) {
    const read = readSync(fd, tail, got, length - got, size - length + got);
    if (read === 0) break;
    got += read;
  }
  return tail.subarray(0, got);
}

/** From a checkpoint on: where the last whole transaction ends. */
function wholeFrom(buffer: Buffer, start: number): { at: number; state: LogState } | undefined {
  const first = buffer.indexOf(NEWLINE, start);
  if (first < 0) return undefined;
  const checkpoint = LogState.parse(buffer, start, first);
  if (checkpoint === undefined) return undefined;
  const { state } = checkpoint;
  let whole = checkpoint.isBetween ? first + 1 : undefined;
  const parts = new LineParts();
  for (let at = first + 1; at < buffer.length; ) {
    const end = buffer.indexOf(NEWLINE, at);
    if (end < 0 || !parts.parse(buffer, at, end)) break;
    if (parts.isLast) {
      try {
        state.note(JSON.parse(buffer.toString("utf8", parts.json, end)) as GuestEvent, true);
      } catch {
        break;
      }
      whole = end + 1;
    }
    at = end + 1;
  }
  return whole === undefined ? undefined : { at: whole, state };
}
