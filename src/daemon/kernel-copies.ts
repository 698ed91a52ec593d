/** What the kernel has of the guests' files and names: dropped when commits and writes change it. */
import { placeOf } from "../cloud/ids.js";
import type { ReadMarks } from "../cloud/read-marks.js";
import type { Changes } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { Written } from "../inference/written.js";
import { LateBytes } from "./late-bytes.js";
import { NodeHighs } from "./node-highs.js";
import type { Notifications } from "./notifying.js";
import type { ShownVolume } from "./shown-volumes.js";
import type { Told } from "./updates.js";

/**
 * ms after which an inode is dropped again. A listing that the kernel is filling its cache with as a directory is dropped
 * goes on with the old entries, and counts as current if the directory's mtime has not moved on by a tick of the guest's
 * clock. And of an inode that the kernel is just being told of for the first time, it has nothing to drop yet, and takes
 * what was answered before the change for current (fuse_iget). Regular files are dropped again as those whose bytes may
 * come late.
 */
const AGAIN_AFTER = [30, 300];
/** Ranges of a file that are dropped one by one; of more, all from the first to the last. */
const MOST_RANGES = 8;

export class KernelCopies {
  readonly #lateBytes: LateBytes;
  readonly #nodes = new NodeHighs();
  #placeIds = new Map<string, readonly number[]>();
  #volumes = new Map<number, string>();
  #notifier: Notifications | undefined;
  #hostDirectory = 0;

  /** `isTold`: whether a stream tells, by a volume's key, when bytes come. `marks`: of whoever answers. */
  constructor(isTold: (key: string) => boolean, marks: ReadMarks) {
    this.#lateBytes = new LateBytes((high) => {
      const key = this.#volumes.get(placeOf(high));
      return key !== undefined && isTold(key);
    }, marks);
  }

  start(notifier: Notifications, shown: readonly ShownVolume[], hostDirectory: number): void {
    this.#notifier = notifier;
    this.#hostDirectory = hostDirectory;
    this.#placeIds = new Map(shown.map(({ volume, placeIds }) => [volume, placeIds]));
    this.#volumes = new Map(shown.flatMap(({ volume, placeIds }) => placeIds.map((id) => [id, volume])));
    this.#lateBytes.start(notifier);
  }

  stop(): void {
    this.#lateBytes.stop();
    this.#notifier = undefined;
  }

  /**
   * The kernel is told of a node with another digest than its generation's first; see UncommonNodes. What has been dropped
   * under the other id in between is dropped now.
   */
  uncommon(high: number, low: number, generation: number): void {
    this.#nodes.add(high, low, generation);
    this.#notifier?.invalidateInode(high, low);
    const volume = this.#volumes.get(placeOf(high));
    if (volume !== undefined) this.#dropNames(volume);
  }

  /** A file was read that may have changed shortly before: its bytes may be yet to come. */
  read(high: number, low: number): void {
    this.#lateBytes.remember(high, low, performance.now());
  }

  /** Drops all that the kernel has of a volume. */
  told({ volume, nodes }: Told): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    for (let at = 0; at < nodes.length; at += 2)
      notifier.invalidateInode(nodes[at] as number, nodes[at + 1] as number);
    this.#dropNames(volume);
  }

  /** `files`: generations and inodes in pairs, of which more is shown. */
  reveal(key: string, files: readonly number[]): void {
    if (files.length === 0) return;
    const now = performance.now();
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (let at = 0; at < files.length; at += 2) {
        const ino = files[at + 1] as number;
        for (const high of this.#nodes.of(placeId, ino, files[at] as number)) {
          this.#notifier?.invalidateInode(high, ino);
          this.#lateBytes.remember(high, ino, now);
        }
      }
    }
  }

  /** Bytes of files have been written. */
  write(key: string, written: readonly Written[]): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (const { ino, generation, ranges } of written) {
        for (const high of this.#nodes.of(placeId, ino, generation)) {
          for (const [offset, length] of ranges.length <= MOST_RANGES ? ranges : covering(ranges))
            notifier.invalidateInode(high, ino, offset, length);
        }
      }
    }
  }

  change(key: string, { inodes, names, unsureInodes, unsureDirectories }: Changes): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    const now = performance.now();
    const others: number[] = [];
    // Names before inodes: whoever has found a name by then has found what it stood for, and as it was.
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (const { directory, generation, name, ino } of names) {
        if (ino === 0) continue;
        for (const high of this.#nodes.of(placeId, directory, generation))
          notifier.invalidateEntry(high, directory, name);
      }
    }
    // Which names are no longer there is not known: all are to be looked up again.
    if (unsureDirectories.length > 0) this.#dropNames(key);
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (const { ino, old, now: state } of [...inodes, ...unsureInodes]) {
        if (old !== undefined)
          for (const high of this.#nodes.of(placeId, ino, old.generation))
            notifier.invalidateInode(high, ino);
        if (state === undefined) continue;
        const type = state.mode & FileType.MASK;
        for (const high of this.#nodes.of(placeId, ino, state.generation)) {
          if (old?.generation !== state.generation) notifier.invalidateInode(high, ino);
          if (type === FileType.REGULAR) this.#lateBytes.remember(high, ino, now);
          else others.push(high, ino);
        }
      }
    }
    this.#dropAgain(others);
  }

  /** Has the kernel look up all names again. */
  #dropNames(key: string): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    // An older kernel cannot be told of all names at once: there the guest's own goes, and all below it.
    const guest = key.slice(0, key.indexOf("/"));
    if (!notifier.increaseEpoch()) notifier.invalidateEntry(0, this.#hostDirectory, Buffer.from(guest));
  }

  /** `nodes`: halves of ids in pairs. */
  #dropAgain(nodes: readonly number[]): void {
    if (nodes.length === 0) return;
    for (const wait of AGAIN_AFTER) {
      setTimeout(() => {
        for (let at = 0; at < nodes.length; at += 2) {
          this.#notifier?.invalidateInode(nodes[at] as number, nodes[at + 1] as number);
        }
      }, wait);
    }
  }
}

/** One range from the first to the last. */
function covering(ranges: Written["ranges"]): Written["ranges"] {
  const [first] = ranges[0] ?? [0, 0];
  const [last, length] = ranges.at(-1) ?? [0, 0];
  return [[first, last + length - first]];
}
