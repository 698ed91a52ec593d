/** The whole value of an attribute all of whose runs are in one record: of those that are needed to find others. */
import { EIO, IoError } from "../../images/io-error.js";
import type { View } from "../../versions/view.js";
import type { Attribute } from "./attribute.js";
import type { Geometry } from "./boot-sector.js";
import { HOLE, Runs } from "./runs.js";

/** At most `most` bytes: more are an error. `record`: what has the attribute. Throws IoError. */
export function readValue(
  attribute: Attribute,
  most: number,
  record: number,
  { clusters, clusterSize, blocksPerCluster }: Geometry,
  view: View,
): Buffer {
  const { size } = attribute;
  if (size > most) throw new IoError(EIO, `MFT record ${record}: ${size} bytes of an attribute are too many`);
  const value = Buffer.alloc(size);
  if (attribute.isResident) {
    attribute.buffer.copy(value, 0, attribute.valueAt, attribute.valueAt + size);
    return value;
  }
  const runs = Runs.of(attribute, clusters, record);
  for (let done = 0; done < size; ) {
    const index = runs.find(Math.floor(done / clusterSize));
    if (index < 0 || runs.cluster(index) === HOLE)
      throw new IoError(EIO, `MFT record ${record}: an attribute ends early`);
    const within = done - runs.start(index) * clusterSize;
    const part = Math.min(size - done, runs.length(index) * clusterSize - within);
    view.readData(runs.cluster(index) * blocksPerCluster, within, part, value, done);
    done += part;
  }
  return value;
}
