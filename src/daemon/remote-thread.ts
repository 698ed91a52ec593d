/**
 * The thread of one guest whose storage may stall: it opens the guest's images, follows them, and answers all that users
 * ask of that guest, so that nobody else waits for them.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { IdOwners } from "../cloud/id-owners.js";
import type { Policy } from "../cloud/policy/policy.js";
import { LogReaders, type SharedLogs } from "../events/log-reader.js";
import type { NameMatching } from "../filesystems/filesystem.js";
import type { ReopenReason } from "../filesystems/follower.js";
import { Errno } from "../fuse/errno.js";
import { RequestHeader } from "../fuse/kernel/protocol.js";
import { Refusal } from "../fuse/kernel/refusal.js";
import { FuseServer } from "../fuse/kernel/server.js";
import type { Written } from "../inference/written.js";
import { EarlyReads } from "./early-reads.js";
import type { EventTaker, ResumePoint } from "./event-hub.js";
import { Following } from "./following.js";
import type { Forwarded, ForwardedRequest } from "./forwarding.js";
import type { GuestSpec } from "./guest-name.js";
import { type SharedCounts, ThreadCounts } from "./insight/thread-counts.js";
import { writeLog as log } from "./log/writer.js";
import { type MountedVolume, mountedVolumes } from "./mounted-volume.js";
import { PostedNotifications } from "./notifying.js";
import { type OpenTree, openTree } from "./open-tree.js";
import { fromPost, toPost } from "./posted-changes.js";
import { type PostedWrites, writesOf } from "./posted-writes.js";
import { shownVolumes } from "./shown-volumes.js";
import type { FollowedStatus } from "./status.js";
import type { ToldStep } from "./telling.js";
import { type Update, volumeKey } from "./updates.js";
import { Updating } from "./updating.js";
import { LOOK_EVERY, Waiting } from "./waiting.js";

/** What the thread is started with. */
export interface RemoteData {
  readonly host: string;
  readonly guest: GuestSpec;
  /** The names of all the host's guests. */
  readonly names: readonly string[];
  /** Of IdOwners, and its own number there. */
  readonly owners: SharedArrayBuffer;
  readonly owner: number;
  readonly policy: Policy;
  readonly matching: NameMatching;
  /** Of /dev/fuse. */
  readonly fd: number;
  /** Requests come here, and wait there. */
  readonly requests: MessagePort;
  readonly waiting: SharedArrayBuffer;
  /** Notices for the kernel go here. */
  readonly notices: MessagePort;
  /** Where it counts what it answers; who reads requests counts them. */
  readonly counts: SharedCounts;
  /** Undefined: no events are told. */
  readonly events:
    | {
        readonly logs: SharedLogs;
        readonly areListed: boolean;
        /** Where events can go on, by volumeKey. */
        readonly resumePoints: ReadonlyMap<string, readonly ResumePoint[]>;
      }
    | undefined;
}

/** What the thread tells, in the order in which it happens. */
export type RemoteMessage =
  /** The images cannot be opened; it is tried again. */
  | { readonly kind: "problem"; readonly reason: string }
  | { readonly kind: "opened"; readonly mounts: readonly MountedVolume[] }
  | {
      readonly kind: "begin";
      readonly volume: string;
      readonly uuid: string;
      readonly point: ResumePoint | undefined;
      readonly after: number | undefined;
    }
  /** Its changes are as `toPost` makes them. */
  | { readonly kind: "step"; readonly volume: string; readonly step: ToldStep }
  | { readonly kind: "written"; readonly volume: string; readonly written: readonly Written[] }
  | { readonly kind: "lost"; readonly volume: string }
  /** All of it is read anew; by volumeKey. */
  | { readonly kind: "reread"; readonly volume: string }
  | { readonly kind: "metadata"; readonly disk: number; readonly ranges: Float64Array }
  | { readonly kind: "status"; readonly volumes: readonly FollowedStatus[] }
  | {
      readonly kind: "reopened";
      readonly volume: string;
      readonly uuid: string;
      readonly reason: ReopenReason;
    };

/** What the thread is told of the stream of a disk's writes. */
export type ToRemote =
  | { readonly kind: "stream begins"; readonly disk: number; readonly unknownLife: number }
  | { readonly kind: "stream ended"; readonly disk: number }
  | { readonly kind: "written"; readonly disk: number; readonly writes: PostedWrites }
  /** Of the names of its volumes. */
  | { readonly kind: "update"; readonly update: Update };

/** ms between reports of how following goes. */
const STATUS_EVERY = 1000;
/** ms until images that could not be opened are tried again. */
const OPEN_AGAIN = 5000;

class RemoteGuest {
  readonly #data: RemoteData;
  readonly #tell: (message: RemoteMessage) => void;
  readonly #waiting: Waiting;
  readonly #refusal: Refusal;
  #server: FuseServer | undefined;
  #following: Following | undefined;
  #updating: Updating | undefined;
  /** Disks of which there is a stream of writes: ms for which one is kept that nothing explains yet. */
  readonly #streams = new Map<number, number>();
  #problem = "";

  constructor(data: RemoteData, tell: (message: RemoteMessage) => void) {
    this.#data = data;
    this.#tell = tell;
    this.#waiting = new Waiting(data.waiting);
    this.#refusal = new Refusal(data.fd);
  }

