/** A metadata area: a header of one sector, and a ring of texts, of which the header names the one that counts. */
import type { Source } from "../../images/image.js";
import { bytes, structure, u32, u64 } from "../../layout/struct.js";
import { lvmChecksum } from "./checksum.js";
import { type Area, SECTOR } from "./label.js";

/** struct mda_header, with the first of its raw_locns: the committed text. */
const MdaHeader = structure("mda_header", 64, {
  /** Of the whole sector behind it. */
  checksum: u32(0),
  magic: bytes(4, 16),
  version: u32(20),
  start: u64(24),
  size: u64(32),
  /** Of the text, from the area's beginning. */
  textOffset: u64(40),
  textSize: u64(48),
  textChecksum: u32(56),
  textFlags: u32(60),
});

const MAGIC = Buffer.from(" LVM2 x[5A%r0N*>", "latin1");
const VERSION = 1;
/** RAW_LOCN_IGNORED: this copy is not kept current. */
const IGNORED = 1;
/** Bytes of a text beyond which it is not read. An area is of 1 MiB, if nobody asked for more. */
const MAX_TEXT = 2 * 1024 * 1024;

/** Bytes of an area's header. */
export const HEADER_SIZE = SECTOR;

/** The text in an area, undefined if there is none in it that counts; or what is wrong with it. */
export type AreaReading = { readonly text: string | undefined } | { readonly problem: string };

/** Throws what reading throws. */
export function readMetadataArea(source: Source, area: Area): AreaReading {
  const sector = Buffer.alloc(HEADER_SIZE);
  if (source.read(sector, 0, HEADER_SIZE, area.offset) < HEADER_SIZE)
    return { problem: "lies past the end of the disk" };
  const header = MdaHeader.at(sector);
  if (!header.magic.equals(MAGIC) || header.version !== VERSION) return { problem: "has no header" };
  if (lvmChecksum(sector.subarray(MdaHeader.fields.magic.offset)) !== header.checksum)
    return { problem: "has a header with a wrong checksum" };
  const { start, size, textOffset, textSize, textChecksum, textFlags } = header;
  if (start !== area.offset) return { problem: "belongs to another place" };
  if (textOffset === 0 || textSize === 0 || (textFlags & IGNORED) !== 0) return { text: undefined };
  if (textSize > MAX_TEXT || textOffset < HEADER_SIZE || textOffset >= size || textSize > size - HEADER_SIZE)
    return { problem: `has an impossible text (${textSize} bytes at ${textOffset} of ${size})` };
  const text = Buffer.alloc(textSize);
  // What does not fit at the end of the area goes on behind its header.
  const first = Math.min(textSize, size - textOffset);
  const isThere =
    source.read(text, 0, first, start + textOffset) === first &&
    source.read(text, first, textSize - first, start + HEADER_SIZE) === textSize - first;
  if (!isThere) return { problem: "has a text past the end of the disk" };
  if (lvmChecksum(text) !== textChecksum) return { problem: "has a text with a wrong checksum" };
  const end = text.indexOf(0);
  return { text: text.toString("utf8", 0, end < 0 ? textSize : end) };
}
