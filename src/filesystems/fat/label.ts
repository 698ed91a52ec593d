/** The label and the UUID of a FAT file system, as blkid tells them. */
import type { Slots } from "../clusters/layout.js";
import type { Geometry } from "./boot-sector.js";
import { decode } from "./code-page.js";
import { DELETED, LONG_NAME, VOLUME } from "./entries.js";

const LENGTH = 11;
/** What a boot sector has where there is no label. */
const NO_NAME = "NO NAME";

/** The entry for the label in the root directory goes before the boot sector. Throws IoError. */
export function labelOf(geometry: Geometry, root: Slots): string {
  for (let slot = 0; ; slot++) {
    const buffer = root.locate(slot);
    if (buffer === undefined) break;
    const { at } = root;
    if (buffer[at] === 0) break;
    const attributes = buffer[at + LENGTH] as number;
    if (buffer[at] === DELETED || (attributes & LONG_NAME) === LONG_NAME || (attributes & VOLUME) === 0)
      continue;
    const bytes = Buffer.from(buffer.subarray(at, at + LENGTH));
    if (bytes[0] === 0x05) bytes[0] = DELETED;
    return decode(bytes);
  }
  const label = decode(geometry.label.subarray(0, LENGTH)).replace(/\?+$/, "");
  return label === NO_NAME ? "" : label;
}

/** `ABCD-1234`; "" for none. */
export function uuidOf(serial: number): string {
  if (serial === 0) return "";
  const hex = serial.toString(16).toUpperCase().padStart(8, "0");
  return `${hex.slice(0, 4)}-${hex.slice(4)}`;
}