  run(): void {
    setInterval(() => this.#waiting.sign(), LOOK_EVERY);
    this.#tryToOpen();
    this.#data.requests.on("message", (forwarded: Forwarded) => {
      if ("forgotten" in forwarded) this.#server?.forgotten(forwarded.forgotten);
      else this.#answer(forwarded);
    });
  }

  /** Takes what is told of a stream. */
  take(message: ToRemote): void {
    const { name } = this.#data.guest;
    if (message.kind === "update") {
      this.#take(message.update);
      return;
    }
    const { disk } = message;
    switch (message.kind) {
      case "stream begins":
        this.#streams.set(disk, message.unknownLife);
        this.#following?.streamBegins(name, disk, message.unknownLife);
        break;
      case "stream ended":
        this.#streams.delete(disk);
        this.#following?.streamEnded(name, disk);
        break;
      case "written":
        this.#following?.written(name, disk, writesOf(message.writes));
        break;
    }
  }

  /** Takes in what the main thread has found out; nothing is open yet: it is crawled once that is. */
  #take(update: Update): void {
    const told = this.#updating?.take(update);
    if (told !== undefined) this.#following?.told(told);
  }

  #tryToOpen(): void {
    try {
      this.#server = this.#open();
    } catch (error) {
      const { message } = error as Error;
      this.#tell({ kind: "problem", reason: message });
      if (message !== this.#problem)
        log(`${this.#data.guest.name}: cannot be opened, and is tried again: ${message}`, {
          level: "error",
          guest: this.#data.guest.name,
        });
      this.#problem = message;
      setTimeout(() => this.#tryToOpen(), OPEN_AGAIN);
    }
  }

  /** Throws ImageError. */
  #open(): FuseServer {
    const { host, guest, names, owner, fd, notices, events, policy, matching } = this.#data;
    const counts = new ThreadCounts(this.#data.counts);
    let updating: Updating | undefined;
    const following = new Following(
      [guest],
      (update) => {
        const told = updating?.take(update);
        if (told !== undefined) following.told(told);
        if (update.kind === "reopen") this.#tell({ kind: "reread", volume: update.volume });
      },
      log,
      policy,
    );
    let opened: OpenTree;
    try {
      opened = openTree(
        host,
        [guest],
        log,
        {
          refresh: () => updating?.forgetUnfollowed(),
          holds: () => updating?.holds((told) => following.told(told)) ?? true,
          // What the kernel is told here, no later server of the same mount would know of.
          isFollowed: () => false,
        },
        events && { logs: new LogReaders(events.logs), areListed: events.areListed },
        { guests: names, owners: new IdOwners(this.#data.owners), owner },
        policy,
        counts.cache,
        undefined,
        matching,
      );
    } catch (error) {
      following.close();
      throw error;
    }
    for (const volumes of opened.places.values()) {
      for (const place of [...volumes.values()].flat())
        place.uncommon = (...node) => following.uncommon(...node);
    }
    updating = new Updating(opened, following.followed, log);
    this.#updating = updating;
    this.#tell({ kind: "opened", mounts: mountedVolumes(opened) });
    if (events !== undefined) following.tell(this.#eventTaker(events.resumePoints));
    following.start(new PostedNotifications(notices), shownVolumes(opened), opened.host.id, () => {});
    const tellStatus = () => this.#tell({ kind: "status", volumes: following.status() });
    tellStatus();
    setInterval(tellStatus, STATUS_EVERY);
    following.tellMetadata((_, disk, ranges) => this.#tell({ kind: "metadata", disk, ranges }));
    for (const [disk, life] of this.#streams) following.streamBegins(guest.name, disk, life);
    this.#following = following;
    opened.tree.tellReads(new EarlyReads((high, low) => following.read(high, low)));
    opened.tree.markReads(following.marks);
    return new FuseServer({ fd, tree: opened.tree, log, longTimeouts: true, counts: counts.requests });
  }

  #eventTaker(points: ReadonlyMap<string, readonly ResumePoint[]>): EventTaker {
    return {
      resumePoints: (guest, volume) =>
        (points.get(volumeKey(guest, volume)) ?? []).map((point) => ({
          ...point,
          parts: point.parts.map((part) => ({ ...part, changes: fromPost(part.changes) })),
        })),
      begin: (_, volume, uuid, point, after) =>
        this.#tell({ kind: "begin", volume, uuid, point: point && { ...point, parts: [] }, after }),
      take: (_, volume, { commit, changes, seconds, nanoseconds }) => {
        const { sequence, logical } = commit;
        const told = { sequence, ...(logical && { logical }) };
        const step = { commit: told, changes: toPost(changes), seconds, nanoseconds };
        this.#tell({ kind: "step", volume, step });
      },
      write: (_, volume, written) => this.#tell({ kind: "written", volume, written }),
      lost: (_, volume) => this.#tell({ kind: "lost", volume }),
      reopened: (_, volume, uuid, reason) => this.#tell({ kind: "reopened", volume, uuid, reason }),
    };
  }

  #answer({ slot, bytes }: ForwardedRequest): void {
    const waiting = this.#waiting;
    if (waiting.isWaiting(slot)) {
      if (this.#server !== undefined) this.#server.answer(bytes, () => waiting.claim(slot));
      else if (waiting.claim(slot)) this.#refuse(bytes);
    }
    waiting.free(slot);
  }

  #refuse({ buffer, byteOffset }: Uint8Array): void {
    const words = new Uint32Array(buffer, byteOffset);
    const low = words[RequestHeader.UNIQUE] as number;
    const high = words[RequestHeader.UNIQUE + 1] as number;
    this.#refusal.send(low, high, Errno.EIO);
  }
}

const port = parentPort;
if (port !== null) {
  const guest = new RemoteGuest(workerData as RemoteData, (message) => port.postMessage(message));
  guest.run();
  port.on("message", (message: ToRemote) => guest.take(message));
}
