/** Whether what a candidate version says of an inode agrees: its link count, its names, its type, its blocks. */
import { FileType } from "../../filesystem.js";
import { RoCompat } from "../features.js";
import { Inode, InodeFlags } from "../inode.js";
import { type Accepted, copyInode, isLive } from "./accepted.js";
import type { Entity } from "./entity.js";

/** EXT4_ROOT_INO */
const ROOT_INODE = 2;
/** Inodes up to this one have no names (EXT4_GOOD_OLD_FIRST_INO is the first that has), but for the root. */
const LAST_RESERVED = 10;

/** How far an inode is from agreeing. */
export const Verdict = {
  AGREES: 0,
  /** Users would see a link count that is not right, a file by both its old and its new name, holes in a file. */
  BLURRED: 1,
  /** Users would get errors, or another file's metadata, or miss a file that is there. */
  BROKEN: 2,
} as const;

/**
 * Judges an inode; `table` is the candidate's block that holds it. What was as wrong before, in the version that has been
 * agreed on, is no matter.
 */
export function judge(accepted: Accepted, entity: Entity, table: Buffer | undefined): number {
  const { ino } = entity;
  if (entity.isWrong) return Verdict.BROKEN;
  if (ino <= LAST_RESERVED && ino !== ROOT_INODE) return Verdict.AGREES;
  const { geometry } = accepted.parts;
  const old = accepted.inode(ino, new Inode(geometry));
  const now = copyInode(accepted, ino, table, new Inode(geometry));
  const isThere = isLive(now);
  if (isThere && entity.hasChanged && !accepted.hasRightChecksum(now) && accepted.hasRightChecksum(old))
    return Verdict.BROKEN;
  if (entity.nameType !== 0 && (!isThere || entity.nameType !== now.type >> 12)) return Verdict.BROKEN;
  const links = linksVerdict(accepted, entity, old, now);
  if (links !== Verdict.AGREES) return links;
  // A rename changes the inode too (ext2_rename, ext4_rename): one that has not changed since may be another file's, whose
  // number is used again. And then there should be no name left of those that it had.
  if (entity.isNamed && !entity.hasChanged && !accepted.ahead.has(ino)) return Verdict.BLURRED;
  const isOther = isThere && isLive(old) && now.fields.i_generation !== old.fields.i_generation;
  if (isOther && entity.lost < accepted.names(ino) - dots(old, now)) return Verdict.BLURRED;
  return entity.missing > Math.max(0, entity.missed) ? Verdict.BLURRED : Verdict.AGREES;
}

/** A directory that is followed by another one under its number goes on to have a "." that leads there. */
function dots(old: Inode, now: Inode): number {
  return old.type === FileType.DIRECTORY && now.type === FileType.DIRECTORY ? 1 : 0;
}

function linksVerdict(accepted: Accepted, entity: Entity, old: Inode, now: Inode): number {
  // Its link count counts what refers to its value.
  if (now.hasFlag(InodeFlags.EA_INODE)) return Verdict.AGREES;
  const hadLinks = isLive(old) ? old.fields.i_links_count : 0;
  const links = isLive(now) ? now.fields.i_links_count : 0;
  const hadNames = accepted.names(entity.ino);
  const names = hadNames + entity.got - entity.lost;
  if (links - names === 0 || links - names === hadLinks - hadNames) return Verdict.AGREES;
  // A directory with more subdirectories than can be counted.
  const { geometry } = accepted.parts;
  if (links === 1 && now.type === FileType.DIRECTORY && geometry.hasRoCompat(RoCompat.DIR_NLINK))
    return Verdict.AGREES;
  // A new file that was written on its own: nobody sees it before it has a name.
  if (hadNames === 0 && names === 0) return Verdict.AGREES;
  return (links === 0) !== (names === 0) ? Verdict.BROKEN : Verdict.BLURRED;
}
