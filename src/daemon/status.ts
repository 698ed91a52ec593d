/** What a daemon says of itself and of what it follows: the answer of `/v1/status`. */
import type { PublisherStatus } from "../events/redis/publisher.js";
import type { ReopenReason } from "../filesystems/follower.js";
import type { WriteCounters } from "../inference/writes.js";
import type { GuestProblem } from "./guest-problem.js";

/** What became of a stream of writes, in bytes; see WriteCounters. */
export interface WriteStatus extends WriteCounters {
  /** Whether it is known what the volume's blocks hold: only then it is told of files. */
  readonly isReady: boolean;
  /** Bytes of memory that this takes. */
  readonly mapBytes: number;
  /** Writes that wait for a commit that explains them. */
  readonly waiting: { readonly ranges: number; readonly bytes: number };
}

/** How a guest's writes come to be known: by looking at its image, or as they happen. */
export interface CaptureStatus {
  readonly capture: "watch" | "stream";
  readonly writes?: WriteStatus;
}

/** How following a volume goes. */
export interface FollowedStatus extends CaptureStatus {
  readonly guest: string;
  /** `sda1` */
  readonly volume: string;
  /** `followed`: current by transaction. `unreadable`: what was read before is shown, and it is tried again. */
  readonly state: "followed" | "unreadable";
  /** The last transaction that was taken since the start; undefined: none. */
  readonly transaction: number | undefined;
  /** How often it had to be read afresh since the start, when last (ISO 8601), and why. */
  readonly reopened: number;
  readonly lastReopened: string | undefined;
  readonly reason: ReopenReason | undefined;
}

export interface VolumeStatus extends FollowedStatus {
  /** Whether there is a map of its names, so that events have paths. */
  readonly hasPaths: boolean;
}

export interface DaemonStatus {
  readonly pid: number;
  readonly host: string;
  readonly guests: readonly string[];
  /** Those that ought to be shown and are not, or not yet. */
  readonly unavailable: readonly GuestProblem[];
  /** Those that are followed. */
  readonly volumes: readonly VolumeStatus[];
  /** Undefined: events are not published. */
  readonly redis: PublisherStatus | undefined;
}
