/** What a commit changed, as far as those need to know who hold copies of it: the kernel's caches, subscribers. */

/** An inode as one version has it. Times are seconds since 1970 and nanoseconds of that second. */
export interface InodeState {
  readonly generation: number;
  /** Type and permission bits. */
  readonly mode: number;
  /** 0: deleted, but open in the guest. */
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** The format's own. */
  readonly flags: number;
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
  /** Birth time; 0 where the format has none. */
  readonly btime: number;
  readonly btimeNsec: number;
  /** Device numbers of a device node. */
  readonly major: number;
  readonly minor: number;
  /** It has extended attributes; undefined: it has none, or that is not known. */
  readonly hasAttributes?: true;
}

/** Extended attributes by name (one character a byte). */
export type AttributeValues = ReadonlyMap<string, Buffer>;

export interface AttributesChange {
  readonly old: AttributeValues | undefined;
  readonly now: AttributeValues;
}

/** An inode that changed, came or went. */
export interface InodeChange {
  readonly ino: number;
  /** Before and after; undefined: not in use. */
  readonly old: InodeState | undefined;
  readonly now: InodeState | undefined;
  /**
   * Those attributes that differ, before and after; undefined if none does, or the inode went. Without `old` nobody
   * knows what was before, and `now` has them all.
   */
  readonly attributes?: AttributesChange;
  /** A symbolic link's target, where it is a new one. */
  readonly target?: Buffer;
}

/** A name that stands for another inode than before. */
export interface NameChange {
  readonly directory: number;
  /** The directory's generation before; after, if it is new. */
  readonly generation: number;
  readonly name: Buffer;
  /** The inodes that it stood for and stands for; 0: none. */
  readonly ino: number;
  readonly now: number;
  /** Of several commits as one: those that it stood for in between. */
  readonly between?: readonly number[];
}

/** A file that has got another number with another name, where numbers tell the places of entries. */
export interface FileMove {
  readonly from: number;
  readonly to: number;
}

/** A directory, and all the names that are in it now. */
export interface Listing {
  readonly directory: number;
  readonly generation: number;
  /** Names, one character a byte, and their inodes; undefined: what they are is told with a later commit. */
  readonly names: ReadonlyMap<string, number> | undefined;
  /** Some of its blocks could not be read: there may be other names. */
  readonly isIncomplete?: boolean;
}

/**
 * What is known to have changed, and what may have: a commit's blocks can be in their places before it was taken in, and
 * then nobody can tell from the disk what was there before.
 */
export interface Changes {
  readonly inodes: readonly InodeChange[];
  readonly names: readonly NameChange[];
  /** Inodes that may have changed: `now`, and all attributes and the target as they are; `old` says nothing. */
  readonly unsureInodes: readonly InodeChange[];
  /** Files that went, and are among those that came; each has one name. */
  readonly moves?: readonly FileMove[];
  /** Directories that may have had other names before. */
  readonly unsureDirectories: readonly Listing[];
  /**
   * Some directories that have changed cannot be listed yet: what they have become is told with a later commit, and until
   * then the rest does not fit together.
   */
  readonly isPartial?: boolean;
}

export const NO_CHANGES: Changes = { inodes: [], names: [], unsureInodes: [], unsureDirectories: [] };
