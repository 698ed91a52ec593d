/** Guests by the files that patterns of paths stand for: looked for by interval, and when something comes or goes there. */
import { type FSWatcher, watch } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isRemote } from "../../images/remote.js";
import { isGuestName } from "../guest-name.js";
import { type FoundImage, findImages } from "./image-files.js";
import { type ImagePattern, type ParsedPattern, parsePattern } from "./image-pattern.js";
import type { FoundGuest, GuestSource } from "./source.js";

/** ms for which notifications are gathered. */
const SETTLE = 200;
/** ms between looks at a new file that is still being written, and for how long it is waited for. */
const WRITTEN_EVERY = 1000;
const WRITTEN_LIMIT = 30_000;

export interface ImageSourceOptions {
  readonly patterns: readonly ImagePattern[];
  /** ms between looks. */
  readonly interval: number;
  /** The daemon's own mount point, which is never looked into. */
  readonly mount: string;
}

/** A file that was not there before, while it may be on its way. */
interface NewFile {
  readonly since: number;
  stamp: string;
}

export class ImageSource implements GuestSource {
  readonly name = "discover.images";
  readonly #options: ImageSourceOptions;
  readonly #patterns: readonly ParsedPattern[];
  readonly #watchers = new Map<string, FSWatcher>();
  /** What each pattern stood for last, and what files are not taken yet. */
  readonly #images: (readonly FoundImage[])[];
  readonly #known = new Set<string>();
  readonly #fresh = new Map<string, NewFile>();
  #problems = new Set<string>();
  #running: Promise<void> = Promise.resolve();
  #isStopped = false;
  #due = 0;
  #wake: () => void = () => {};

  constructor(options: ImageSourceOptions) {
    this.#options = options;
    this.#patterns = options.patterns.map(parsePattern);
    this.#images = options.patterns.map(() => []);
  }

  start(found: (guests: readonly FoundGuest[]) => void, log: (line: string) => void): void {
    this.#running = this.#run(found, (line) => log(`${this.name}: ${line}`));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    this.#wake();
    await this.#running;
  }

  async #run(found: (guests: readonly FoundGuest[]) => void, log: (line: string) => void): Promise<void> {
    for (let isFirst = true; !this.#isStopped; isFirst = false) {
      this.#due = performance.now() + this.#options.interval;
      const problems = new Set<string>();
      const directories = new Set<string>();
      // One after the other: storage that stalls is to hold up one of the threads that look, not all.
      for (const [index, pattern] of this.#patterns.entries()) {
        try {
          const files = await findImages(pattern, this.#options.mount);
          this.#images[index] = files.images;
          for (const directory of files.directories) directories.add(directory);
        } catch (error) {
          problems.add((error as Error).message);
        }
      }
      if (this.#isStopped) return;
      this.#watch(directories);
      found(this.#guests(isFirst, problems));
      for (const problem of problems) if (!this.#problems.has(problem)) log(problem);
      this.#problems = problems;
      await this.#untilDue();
    }
  }

  #guests(isFirst: boolean, problems: Set<string>): FoundGuest[] {
    const guests = new Map<string, FoundGuest>();
    const images = this.#images.flat();
    const paths = new Set(images.map(({ path }) => path));
    for (const path of this.#known) if (!paths.has(path)) this.#known.delete(path);
    for (const path of this.#fresh.keys()) if (!paths.has(path)) this.#fresh.delete(path);
    for (const { image, path, name, stamp } of images) {
      if (!this.#isWritten(path, stamp, isFirst)) continue;
      const other = guests.get(name);
      if (!isGuestName(name)) problems.add(`${path}: "${name}" cannot be a guest's name`);
      else if (other === undefined) guests.set(name, { name, images: [image] });
      else if (other.images[0] !== image)
        problems.add(`${path}: is not shown, as ${other.images[0]} is named ${name}, too`);
    }
    return [...guests.values()];
  }

  /** Whether a file is there as a whole, as far as can be seen: one that is new is waited for while it is written to. */
  #isWritten(path: string, stamp: string, isFirst: boolean): boolean {
    if (isFirst || stamp === "") this.#known.add(path);
    if (this.#known.has(path)) return true;
    const now = performance.now();
    const fresh = this.#fresh.get(path);
    const isSame = fresh?.stamp === stamp && now - fresh.since >= WRITTEN_EVERY / 2;
    if (isSame || (fresh !== undefined && now - fresh.since > WRITTEN_LIMIT)) {
      this.#fresh.delete(path);
      this.#known.add(path);
      return true;
    }
    if (fresh === undefined) this.#fresh.set(path, { since: now, stamp });
    else fresh.stamp = stamp;
    this.#lookWithin(WRITTEN_EVERY);
    return false;
  }

  /** Has the kernel tell what comes and goes in directories; not on storage that may stall, or across a network. */
  #watch(directories: ReadonlySet<string>): void {
    for (const [directory, watcher] of this.#watchers) {
      if (directories.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    for (const directory of directories) {
      if (this.#watchers.has(directory) || isRemote(directory)) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (kind) => {
          // Writing to a file is told, too, and is no reason to look.
          if (kind === "rename") this.#lookWithin(SETTLE);
        });
        const forget = (): void => {
          watcher.close();
          if (this.#watchers.get(directory) === watcher) this.#watchers.delete(directory);
        };
        watcher.on("error", forget);
        this.#watchers.set(directory, watcher);
      } catch {
        // It is not there, or no more can be watched: the interval remains.
      }
    }
  }

  /** Has the next look be in so many ms at most. */
  #lookWithin(wait: number): void {
    this.#due = Math.min(this.#due, performance.now() + wait);
    this.#wake();
  }

  async #untilDue(): Promise<void> {
    for (;;) {
      const left = this.#due - performance.now();
      if (left <= 0 || this.#isStopped) return;
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      await sleep(left, undefined, { signal: woken.signal, ref: false }).catch(() => {});
    }
  }
}
