/** Hashes of names in indexed directories (ext4 documentation, "Hash Tree Directories"; fs/ext4/hash.c). */

/** dx_root_info.hash_version; unsigned ones take a name's bytes as 0-255, the others as -128-127. */
export const HashVersion = {
  LEGACY: 0,
  HALF_MD4: 1,
  TEA: 2,
  LEGACY_UNSIGNED: 3,
  HALF_MD4_UNSIGNED: 4,
  TEA_UNSIGNED: 5,
  SIPHASH: 6,
} as const;

/** MD4's initial state, used where the file system has no seed of its own. */
const DEFAULT_SEED = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
/** The hash that would mean the end of a directory (EXT4_HTREE_EOF_32BIT << 1), and the one taken for it. */
const END = 0xffff_fffe;
const BEFORE_END = 0xffff_fffc;

const state = new Uint32Array(4);
const words = new Int32Array(8);

/** The minor hash of the name hashed last. */
export let minorHash = 0;

/** The hash of a name, its lowest bit clear; undefined for a version that cannot be computed here. */
export function directoryHash(
  name: Buffer,
  start: number,
  length: number,
  version: number,
  seed: Uint32Array,
): number | undefined {
  minorHash = 0;
  const signed = version <= HashVersion.TEA;
  state.set(seed.some((word) => word !== 0) ? seed : DEFAULT_SEED);
  let hash: number;
  switch (version) {
    case HashVersion.LEGACY:
    case HashVersion.LEGACY_UNSIGNED:
      hash = legacy(name, start, length, signed);
      break;
    case HashVersion.HALF_MD4:
    case HashVersion.HALF_MD4_UNSIGNED:
      for (let at = 0; at < length; at += 32) {
        fillWords(name, start + at, length - at, 8, signed);
        halfMd4();
      }
      hash = state[1] as number;
      minorHash = state[2] as number;
      break;
    case HashVersion.TEA:
    case HashVersion.TEA_UNSIGNED:
      for (let at = 0; at < length; at += 16) {
        fillWords(name, start + at, length - at, 4, signed);
        tea();
      }
      hash = state[0] as number;
      minorHash = state[1] as number;
      break;
    default:
      return undefined;
  }
  hash = (hash & ~1) >>> 0;
  return hash === END ? BEFORE_END : hash;
}

function byteAt(name: Buffer, at: number, signed: boolean): number {
  const byte = name[at] as number;
  return signed ? (byte << 24) >> 24 : byte;
}

/** dx_hack_hash */
function legacy(name: Buffer, start: number, length: number, signed: boolean): number {
  let hash0 = 0x12a3fe2d;
  let hash1 = 0x37abe8f9;
  for (let at = start; at < start + length; at++) {
    let hash = (hash1 + (hash0 ^ Math.imul(byteAt(name, at, signed), 7152373))) >>> 0;
    if (hash >= 0x8000_0000) hash = (hash - 0x7fff_ffff) >>> 0;
    hash1 = hash0;
    hash0 = hash;
  }
  return (hash0 << 1) >>> 0;
}

/** str2hashbuf: packs a name into words, padded with its length. */
function fillWords(name: Buffer, start: number, length: number, count: number, signed: boolean): void {
  let pad = (length | (length << 8)) >>> 0;
  pad |= pad << 16;
  const bytes = Math.min(length, count * 4);
  let value = pad;
  let word = 0;
  for (let i = 0; i < bytes; i++) {
    value = (byteAt(name, start + i, signed) + (value << 8)) | 0;
    if (i % 4 === 3) {
      words[word++] = value;
      value = pad;
    }
  }
  if (word < count) words[word++] = value;
  while (word < count) words[word++] = pad;
}

function tea(): void {
  const a = words[0] as number;
  const b = words[1] as number;
  const c = words[2] as number;
  const d = words[3] as number;
  let b0 = (state[0] as number) | 0;
  let b1 = (state[1] as number) | 0;
  let sum = 0;
  for (let round = 0; round < 16; round++) {
    sum = (sum + 0x9e3779b9) | 0;
    b0 = (b0 + (((b1 << 4) + a) ^ (b1 + sum) ^ ((b1 >>> 5) + b))) | 0;
    b1 = (b1 + (((b0 << 4) + c) ^ (b0 + sum) ^ ((b0 >>> 5) + d))) | 0;
  }
  state[0] = (state[0] as number) + b0;
  state[1] = (state[1] as number) + b1;
}

/** For each of three rounds: the order of the words, the shifts, and the constant that is added. */
const MD4_ORDER = [
  [0, 1, 2, 3, 4, 5, 6, 7],
  [1, 3, 5, 7, 0, 2, 4, 6],
  [3, 7, 2, 6, 1, 5, 0, 4],
] as const;
const MD4_SHIFTS = [
  [3, 7, 11, 19],
  [3, 5, 9, 13],
  [3, 9, 11, 15],
] as const;
const MD4_CONSTANTS = [0, 0x5a827999, 0x6ed9eba1] as const;

function halfMd4(): void {
  let a = (state[0] as number) | 0;
  let b = (state[1] as number) | 0;
  let c = (state[2] as number) | 0;
  let d = (state[3] as number) | 0;
  for (let round = 0; round < 3; round++) {
    const order = MD4_ORDER[round] as readonly number[];
    const shifts = MD4_SHIFTS[round] as readonly number[];
    const constant = MD4_CONSTANTS[round] as number;
    for (let step = 0; step < 8; step++) {
      const mixed = round === 0 ? d ^ (b & (c ^ d)) : round === 1 ? (b & c) + ((b ^ c) & d) : b ^ c ^ d;
      const sum = (a + mixed + (words[order[step] as number] as number) + constant) | 0;
      const shift = shifts[step & 3] as number;
      const turned = (sum << shift) | (sum >>> (32 - shift));
      a = d;
      d = c;
      c = b;
      b = turned;
    }
  }
  state[0] = (state[0] as number) + a;
  state[1] = (state[1] as number) + b;
  state[2] = (state[2] as number) + c;
  state[3] = (state[3] as number) + d;
}
