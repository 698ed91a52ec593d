/**
 * How a map of inodes keeps one: 12 words of 32 bits. Kept are the fields that events tell, and both times in full;
 * not kept is the birth time, which no change of a file changes. What does not fit has to be kept elsewhere.
 */
import type { InodeState } from "../filesystems/changes.js";

/** Words of a record. */
export const RECORD_WORDS = 12;

/** Words, counted from where a record begins. MODE: and the link count above it. SIZE_HIGH: 24 bits, KIND above. */
const MODE = 0;
const SIZE_LOW = 1;
const SIZE_HIGH = 2;
const UID = 3;
const GID = 4;
const GENERATION = 5;
const MTIME = 6;
const CTIME = 8;
/** The directory of the first name, and where its bytes lie. */
export const DIRECTORY = 10;
export const NAME = 11;

const KIND_SHIFT = 24;
/** Above the flags. */
const HAS_ATTRIBUTES = 2 ** 32;
/** No state is known. Kinds after that, up to UNUSUAL, stand for flags. */
export const NO_STATE = 0;
/** The state is kept elsewhere. */
export const UNUSUAL = 255;

/** Times are kept in 34 bits of seconds and 30 of nanoseconds, as ext4 has them: this is the first second. */
const FIRST_SECOND = -(2 ** 31);
const SECONDS = 2 ** 34;
const NANOSECONDS = 2 ** 30;

/** What a record says of the flags and of where its state is. */
export function kindOf(words: Uint32Array, at: number): number {
  return (words[at + SIZE_HIGH] as number) >>> KIND_SHIFT;
}

/** Whether a record has room for all that is kept of a state, but for its flags. */
export function fits(state: InodeState): boolean {
  const { mode, nlink, size, major, minor } = state;
  return (
    mode <= 0xffff &&
    nlink <= 0xffff &&
    size >= 0 &&
    size <= Number.MAX_SAFE_INTEGER &&
    major === 0 &&
    minor === 0 &&
    isTime(state.mtime, state.mtimeNsec) &&
    isTime(state.ctime, state.ctimeNsec)
  );
}

function isTime(seconds: number, nanoseconds: number): boolean {
  const since = seconds - FIRST_SECOND;
  return since >= 0 && since < SECONDS && nanoseconds >= 0 && nanoseconds < NANOSECONDS;
}

/** Writes a state that fits. `kind`: what stands for its flags. */
export function writeState(words: Uint32Array, at: number, state: InodeState, kind: number): void {
  words[at + MODE] = state.mode | (state.nlink << 16);
  words[at + SIZE_LOW] = state.size;
  words[at + SIZE_HIGH] = Math.floor(state.size / 2 ** 32) | (kind << KIND_SHIFT);
  words[at + UID] = state.uid;
  words[at + GID] = state.gid;
  words[at + GENERATION] = state.generation;
  writeTime(words, at + MTIME, state.mtime, state.mtimeNsec);
  writeTime(words, at + CTIME, state.ctime, state.ctimeNsec);
}

/** Leaves no state but the kind: NO_STATE or UNUSUAL. */
export function clearState(words: Uint32Array, at: number, kind: number): void {
  words.fill(0, at, at + DIRECTORY);
  words[at + SIZE_HIGH] = kind << KIND_SHIFT;
}

/** What a kind stands for: the flags, and whether there are extended attributes. */
export function kindValue({ flags, hasAttributes }: InodeState): number {
  return flags + (hasAttributes === true ? HAS_ATTRIBUTES : 0);
}

/** The state in a record. `kind`: see kindValue. */
export function readState(words: Uint32Array, at: number, kind: number): InodeState {
  const mode = words[at + MODE] as number;
  const high = (words[at + SIZE_HIGH] as number) & ((1 << KIND_SHIFT) - 1);
  const mtime = words[at + MTIME + 1] as number;
  const ctime = words[at + CTIME + 1] as number;
  return {
    generation: words[at + GENERATION] as number,
    mode: mode & 0xffff,
    nlink: mode >>> 16,
    uid: words[at + UID] as number,
    gid: words[at + GID] as number,
    size: high * 2 ** 32 + (words[at + SIZE_LOW] as number),
    flags: kind % HAS_ATTRIBUTES,
    mtime: FIRST_SECOND + (words[at + MTIME] as number) + (mtime & 3) * 2 ** 32,
    mtimeNsec: mtime >>> 2,
    ctime: FIRST_SECOND + (words[at + CTIME] as number) + (ctime & 3) * 2 ** 32,
    ctimeNsec: ctime >>> 2,
    btime: 0,
    btimeNsec: 0,
    major: 0,
    minor: 0,
    ...(kind >= HAS_ATTRIBUTES ? { hasAttributes: true } : {}),
  };
}

/** Whether two records have the same state, but for what their kinds say. */
export function hasSameState(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  const sizes = (a[aAt + SIZE_HIGH] as number) ^ (b[bAt + SIZE_HIGH] as number);
  if (sizes << (32 - KIND_SHIFT) !== 0) return false;
  for (let n = 0; n < DIRECTORY; n++) if (n !== SIZE_HIGH && a[aAt + n] !== b[bAt + n]) return false;
  return true;
}

function writeTime(words: Uint32Array, at: number, seconds: number, nanoseconds: number): void {
  const since = seconds - FIRST_SECOND;
  words[at] = since;
  words[at + 1] = (nanoseconds << 2) | Math.floor(since / 2 ** 32);
}
