/**
 * `.events` and `.events.1` in every directory: what happened at and below it, a JSON object a line. They are the lines of
 * the guest's log that belong there: the segment of the log that is being written, and the one before it.
 */
import type { Scope } from "../events/event.js";
import { Attributes, Errno, FileSystemError, FileType } from "../filesystems/filesystem.js";
import { CloudDirectory } from "./directory.js";
import { eventsHigh, eventsIdOf, isSegment, OWN_EVENTS_ID } from "./ids.js";
import { Place } from "./place.js";
import type { Entry } from "./tree.js";

/** Which segment of a log. */
export type Segment = "current" | "previous";

/** A log of events, of which each scope can be read as a file. */
export interface EventLog {
  /**
   * The number of a segment; 0: there is none. Takes in what has been written since: until it is asked again, the rest is
   * answered as of now, so that no segment takes another one's place in between.
   */
  segment(which: Segment): number;
  /** Bytes of a scope's lines; of all, without a scope. */
  size(scope: Scope | undefined, which: Segment): number;
  /** When a scope's last line was written: ms since 1970. */
  mtime(scope: Scope | undefined, which: Segment): number;
  /** Reads of a scope's lines; returns how many bytes there were. */
  read(
    scope: Scope | undefined,
    which: Segment,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number;
}

/** The logs of a host: of each guest, and of all. */
export interface EventLogs {
  guest(name: string): EventLog | undefined;
  readonly all: EventLog;
}

export const EVENTS = ".events";
export const EVENTS_BEFORE = ".events.1";
const EVENTS_NAME = Buffer.from(EVENTS);
const EVENTS_BEFORE_NAME = Buffer.from(EVENTS_BEFORE);

/** Where a file of events belongs. */
type Owner = Place | CloudDirectory;

export class EventFiles {
  readonly #logs: EventLogs;
  readonly #directories: ReadonlyMap<number, CloudDirectory>;
  readonly #places = new Map<number, Place>();
  readonly #started = Date.now();
  #segment = 0;
  readonly #attributes = new Attributes();

  constructor(
    logs: EventLogs,
    places: ReadonlyMap<number, Place>,
    directories: ReadonlyMap<number, CloudDirectory>,
  ) {
    this.#logs = logs;
    this.#directories = directories;
    for (const place of places.values()) this.#places.set(place.eventsId, place);
  }

  /** The segment that a name stands for; undefined: the name is no such file's. */
  named(name: Buffer): Segment | undefined {
    // Most names are no dot files: they cost one comparison.
    if (name[0] !== 0x2e) return undefined;
    if (name.equals(EVENTS_NAME)) return "current";
    return name.equals(EVENTS_BEFORE_NAME) ? "previous" : undefined;
  }

  /** Fills `out` with the file of a directory; false if there is none yet. */
  lookup(owner: Owner, ino: number, which: Segment, out: Entry): boolean {
    const log = this.#log(owner);
    const segment = log?.segment(which) ?? 0;
    if (log === undefined || segment === 0) return false;
    this.#fill(owner, ino, log, which, segment, out);
    return true;
  }

  /** Fills `out` with a node. Throws ESTALE for a segment that is no longer kept. */
  stat(high: number, low: number, out: Entry): void {
    const owner = this.#owner(high, low);
    const log = this.#log(owner) as EventLog;
    const which = this.#which(high, log);
    this.#fill(owner, low, log, which, this.#segment, out);
  }

  read(
    high: number,
    low: number,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number {
    const owner = this.#owner(high, low);
    const log = this.#log(owner) as EventLog;
    return log.read(scopeOf(owner, low), this.#which(high, log), position, length, target, targetOffset);
  }

  #fill(owner: Owner, ino: number, log: EventLog, which: Segment, segment: number, out: Entry): void {
    const scope = scopeOf(owner, ino);
    const { attributes } = out;
    out.high = eventsHigh(owner instanceof Place ? owner.eventsId : OWN_EVENTS_ID, segment);
    out.low = ino;
    out.generation = segment;
    out.inoHigh = out.high;
    // It grows without the kernel being told: so the kernel asks.
    out.timeout = 0;
    attributes.ino = ino;
    attributes.generation = segment;
    // Names below the directory are not everybody's to see.
    attributes.mode = FileType.REGULAR | 0o400;
    attributes.nlink = 1;
    attributes.uid = 0;
    attributes.gid = 0;
    attributes.major = 0;
    attributes.minor = 0;
    attributes.size = log.size(scope, which);
    attributes.blocks = Math.ceil(attributes.size / 512);
    attributes.blksize = 4096;
    const changed = log.mtime(scope, which) || this.#started;
    attributes.mtime = attributes.ctime = attributes.atime = Math.floor(changed / 1000);
    attributes.mtimeNsec = attributes.ctimeNsec = attributes.atimeNsec = Math.floor((changed % 1000) * 1e6);
    attributes.btime = 0;
    attributes.btimeNsec = 0;
  }

  /** Which segment a node is of; `#segment` is its number then. */
  #which(high: number, log: EventLog): Segment {
    for (const which of ["current", "previous"] as const) {
      this.#segment = log.segment(which);
      if (this.#segment !== 0 && isSegment(high, this.#segment)) return which;
    }
    throw new FileSystemError(Errno.ESTALE, "these events are no longer kept");
  }

  #owner(high: number, low: number): Owner {
    const id = eventsIdOf(high);
    const owner = id === OWN_EVENTS_ID ? this.#directories.get(low) : this.#places.get(id);
    if (owner === undefined || this.#log(owner) === undefined)
      throw new FileSystemError(Errno.ESTALE, "the directory is no longer there");
    if (owner instanceof Place && owner.access !== undefined) {
      owner.fileSystem.stat(low, this.#attributes);
      owner.access.require(low, this.#attributes);
    }
    return owner;
  }

  #log(owner: Owner): EventLog | undefined {
    return owner.guest === undefined ? this.#logs.all : this.#logs.guest(owner.guest);
  }
}

/** The scope of a directory; undefined for all that its log has: so for a guest's root, whatever is mounted below it. */
function scopeOf(owner: Owner, ino: number): Scope | undefined {
  if (owner instanceof CloudDirectory) return undefined;
  const isTop = ino === owner.fileSystem.rootInode && owner.isGuestRoot;
  return isTop ? undefined : `${owner.volume}:${ino}`;
}
