/** What happened to one file of a guest, as monitors are told. */

/**
 * `symlink`: a symbolic link came, or has another target. `unlinked`: a name went, while the file has others. `written`:
 * bytes of a file have come on the disk, as a stream of the guest's writes tells. `gap`: what happened before cannot be
 * told; what follows is the difference that was found, if there is one.
 */
export type EventKind =
  | "created"
  | "deleted"
  | "renamed"
  | "linked"
  | "unlinked"
  | "content"
  | "attributes"
  | "xattr"
  | "symlink"
  | "written"
  | "gap";

export type EventFileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "character" | "block";

/** Values before or after; only those that the event is about. */
export interface EventValues {
  /** Bytes. */
  readonly size?: number;
  /** Permission bits, in octal: "0644". */
  readonly mode?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly nlink?: number;
  /** The format's own flags of an inode (ext4: i_flags). */
  readonly flags?: number;
  /** ISO 8601 with nanoseconds, UTC. */
  readonly mtime?: string;
  readonly ctime?: string;
  readonly btime?: string;
  /** Device numbers, "8:1". */
  readonly device?: string;
  /** Where a symbolic link leads. */
  readonly target?: string;
  /**
   * Extended attributes by name: those that differ; or, of an event without old ones, all that there are. Values that
   * are not UTF-8 are base64 after "base64:".
   */
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** One event. In JSON the fields stand in this order, and those that are not known are left out. */
export interface GuestEvent {
  /** Counts up by one from each event of the guest to the next, over restarts too. */
  readonly id: number;
  /**
   * When the guest's file system finished the transaction, by the guest's clock: ISO 8601 with nanoseconds, UTC. Of bytes
   * that were written, when the last of them were, by the host's.
   */
  readonly time: string;
  readonly event: EventKind;
  readonly host: string;
  readonly guest: string;
  /** `sda1` */
  readonly volume: string;
  /** The number of the file system's transaction; of bytes that were written, of the last one before. */
  readonly transaction: number;
  /** Of what is told before the whole transaction has come (ext4's fast commits): which part of it, from 1 on. */
  readonly part?: number;
  /** In the guest, from its root: "/var/log/syslog". Bytes that are not UTF-8 are U+FFFD; then `pathBytes` has them. */
  readonly path?: string;
  /** The path's bytes in base64, if they are not UTF-8. */
  readonly pathBytes?: string;
  /** The name alone, where the path is not known. */
  readonly name?: string;
  /** The former path of what was renamed. */
  readonly from?: string;
  readonly fromBytes?: string;
  readonly type?: EventFileType;
  readonly inode?: number;
  readonly generation?: number;
  /** The inode of the directory that has, or had, the name; and of the one that had the former name. */
  readonly directory?: number;
  readonly fromDirectory?: number;
  /** The first changed byte and the one after the last, where that is known. */
  readonly range?: readonly [number, number];
  /**
   * Of bytes that were written: offsets and lengths in the file, in order and apart. Where they are many, near ones are one
   * with what lies between.
   */
  readonly ranges?: readonly (readonly [number, number])[];
  /** The number, in the stream of the disk's writes, of the last of those that wrote them. */
  readonly sequence?: number;
  readonly old?: EventValues;
  readonly new?: EventValues;
  /** Of a gap: why. */
  readonly reason?: string;
}

/**
 * A directory whose `.events` shows an event: an inode number in a volume, "sda1:2". An event has those of all
 * directories that it is at or below, also through mount points.
 */
export type Scope = string;

/** An event on its way to logs and subscribers. */
export interface ScopedEvent {
  readonly event: GuestEvent;
  readonly scopes: readonly Scope[];
  /** Whether it is the last one of its transaction. */
  readonly isLast: boolean;
}
