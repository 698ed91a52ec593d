/**
 * Where an undamaged NTFS volume has which structure, and how what tells that it is half written is made right again.
 * This reads the format on its own, not through what is being tested.
 */

const FILE = 0x454c4946;
const INDX = 0x58444e49;
const STRIDE = 512;

/** All structures of the volume; as findPlaces of places.mjs. */
export function findNtfsPlaces(image) {
  const places = [];
  const add = (kind, at, length, seal) => {
    if (length > 0 && at >= 0 && at + length <= image.length) places.push({ kind, at, length, seal });
  };
  add("boot sector", 0, 0x54);
  add("boot sector", image.length - 512, 0x54);
  const cluster = image.readUInt16LE(11) * image[13];
  const recordSize = image[0x40] < 128 ? image[0x40] * cluster : 2 ** (256 - image[0x40]);
  for (let at = 0; at + STRIDE <= image.length; at += STRIDE) {
    const magic = image.readUInt32LE(at);
    if (magic === FILE && at % Math.min(recordSize, cluster) === 0) record(image, at, recordSize, add);
    else if (magic === INDX) {
      const size = 8 * 512;
      const seal = sealAt(image, at, size);
      add("index", at, 64, seal);
      add("index block", at, size, seal);
    }
  }
  return places;
}

function record(image, at, size, add) {
  if ((image.readUInt16LE(at + 22) & 1) === 0) return;
  const seal = sealAt(image, at, size);
  add("record", at, 56, seal);
  let attribute = at + image.readUInt16LE(at + 20);
  for (let n = 0; n < 200 && attribute + 24 < at + size; n++) {
    const type = image.readUInt32LE(attribute);
    const length = image.readUInt32LE(attribute + 4);
    if (type === 0xffffffff || length < 24 || attribute + length > at + size) return;
    const isResident = image[attribute + 8] === 0;
    const kind = `attribute ${type.toString(16)} ${isResident ? "resident" : "elsewhere"}`;
    add(kind, attribute, length, seal);
    // What is in it, so that its header is not all that is hit.
    const value = isResident ? image.readUInt16LE(attribute + 20) : image.readUInt16LE(attribute + 32);
    add(`${kind}: value`, attribute + value, length - value, seal);
    attribute += length;
  }
}

/** Puts the number of the sequence at the ends where it was. */
function sealAt(image, at, size) {
  const array = image.readUInt16LE(at + 4);
  return (bytes) => {
    if (array + 2 > STRIDE || bytes.readUInt16LE(at + 4) !== array) return;
    for (let end = at + STRIDE - 2; end < at + size; end += STRIDE)
      bytes.copy(bytes, end, at + array, at + array + 2);
  };
}
