/** Whether what a candidate version says of an inode agrees: its link count, its names, its type, its blocks. */
import { FileType } from "../../filesystem.js";
import { RoCompat } from "../features.js";
import { Inode, InodeFlags } from "../inode.js";
import { type Accepted, isLive } from "./accepted.js";
import type { Entity } from "./entity.js";

/** EXT4_ROOT_INO */
const ROOT_INODE = 2;
/** Inodes up to this one have no names (EXT4_GOOD_OLD_FIRST_INO is the first that has), but for the root. */
const LAST_RESERVED = 10;

/** `inodeOf` copies an inode as the candidate has it. What was as wrong before, in the version agreed on, is no matter. */
export function agrees(
  accepted: Accepted,
  entity: Entity,
  inodeOf: (ino: number, into: Inode) => Inode,
): boolean {
  const { ino } = entity;
  if (entity.isWrong) return false;
  if (ino <= LAST_RESERVED && ino !== ROOT_INODE) return true;
  const { geometry } = accepted.parts;
  const old = accepted.inode(ino, new Inode(geometry));
  const now = inodeOf(ino, new Inode(geometry));
  if (now.hasFlag(InodeFlags.EA_INODE)) return true;
  const hadLinks = isLive(old) ? old.fields.i_links_count : 0;
  const links = isLive(now) ? now.fields.i_links_count : 0;
  const hadNames = accepted.names(ino);
  const names = hadNames + entity.names;
  // A directory with more subdirectories than can be counted has a link count of 1.
  const isUncounted =
    links === 1 && now.type === FileType.DIRECTORY && geometry.hasRoCompat(RoCompat.DIR_NLINK);
  if (links !== names && !isUncounted && links - names !== hadLinks - hadNames) return false;
  if (entity.nameType !== 0 && links !== 0 && entity.nameType !== now.type >> 12) return false;
  // A rename changes the inode too (ext2_rename, ext4_rename): an older one is another file's, whose number is used again.
  return entity.named === 0 || entity.hasChanged || now.fields.i_ctime >= entity.named;
}
