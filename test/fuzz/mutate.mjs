/** Damage of all kinds, told by a Random: the same one makes the same mutant. */

/** Numbers at which parsers stumble, in 8, 16, 32 and 64 bits. */
const NUMBERS = {
  1: [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff],
  2: [0, 1, 2, 4, 7, 8, 11, 12, 13, 0x7fff, 0x8000, 0x8001, 0xfffc, 0xffff],
  4: [0, 1, 2, 8, 0xff, 0x400, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff],
};
const ENCRYPTED = 0x800;
const INDEXED = 0x1000;
const FLAGS = [ENCRYPTED, INDEXED, 0x40000, 0x80000, 0x100000, 0x200000, 0x10000000, 0x40000000];
const TYPES = [0x1000, 0x2000, 0x4000, 0x6000, 0x8000, 0xa000, 0xc000];

/**
 * Makes a mutant of `original` in `target` (as long as it). `places` as findPlaces finds them. Returns the mutant: a
 * part of `target`, shorter where the image is cut off.
 */
export function mutate(original, target, places, random) {
  original.copy(target);
  const touched = [];
  for (let change = 1 + random.below(random.oneIn(4) ? 12 : 3); change > 0; change--) {
    if (random.below(8) === 0 || places.kinds.length === 0) touched.push(...anywhere(target, random));
    else touched.push(...inPlace(target, places, random));
  }
  // What a checksum guards is reached only if it is right; that it is wrong is a case, too.
  if (!random.oneIn(4)) seal(target, places, touched);
  return random.oneIn(40) ? target.subarray(0, random.below(target.length)) : target;
}

/** Structures by kind, so that a rare kind is hit as often as a common one. */
export function groupPlaces(list) {
  const byKind = new Map();
  for (const place of list) byKind.set(place.kind, [...(byKind.get(place.kind) ?? []), place]);
  return { list, kinds: [...byKind.values()] };
}

function seal(target, places, touched) {
  for (const place of places.list) {
    if (place.seal === undefined) continue;
    if (touched.some(([at, length]) => at < place.at + place.length && at + length > place.at))
      place.seal(target);
  }
}

function anywhere(target, random) {
  const block = 1024;
  const blocks = Math.floor(target.length / block);
  switch (random.below(4)) {
    case 0: {
      const at = random.below(target.length);
      target[at] ^= 1 << random.below(8);
      return [[at, 1]];
    }
    case 1: {
      const at = random.below(target.length);
      const length = Math.min(1 + random.below(64), target.length - at);
      for (let n = 0; n < length; n++) target[at + n] = random.below(256);
      return [[at, length]];
    }
    case 2: {
      // Two blocks change places.
      const [a, b] = [random.below(blocks) * block, random.below(blocks) * block];
      const kept = Buffer.from(target.subarray(a, a + block));
      target.copy(target, a, b, b + block);
      kept.copy(target, b);
      return [];
    }
    default: {
      const at = random.below(blocks) * block;
      target.fill(random.pick([0, 0xff]), at, at + block);
      return [];
    }
  }
}

function inPlace(target, places, random) {
  const kind = random.pick(places.kinds);
  const place = random.pick(kind);
  const { at, length } = place;
  const choice = random.below(10);
  if (place.kind === "inode" && choice < 4) changeInode(target, at, random);
  else if (choice === 4 && kind.length > 1) {
    // Another structure of the same kind.
    const other = random.pick(kind);
    target.copy(target, at, other.at, other.at + Math.min(length, other.length));
  } else if (choice === 5) target[at + random.below(length)] ^= 1 << random.below(8);
  else if (choice === 6) target[at + random.below(length)] = random.below(256);
  else writeNumber(target, at, length, random);
  return [[at, length]];
}

function writeNumber(target, at, length, random) {
  const size = random.pick([1, 2, 2, 4, 4, 4]);
  if (size > length) return;
  // Headers come first, and count most.
  const reach = random.oneIn(2) ? Math.min(length, 64) : length;
  const place = at + random.below(Math.floor(reach / size)) * size;
  const isBig = random.oneIn(4);
  const old = isBig ? target.readUIntBE(place, size) : target.readUIntLE(place, size);
  const limit = 2 ** (8 * size);
  // A neighbour of what was there often makes sense, and leads into something else.
  const number = random.oneIn(3) ? (old + random.below(9) - 4 + limit) % limit : random.pick(NUMBERS[size]);
  if (isBig) target.writeUIntBE(number, place, size);
  else target.writeUIntLE(number, place, size);
}

function changeInode(target, at, random) {
  switch (random.below(5)) {
    case 0:
      target.writeUInt32LE((target.readUInt32LE(at + 0x20) ^ random.pick(FLAGS)) >>> 0, at + 0x20);
      break;
    case 1:
      target.writeUInt16LE((target.readUInt16LE(at) & 0xfff) | random.pick(TYPES), at);
      break;
    case 2:
      // i_size: huge, or a little wrong.
      target.writeUInt32LE(random.pick(NUMBERS[4]), at + 4);
      target.writeUInt32LE(random.pick([0, 0, 1, 0x1000, 0x1fffff, 0xffffffff]), at + 0x6c);
      break;
    case 3:
      writeNumber(target, at + 0x28, 60, random);
      break;
    default:
      target.writeUInt32LE(random.below(4096), at + 0x68);
  }
}
