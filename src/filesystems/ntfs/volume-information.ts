/** What $Volume and others say of the volume as a whole: its label, and whether it was left in order. */
import { IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { encoded } from "./names.js";

/** $VOLUME_INFORMATION: where its flags are. */
const FLAGS = 10;
const DIRTY = 0x1;

export interface VolumeInformation {
  readonly label: string;
  /** Windows wants it to be checked. */
  readonly isDirty: boolean;
}

/** What cannot be read is left out. */
export function volumeInformation(mft: MasterFileTable): VolumeInformation {
  let label = "";
  let isDirty = false;
  try {
    const inode = new Inode(mft).load(SystemRecord.VOLUME);
    const name = inode.find(AttributeType.VOLUME_NAME);
    if (name >= 0) {
      const { isResident, buffer, valueAt, valueLength } = inode.attribute(name);
      if (isResident) label = encoded(buffer, valueAt, valueLength >> 1).toString();
    }
    const information = inode.find(AttributeType.VOLUME_INFORMATION);
    if (information >= 0) {
      const { isResident, buffer, valueAt, valueLength } = inode.attribute(information);
      isDirty = isResident && valueLength > FLAGS + 1 && (buffer.readUInt16LE(valueAt + FLAGS) & DIRTY) !== 0;
    }
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
  }
  return { label, isDirty };
}
