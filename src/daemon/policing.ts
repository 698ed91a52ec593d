/**
 * What a policy needs of the main thread: the maps of names of those volumes in which something is hidden, for the threads
 * that serve them.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { PathState } from "../cloud/policy/path-state.js";
import type { PolicyRule } from "../cloud/policy/settings.js";
import { volumeRoots } from "../cloud/policy/volume-roots.js";
import type { Log } from "../images/image.js";
import { Crawling } from "./crawling.js";
import type { GuestSpec } from "./guest-name.js";
import type { MountedVolume } from "./mounted-volume.js";
import { type Update, volumeKey } from "./updates.js";

/** ms for which a server waits for maps of names before it serves without. */
const PATIENCE = 30_000;

export type SendUpdate = (update: Update, transfers?: ArrayBuffer[]) => void;

/** The states of the roots of those volumes in which something is hidden, by volumeKey. */
export function policedRoots(
  rules: readonly PolicyRule[],
  mounts: readonly MountedVolume[],
): Map<string, PathState> {
  const guests = new Map<string, Map<string, readonly string[]>>();
  for (const { guest, volume, mountPoints } of mounts) {
    const points = guests.get(guest) ?? new Map<string, readonly string[]>();
    guests.set(guest, points.set(volume, mountPoints));
  }
  const roots = new Map<string, PathState>();
  for (const [guest, points] of guests) {
    for (const [volume, root] of volumeRoots(rules, guest, points)) roots.set(volumeKey(guest, volume), root);
  }
  return roots;
}

/** Has the names of guests' volumes looked for, and tells them to those who serve the guests. */
export class Policing {
  readonly #rules: readonly PolicyRule[];
  readonly #specs: ReadonlyMap<string, GuestSpec>;
  readonly #crawling: Crawling;
  readonly #log: Log;
  /** Volumes whose names are told, by volumeKey. */
  readonly #policed = new Map<string, MountedVolume>();
  /** Volumes that are being crawled; true: that is to be done again. */
  readonly #busy = new Map<string, boolean>();
  #isStopped = false;

  constructor(rules: readonly PolicyRule[], specs: readonly GuestSpec[], log: Log) {
    this.#rules = rules;
    this.#specs = new Map(specs.map((spec) => [spec.name, spec]));
    this.#crawling = new Crawling(log);
    this.#log = log;
  }

  stop(): void {
    this.#isStopped = true;
    void this.#crawling.stop();
  }

  /** Tells the names of all these volumes; resolves when that is done, or has taken too long to wait for. */
  async begin(mounts: readonly MountedVolume[], send: SendUpdate): Promise<void> {
    const roots = policedRoots(this.#rules, mounts);
    const volumes = mounts.filter(({ guest, volume }) => roots.has(volumeKey(guest, volume)));
    for (const mounted of volumes) this.#policed.set(volumeKey(mounted.guest, mounted.volume), mounted);
    if (volumes.length === 0) return;
    const told = Promise.all(volumes.map(({ guest, volume }) => this.tell(volumeKey(guest, volume), send)));
    const isDone = await Promise.race([told.then(() => true), sleep(PATIENCE, false, { ref: false })]);
    if (!isDone)
      this.#log(
        "the names in guests of which something is hidden are still being looked for: until then, files with several names are hidden",
      );
  }

  /** Tells the names of a volume once more, by volumeKey: it is read anew. */
  async tell(key: string, send: SendUpdate): Promise<void> {
    const mounted = this.#policed.get(key);
    const spec = mounted && this.#specs.get(mounted.guest);
    if (mounted === undefined || spec === undefined || this.#isStopped) return;
    if (this.#busy.has(key)) {
      this.#busy.set(key, true);
      return;
    }
    this.#busy.set(key, false);
    send({ kind: "crawling", volume: key });
    try {
      const { guest, volume } = mounted;
      const index = await this.#crawling.crawl(spec, volume, spec.isRemote ? guest : "");
      const { parts, transfers } = index.toParts();
      if (!this.#isStopped) send({ kind: "crawled", volume: key, parts }, transfers);
    } catch (error) {
      if (!this.#isStopped)
        this.#log(`${key}: its files with several names are hidden: ${(error as Error).message}`);
    }
    const isToRepeat = this.#busy.get(key) === true;
    this.#busy.delete(key);
    if (isToRepeat) await this.tell(key, send);
  }
}
