/** Events of one volume, before it is known where the guest has it mounted. */

import type { EventKind } from "../events/event.js";
import type { AttributesChange, InodeState } from "../filesystems/changes.js";
import type { Written } from "./written.js";

export interface FileEvent {
  readonly kind: EventKind;
  readonly ino: number;
  /** The inode before and after; undefined: not there, or not known. */
  readonly old: InodeState | undefined;
  readonly now: InodeState | undefined;
  /** The directory and the name that the event is about; 0 and undefined if they are not known. */
  readonly directory: number;
  readonly name: Buffer | undefined;
  /** From the volume's root, "/a/b"; undefined if it is not known. */
  readonly path: Buffer | undefined;
  /** Of what was renamed: the former directory and path. */
  readonly fromDirectory: number;
  readonly from: Buffer | undefined;
  /** The first changed byte and the one after the last. */
  readonly range: readonly [number, number] | undefined;
  /** Of bytes that were written to the disk: which, and when. */
  readonly written?: Written;
  readonly attributes: AttributesChange | undefined;
  readonly target: Buffer | undefined;
  /** The directories that it is at or below. */
  readonly scopes: readonly number[];
}

/** What the names of a volume's inodes are. */
export interface Names {
  /** A name came to stand for an inode; nothing changes if it did already. */
  link(directory: number, name: Buffer, ino: number): void;
  unlink(directory: number, name: Buffer, ino: number): void;
  names(ino: number): readonly { readonly directory: number; readonly name: Buffer }[];
  path(ino: number): Buffer | undefined;
  pathOf(directory: number, name: Buffer): Buffer | undefined;
  /** The directory and all above it; empty if that is not known. */
  ancestors(directory: number): readonly number[];
  /** What is known of an inode. */
  state(ino: number): InodeState | undefined;
  /** How many names a directory has. */
  childCount(directory: number): number;
}
