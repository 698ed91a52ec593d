/** From an event of a volume to the event that monitors are told: with paths as in the guest, and in words. */
import { isUtf8 } from "node:buffer";
import type { EventFileType, EventValues, GuestEvent } from "../events/event.js";
import type { AttributeValues, InodeState } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { FileEvent } from "../inference/file-event.js";

/** What is the same for all events of a transaction. */
export interface EventContext {
  readonly host: string;
  readonly guest: string;
  readonly volume: string;
  readonly transaction: number;
  /** Undefined: it is the whole transaction. */
  readonly part: number | undefined;
  /** Seconds since 1970 and nanoseconds. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Where the volume's root is in the guest, without a "/" at its end. */
  readonly mountPoint: Buffer;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const TYPES: ReadonlyMap<number, EventFileType> = new Map([
  [FileType.REGULAR, "file"],
  [FileType.DIRECTORY, "directory"],
  [FileType.LINK, "symlink"],
  [FileType.FIFO, "fifo"],
  [FileType.SOCKET, "socket"],
  [FileType.CHARACTER, "character"],
  [FileType.BLOCK, "block"],
]);

/** The event, with its number. */
export function guestEvent(id: number, event: FileEvent, context: EventContext): GuestEvent {
  const { host, guest, volume, transaction, part, seconds, nanoseconds, mountPoint } = context;
  const { kind, ino, old, now, path, from, directory, fromDirectory, range, written } = event;
  const state = now ?? old;
  const before = oldValues(event);
  const after = newValues(event);
  const out: Writable<GuestEvent> = {
    id,
    time: written === undefined ? isoTime(seconds, nanoseconds) : hostIsoTime(written.time),
    event: kind,
    host,
    guest,
    volume,
    transaction,
  };
  if (part !== undefined) out.part = part;
  if (path !== undefined) {
    const whole = inGuest(mountPoint, path);
    out.path = whole.toString();
    if (!isUtf8(whole)) out.pathBytes = whole.toString("base64");
  } else if (event.name !== undefined) out.name = event.name.toString();
  if (from !== undefined) {
    const whole = inGuest(mountPoint, from);
    out.from = whole.toString();
    if (!isUtf8(whole)) out.fromBytes = whole.toString("base64");
  }
  if (state !== undefined) {
    const type = TYPES.get(state.mode & FileType.MASK);
    if (type !== undefined) out.type = type;
  }
  if (ino !== 0) out.inode = ino;
  const generation = written?.generation ?? state?.generation;
  if (generation !== undefined) out.generation = generation;
  if (directory !== 0) out.directory = directory;
  if (fromDirectory !== 0) out.fromDirectory = fromDirectory;
  if (range !== undefined) out.range = range;
  if (written !== undefined) {
    out.ranges = written.ranges;
    out.sequence = written.sequence;
  }
  if (before !== undefined) out.old = before;
  if (after !== undefined) out.new = after;
  return out;
}

function inGuest(mountPoint: Buffer, path: Buffer): Buffer {
  if (mountPoint.length === 0) return path;
  return path.length === 1 ? mountPoint : Buffer.concat([mountPoint, path]);
}

function oldValues({ kind, old, now, attributes }: FileEvent): EventValues | undefined {
  if (kind === "xattr")
    return attributes?.old === undefined ? undefined : { xattrs: inWords(attributes.old) };
  if (old === undefined) return undefined;
  switch (kind) {
    case "deleted":
      return allValues(old);
    case "linked":
    case "unlinked":
      return { nlink: old.nlink };
    case "content":
      return { size: old.size, mtime: isoTime(old.mtime, old.mtimeNsec) };
    case "attributes":
      return now === undefined ? undefined : differing(old, now, old);
    default:
      return undefined;
  }
}

function newValues({ kind, old, now, attributes, target }: FileEvent): EventValues | undefined {
  if (kind === "xattr") return attributes === undefined ? undefined : { xattrs: inWords(attributes.now) };
  if (now === undefined) return undefined;
  switch (kind) {
    case "created":
      return allValues(now);
    case "symlink":
      return { ...allValues(now), ...(target === undefined ? {} : { target: target.toString() }) };
    case "linked":
    case "unlinked":
      return { nlink: now.nlink };
    case "content":
      return { size: now.size, mtime: isoTime(now.mtime, now.mtimeNsec) };
    case "written":
      return { size: now.size };
    case "attributes":
      return old === undefined ? undefined : differing(old, now, now);
    default:
      return undefined;
  }
}

function allValues(state: InodeState): EventValues {
  const type = state.mode & FileType.MASK;
  const values: Writable<EventValues> = {
    size: state.size,
    mode: octal(state.mode),
    uid: state.uid,
    gid: state.gid,
    nlink: state.nlink,
    flags: state.flags,
    mtime: isoTime(state.mtime, state.mtimeNsec),
  };
  if (state.btime !== 0) values.btime = isoTime(state.btime, state.btimeNsec);
  if (type === FileType.CHARACTER || type === FileType.BLOCK) values.device = `${state.major}:${state.minor}`;
  return values;
}

/** Of what was set from outside, those fields that differ, as `shown` has them. */
function differing(old: InodeState, now: InodeState, shown: InodeState): EventValues {
  const values: Writable<EventValues> = {};
  if (old.mode !== now.mode) values.mode = octal(shown.mode);
  if (old.uid !== now.uid) values.uid = shown.uid;
  if (old.gid !== now.gid) values.gid = shown.gid;
  if (old.flags !== now.flags) values.flags = shown.flags;
  if (old.mtime !== now.mtime || old.mtimeNsec !== now.mtimeNsec)
    values.mtime = isoTime(shown.mtime, shown.mtimeNsec);
  return values;
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

function inWords(values: AttributeValues): Record<string, string> {
  const words: Record<string, string> = {};
  for (const [name, value] of values) {
    const key = Buffer.from(name, "latin1").toString();
    words[key] =
      isUtf8(value) && !value.includes(0) ? value.toString() : `base64:${value.toString("base64")}`;
  }
  return words;
}

/** The latest second that a Date can hold. */
const LAST_SECOND = 8.64e12;

/** `time`: ms since 1970. */
function hostIsoTime(time: number): string {
  const seconds = Math.floor(time / 1000);
  return isoTime(seconds, Math.round((time - seconds * 1000) * 1e6));
}

/** ISO 8601 with nanoseconds, UTC; of a second that no calendar has, the nearest that it has. */
export function isoTime(seconds: number, nanoseconds: number): string {
  const within = Math.max(-LAST_SECOND, Math.min(LAST_SECOND, seconds));
  return `${new Date(within * 1000).toISOString().slice(0, -5)}.${String(nanoseconds % 1e9).padStart(9, "0")}Z`;
}
