/** What a guest's accesses to a disk are about. */
import { ACCESS_NUMBERS, Access } from "../capture/access-log.js";
import type { Image, Log } from "../images/image.js";
import { openRawImage } from "../images/raw.js";
import { findVolumes, type VolumeTable } from "../volumes/volumes.js";
import { Accesses, type Operation, type PlaceAccess } from "./accesses.js";
import { deviceOf, type Place } from "./disk-map.js";
import { TracedVolume } from "./traced-volume.js";

/** By kind of access. */
const OPERATIONS: readonly Operation[] = ["read", "write", "zeroes", "discard"];

/**
 * ms that a write waits of which nobody knows whose it is: a file's new blocks are written before the commit that says so.
 * And writes that wait.
 */
const LONGEST_WAIT = 40_000;
const MOST_WAITING = 65_536;

/** A write whose blocks nobody is known to have. */
interface Waiting {
  readonly time: number;
  readonly operation: Operation;
  readonly volume: TracedVolume;
  /** In the volume, bytes. */
  readonly start: number;
  readonly length: number;
}

export class TracedDisk {
  /** Accesses that nobody was told of. */
  lost = 0;
  readonly #image: Image;
  readonly #device: string;
  readonly #table: VolumeTable;
  readonly #volumes: readonly TracedVolume[];
  readonly #accesses: Accesses;
  #waiting: Waiting[] = [];

  /** Opens and crawls a disk that is called `name` (`sda`); `tell` is told of accesses. Throws ImageError. */
  constructor(path: string, name: string, tell: (access: PlaceAccess) => void, log: Log) {
    this.#image = openRawImage(path);
    this.#device = deviceOf(name);
    this.#table = findVolumes(this.#image, name, log);
    this.#volumes = this.#table.volumes.map((volume) => new TracedVolume(volume, log));
    this.#accesses = new Accesses(tell);
  }

  /** Takes a batch; see AccessLog. */
  take(accesses: Float64Array): void {
    this.#update();
    for (let at = 0; at < accesses.length; at += ACCESS_NUMBERS) {
      const [kind, time, offset, length] = accesses.subarray(at, at + ACCESS_NUMBERS) as unknown as [
        number,
        number,
        number,
        number,
      ];
      const operation = OPERATIONS[kind];
      if (operation !== undefined) this.#explain(time, operation, offset, length);
      else if (kind === Access.LOST) this.lost += length;
    }
  }

  /** To be called now and then; `now`: ms since 1970. */
  settle(now: number): void {
    this.#update();
    const isOver = ({ time }: Waiting) => now - time > LONGEST_WAIT;
    while (this.#waiting[0] !== undefined && isOver(this.#waiting[0])) this.#giveUp(1);
    this.#accesses.settle(now);
  }

  /** Tells all that is left. */
  close(): void {
    this.#update();
    this.#giveUp(this.#waiting.length);
    this.#accesses.flush();
    this.#image.close();
  }

  #update(): void {
    const changed = new Set(this.#volumes.filter((volume) => volume.update()));
    if (changed.size === 0 || this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (changed.has(one.volume))
        this.#explainIn(one.volume, one.time, one.operation, one.start, one.length);
      else this.#waiting.push(one);
    }
  }

  /** Tells the oldest of those that wait as nobody's. */
  #giveUp(count: number): void {
    for (const { time, operation, volume, start, length } of this.#waiting.splice(0, count))
      this.#accesses.add(time, operation, nothing(volume.device), start, length);
  }

  #explain(time: number, operation: Operation, offset: number, length: number): void {
    for (let at = offset; at < offset + length; ) {
      const rest = offset + length - at;
      const { part, until } = this.#partAt(at);
      const here = Math.min(rest, until - at);
      if (part instanceof TracedVolume) this.#explainIn(part, time, operation, at - part.volume.offset, here);
      else this.#accesses.add(time, operation, part, at, here);
      at += here;
    }
  }

  /** What there is at a byte of the disk, and up to where. */
  #partAt(at: number): { part: TracedVolume | Place; until: number } {
    let until = Number.POSITIVE_INFINITY;
    const isThere = (start: number, length: number): boolean => {
      if (at < start) until = Math.min(until, start);
      return at >= start && at < start + length;
    };
    for (const volume of this.#volumes) {
      const { offset, length } = volume.volume;
      if (isThere(offset, length)) return { part: volume, until: offset + length };
    }
    for (const { offset, length } of this.#table.ranges) {
      if (!isThere(offset, length)) continue;
      const part = { ...nothing(this.#device), kind: "t" as const, what: this.#table.kind };
      return { part, until: Math.min(until, offset + length) };
    }
    return { part: { ...nothing(this.#device), kind: "v" }, until };
  }

  #explainIn(volume: TracedVolume, time: number, operation: Operation, start: number, length: number): void {
    volume.explain(start, length, (place, position, at, count) => {
      if (place !== undefined) this.#accesses.add(time, operation, place, position, count);
      else if (operation === "write" || operation === "zeroes") {
        this.#waiting.push({ time, operation, volume, start: at, length: count });
        if (this.#waiting.length > MOST_WAITING) this.#giveUp(1);
      } else this.#accesses.add(time, operation, nothing(volume.device), at, count);
    });
  }
}

function nothing(device: string): Place {
  return { kind: "u", device, what: undefined, path: undefined, inode: 0 };
}
