/** One inode before and after a change, as subscribers are told of it. */
import { IoError } from "../../images/io-error.js";
import type { AttributeValues, InodeChange } from "../changes.js";
import { FileType } from "../filesystem.js";
import { I_BLOCK, I_BLOCK_SIZE, type Inode } from "./inode.js";
import { attributeValues, differingAttributes, inodeState } from "./inode-state.js";
import type { Parts } from "./parts.js";
import { symlinkTarget } from "./symlink.js";

/**
 * What to tell of an inode; `parts` are as of after the change. `attributes`: those that it had; undefined: they are
 * the same, or of no account.
 */
export function inodeChange(
  parts: Parts,
  ino: number,
  old: Inode | undefined,
  attributes: AttributeValues | undefined,
  now: Inode | undefined,
): InodeChange {
  const oldState = old === undefined ? undefined : inodeState(parts.inodes, old);
  const nowState = now === undefined ? undefined : inodeState(parts.inodes, now);
  const isNew = oldState?.generation !== nowState?.generation || oldState?.nlink === 0;
  const changed =
    attributes === undefined || now === undefined
      ? undefined
      : differingAttributes(attributes, attributeValues(parts.attributes, now));
  const isSameLink = old !== undefined && now !== undefined && !isNew && hasSameBlock(old, now);
  const target = nowState === undefined || isSameLink ? undefined : targetOf(parts, now as Inode);
  return {
    ino,
    old: oldState,
    now: nowState,
    ...(changed === undefined ? {} : { attributes: changed }),
    ...(target === undefined ? {} : { target }),
  };
}

/** A symbolic link's target; undefined: it is none, is gone, or cannot be read. */
export function targetOf(parts: Parts, inode: Inode): Buffer | undefined {
  if (inode.type !== FileType.LINK || inode.fields.i_links_count === 0) return undefined;
  try {
    return symlinkTarget(parts, inode);
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
}

function hasSameBlock(old: Inode, now: Inode): boolean {
  const end = I_BLOCK + I_BLOCK_SIZE;
  return old.raw.compare(now.raw, I_BLOCK, end, I_BLOCK, end) === 0;
}
