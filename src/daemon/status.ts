/** What a daemon says of itself and of what it follows: the answer of `/v1/status`. */
import type { ReopenReason } from "../filesystems/follower.js";

export interface VolumeStatus {
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
  /** Whether there is a map of its names, so that events have paths. */
  readonly hasPaths: boolean;
}

export interface DaemonStatus {
  readonly pid: number;
  readonly host: string;
  readonly guests: readonly string[];
  /** Those that are followed. */
  readonly volumes: readonly VolumeStatus[];
}
