/** How a volume was left: it is read as it is on the disk, whatever its log still has. */
import { IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import { Inode } from "./inode.js";
import { SystemRecord } from "./mft.js";
import type { Parts } from "./parts.js";
import { Stream } from "./stream.js";
import { volumeInformation } from "./volume-information.js";

/** A restart page of $LogFile (NTFS documentation, "$LogFile"): where its area lies; in that: clients, flags. */
const RESTART_PAGE = "RSTR";
const AREA_OFFSET = 24;
const PAGE_SIZE = 4096;
const CLIENT_IN_USE = 12;
const AREA_FLAGS = 14;
const NO_CLIENT = 0xffff;
const IS_CLEAN = 0x2;
const HIBERNATION_FILE = Buffer.from("hiberfil.sys");
/** What begins the file while the guest is hibernated. */
const HIBERNATED = /^hibr$/i;

/** What is to be said of how it was left; undefined: it is in order. What cannot be read says nothing. */
export function leftState(parts: Parts): string | undefined {
  const { mft } = parts;
  if (isTrue(() => isHibernated(parts)))
    return "the guest is hibernated: what it holds in its memory is not shown";
  if (volumeInformation(mft).isDirty)
    return "it is marked as dirty (Windows would check it): it is shown as it is";
  if (isTrue(() => hasOpenLog(parts)))
    return "it is in use, or was not unmounted cleanly: what only its log has is not shown";
  return undefined;
}

function isHibernated({ mft, directories, content }: Parts): boolean {
  const inode = new Inode(mft).load(SystemRecord.ROOT);
  const found = directories.lookup(inode, HIBERNATION_FILE, true);
  if (found === 0) return false;
  const file = content.file(inode.load(found));
  const start = Buffer.alloc(4);
  if (file.size < start.length) return false;
  file.read(0, start.length, start, 0);
  return HIBERNATED.test(start.toString("latin1"));
}

function hasOpenLog({ mft }: Parts): boolean {
  const inode = new Inode(mft).load(SystemRecord.LOG_FILE);
  const data = inode.find(AttributeType.DATA);
  if (data < 0) return false;
  const stream = new Stream(mft, inode, data);
  const page = Buffer.alloc(PAGE_SIZE);
  if (stream.size < page.length) return false;
  stream.read(0, page.length, page, 0);
  if (page.toString("latin1", 0, 4) !== RESTART_PAGE) return false;
  const area = page.readUInt16LE(AREA_OFFSET);
  if (area + AREA_FLAGS + 2 > 510) return false;
  const hasClient = page.readUInt16LE(area + CLIENT_IN_USE) !== NO_CLIENT;
  return hasClient && (page.readUInt16LE(area + AREA_FLAGS) & IS_CLEAN) === 0;
}

function isTrue(question: () => boolean): boolean {
  try {
    return question();
  } catch (error) {
    if (error instanceof IoError) return false;
    throw error;
  }
}
