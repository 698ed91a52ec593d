/**
 * Where an undamaged FAT or exFAT image has which structure, and how the checksum of each is made right again. This reads
 * the formats on its own, not through what is being tested. All images have sectors and clusters of 512 bytes.
 */

const SECTOR = 512;
const SLOT = 32;
/** Entries of the table that make one place. */
const ENTRIES = 16;

/** All structures; `{kind, at, length, seal?}` each. */
export function findFatPlaces(image) {
  return image.toString("latin1", 3, 8) === "EXFAT" ? exfatPlaces(image) : fatPlaces(image);
}

function tablePlaces(start, length) {
  const places = [];
  for (let at = start; at < start + length; at += ENTRIES * 4)
    places.push({ kind: "table", at, length: Math.min(ENTRIES * 4, start + length - at) });
  return places;
}

function fatPlaces(image) {
  const reserved = image.readUInt16LE(14);
  const rootEntries = image.readUInt16LE(17);
  const isFat32 = image.readUInt16LE(22) === 0;
  const tableSectors = isFat32 ? image.readUInt32LE(36) : image.readUInt16LE(22);
  const table = reserved * SECTOR;
  const root = table + image[16] * tableSectors * SECTOR;
  const data = root + rootEntries * SLOT;
  const clusters = Math.floor((image.length - data) / SECTOR);
  const width = isFat32 ? 32 : clusters < 0xff5 ? 12 : 16;
  const next = (cluster) => {
    if (width === 32) return image.readUInt32LE(table + cluster * 4) & 0x0fffffff;
    if (width === 16) return image.readUInt16LE(table + cluster * 2);
    const pair = image.readUInt16LE(table + ((cluster * 3) >> 1));
    return cluster % 2 === 0 ? pair & 0xfff : pair >> 4;
  };
  const at = (cluster) => data + (cluster - 2) * SECTOR;
  const places = [
    { kind: "boot sector", at: 11, length: 80 },
    ...tablePlaces(table, Math.min(tableSectors * SECTOR, 4096)),
  ];
  const slots = (start, length) => {
    for (let slot = start; slot < start + length; slot += SLOT) {
      if (image[slot] === 0) continue;
      const attributes = image[slot + 11];
      places.push({ kind: attributes === 0x0f ? "long name" : "entry", at: slot, length: SLOT });
      const isDirectory = (attributes & 0x18) === 0x10 && image[slot] !== 0xe5 && image[slot] !== 0x2e;
      if (isDirectory)
        chain(image.readUInt16LE(slot + 26) + (isFat32 ? image.readUInt16LE(slot + 20) * 65536 : 0));
    }
  };
  const chain = (first) => {
    for (let cluster = first; cluster >= 2 && cluster < clusters + 2; cluster = next(cluster))
      slots(at(cluster), SECTOR);
  };
  if (isFat32) chain(image.readUInt32LE(44));
  else slots(root, rootEntries * SLOT);
  return places;
}

function exfatPlaces(image) {
  const table = image.readUInt32LE(80) * SECTOR;
  const tableSectors = image.readUInt32LE(84);
  const data = image.readUInt32LE(88) * SECTOR;
  const clusters = image.readUInt32LE(92);
  const sealBoot = (bytes) => {
    let sum = 0;
    for (let at = 0; at < 11 * SECTOR; at++)
      if (at !== 106 && at !== 107 && at !== 112) sum = (((sum << 31) | (sum >>> 1)) + bytes[at]) >>> 0;
    for (let at = 11 * SECTOR; at < 12 * SECTOR; at += 4) bytes.writeUInt32LE(sum, at);
  };
  const places = [
    { kind: "boot sector", at: 64, length: 56, seal: sealBoot },
    ...tablePlaces(table, Math.min(tableSectors * SECTOR, 4096)),
  ];
  const next = (cluster) => image.readUInt32LE(table + cluster * 4);
  const at = (cluster) => data + (cluster - 2) * SECTOR;
  const directory = (first, isContiguous, size) => {
    const list = [];
    for (let cluster = first, n = 0; cluster >= 2 && cluster < clusters + 2 && n < 1000; n++) {
      for (let slot = at(cluster); slot < at(cluster) + SECTOR; slot += SLOT) list.push(slot);
      if (isContiguous && (n + 1) * SECTOR >= size) break;
      cluster = isContiguous ? cluster + 1 : next(cluster);
    }
    for (let n = 0; n < list.length; n++) {
      const kind = image[list[n]];
      if (kind === 0) break;
      if (kind !== 0x85) {
        places.push({ kind: `entry ${kind}`, at: list[n], length: SLOT });
        continue;
      }
      const set = list.slice(n, n + 1 + image[list[n] + 1]);
      const seal = (bytes) => {
        let sum = 0;
        for (const [index, slot] of set.entries())
          for (let byte = 0; byte < SLOT; byte++)
            if (index > 0 || (byte !== 2 && byte !== 3))
              sum = (((sum << 15) | (sum >> 1)) + bytes[slot + byte]) & 0xffff;
        bytes.writeUInt16LE(sum, set[0] + 2);
      };
      for (const [index, slot] of set.entries())
        places.push({ kind: ["file", "stream", "name"][Math.min(index, 2)], at: slot, length: SLOT, seal });
      const stream = set[1];
      if ((image.readUInt16LE(set[0] + 4) & 0x10) !== 0)
        directory(
          image.readUInt32LE(stream + 20),
          (image[stream + 1] & 2) !== 0,
          image.readUInt32LE(stream + 24),
        );
      n += set.length - 1;
    }
  };
  directory(image.readUInt32LE(96), false, 0);
  return places;
}
