/**
 * Where an undamaged image has which structure, so that mutations can aim, and how the checksum of each is made right
 * again. This reads the format on its own, not through what is being tested.
 */

const JOURNAL_MAGIC = 0xc03b3998;
const INDEX = 0x1000;
const EXTENTS = 0x80000;
const INLINE = 0x10000000;
const DIRECTORY = 0x4000;

/** All structures of the file system that begins at byte `base`; `{kind, at, length, seal?}` each, sorted by nothing. */
export function findPlaces(image, base, { crc32c, crc16 }) {
  return new Finder(image, base, crc32c, crc16).find();
}

class Finder {
  constructor(image, base, crc32c, crc16) {
    this.image = image;
    this.base = base;
    this.crc32c = crc32c;
    this.crc16 = crc16;
    this.places = [];
    this.seen = new Set();
    const sb = base + 1024;
    this.blockSize = 1024 << image.readUInt32LE(sb + 0x18);
    this.blocks = image.readUInt32LE(sb + 0x4);
    this.incompat = image.readUInt32LE(sb + 0x60);
    this.roCompat = image.readUInt32LE(sb + 0x64);
    this.hasSums = (this.roCompat & 0x400) !== 0;
    const isOld = image.readUInt32LE(sb + 0x4c) === 0;
    this.inodeSize = isOld ? 128 : image.readUInt16LE(sb + 0x58);
    this.perGroup = image.readUInt32LE(sb + 0x28);
    this.groupBlocks = image.readUInt32LE(sb + 0x20);
    this.first = image.readUInt32LE(sb + 0x14);
    this.descriptorSize = (this.incompat & 0x80) !== 0 ? image.readUInt16LE(sb + 0xfe) : 32;
    this.seed =
      (this.incompat & 0x2000) !== 0
        ? image.readUInt32LE(sb + 0x270)
        : crc32c(0xffffffff, image, sb + 0x68, sb + 0x78);
    this.journalInode = image.readUInt32LE(sb + 0xe0);
  }

  add(kind, at, length, seal) {
    if (length <= 0 || at < 0 || at + length > this.image.length) return;
    this.places.push({ kind, at, length, seal: seal || undefined });
  }

  find() {
    const { base, crc32c } = this;
    const sealSuperblock = (bytes, at) =>
      bytes.writeUInt32LE(crc32c(0xffffffff, bytes, at, at + 0x3fc), at + 0x3fc);
    this.add(
      "superblock",
      base + 1024,
      0x288,
      this.hasSums && ((bytes) => sealSuperblock(bytes, base + 1024)),
    );
    this.groups();
    this.journal();
    return this.places;
  }

  groups() {
    const groups = Math.ceil((this.blocks - this.first) / this.groupBlocks);
    const perBlock = this.blockSize / this.descriptorSize;
    const metaGroups = (this.incompat & 0x10) !== 0;
    for (let group = 0; group < groups; group++) {
      const table = Math.floor(group / perBlock);
      let block = Math.floor(1024 / this.blockSize) + 1 + table;
      // With meta_bg a group's descriptors follow the superblock, or begin the first group of its meta group.
      if (metaGroups && table > 0) block = this.first + table * perBlock * this.groupBlocks;
      const at = this.base + block * this.blockSize + (group % perBlock) * this.descriptorSize;
      this.add("descriptor", at, this.descriptorSize, (bytes) => this.sealDescriptor(bytes, at, group));
      this.add("bitmap", this.base + this.image.readUInt32LE(at + 4) * this.blockSize, 32);
      this.inodeTable(this.image.readUInt32LE(at + 8), group);
    }
  }

  sealDescriptor(bytes, at, group) {
    const sum = this.hasSums ? this.crc32c : (this.roCompat & 0x10) !== 0 ? this.crc16 : undefined;
    if (sum === undefined) return;
    const number = Buffer.alloc(4);
    number.writeUInt32LE(group);
    const end = at + this.descriptorSize;
    let value;
    if (this.hasSums) {
      value = sum(sum(this.seed, number, 0, 4), bytes, at, at + 0x1e);
      value = sum(value, Buffer.alloc(2), 0, 2);
    } else {
      const uuid = this.base + 1024 + 0x68;
      value = sum(sum(sum(0xffff, bytes, uuid, uuid + 16), number, 0, 4), bytes, at, at + 0x1e);
    }
    if (end > at + 0x20) value = sum(value, bytes, at + 0x20, end);
    bytes.writeUInt16LE(value & 0xffff, at + 0x1e);
  }

  inodeTable(start, group) {
    for (let n = 0; n < this.perGroup; n++) {
      const at = this.base + start * this.blockSize + n * this.inodeSize;
      if (at + this.inodeSize > this.image.length) return;
      const mode = this.image.readUInt16LE(at);
      if (mode === 0) continue;
      const ino = group * this.perGroup + n + 1;
      this.add("inode", at, this.inodeSize, this.hasSums && ((bytes) => this.sealInode(bytes, at, ino)));
      this.contents(at, ino, (mode & 0xf000) === DIRECTORY);
    }
  }

  inodeSeed(bytes, at, ino) {
    const numbers = Buffer.alloc(8);
    numbers.writeUInt32LE(ino);
    numbers.writeUInt32LE(bytes.readUInt32LE(at + 0x64), 4);
    return this.crc32c(this.seed, numbers, 0, 8);
  }

  sealInode(bytes, at, ino) {
    const hasHigh = this.inodeSize > 128 && bytes.readUInt16LE(at + 0x80) >= 4;
    bytes.writeUInt16LE(0, at + 0x7c);
    if (hasHigh) bytes.writeUInt16LE(0, at + 0x82);
    const sum = this.crc32c(this.inodeSeed(bytes, at, ino), bytes, at, at + this.inodeSize);
    bytes.writeUInt16LE(sum & 0xffff, at + 0x7c);
    if (hasHigh) bytes.writeUInt16LE(sum >>> 16, at + 0x82);
  }

  contents(at, ino, isDirectory) {
    const { image } = this;
    const flags = image.readUInt32LE(at + 0x20);
    const attributes = image.readUInt32LE(at + 0x68);
    if (attributes !== 0) this.attributes(attributes);
    if (ino === this.journalInode || (flags & INLINE) !== 0) return;
    const leaf = (block) => {
      if (isDirectory) this.directory(block, at, ino);
    };
    if ((flags & EXTENTS) !== 0) return this.extents(at + 0x28, at, ino, leaf);
    const mode = image.readUInt16LE(at) & 0xf000;
    if (mode !== DIRECTORY && mode !== 0x8000) return;
    for (let n = 0; n < 15; n++)
      this.indirect(image.readUInt32LE(at + 0x28 + n * 4), Math.max(0, n - 11), leaf);
  }

  at(block) {
    return this.base + block * this.blockSize;
  }

  isBlock(block) {
    return block > 0 && this.at(block + 1) <= this.image.length;
  }

  indirect(block, level, leaf) {
    if (!this.isBlock(block)) return;
    if (level === 0) return leaf(block);
    this.add("indirect", this.at(block), this.blockSize);
    for (let n = 0; n < this.blockSize; n += 4)
      this.indirect(this.image.readUInt32LE(this.at(block) + n), level - 1, leaf);
  }

  extents(node, inode, ino, leaf) {
    const { image } = this;
    if (image.readUInt16LE(node) !== 0xf30a) return;
    const depth = image.readUInt16LE(node + 6);
    for (let n = 0; n < image.readUInt16LE(node + 2); n++) {
      const entry = node + 12 + n * 12;
      if (depth === 0) {
        const length = image.readUInt16LE(entry + 4) & 0x7fff;
        for (let k = 0; k < length; k++) leaf(image.readUInt32LE(entry + 8) + k);
        continue;
      }
      const child = image.readUInt32LE(entry + 4);
      const at = this.at(child);
      const entries = Math.min(this.blockSize, 12 + image.readUInt16LE(at + 2) * 12);
      const seal = (bytes) => {
        const tail = at + 12 + Math.floor((this.blockSize - 12) / 12) * 12;
        bytes.writeUInt32LE(this.crc32c(this.inodeSeed(bytes, inode, ino), bytes, at, tail), tail);
      };
      this.add("extents", at, entries, this.hasSums && seal);
      this.extents(at, inode, ino, leaf);
    }
  }

  directory(block, inode, ino) {
    if (!this.isBlock(block)) return;
    const at = this.at(block);
    const tail = at + this.blockSize - 12;
    // What was a leaf's tail may still stand in a root of a hash tree: dx_root_info tells (info_length is 8).
    const isRoot =
      (this.image.readUInt32LE(inode + 0x20) & INDEX) !== 0 &&
      this.image.readUInt16LE(at + 16) === this.blockSize - 12 &&
      this.image[at + 29] === 8;
    const isLeaf = !isRoot && this.image.readUInt32LE(tail + 4) === 0xde00000c;
    const seal = (bytes) => {
      const seed = this.inodeSeed(bytes, inode, ino);
      if (isLeaf) bytes.writeUInt32LE(this.crc32c(seed, bytes, at, tail), tail + 8);
      else this.sealIndex(bytes, at, seed);
    };
    this.add("directory", at, this.blockSize, this.hasSums && seal);
  }

  sealIndex(bytes, at, seed) {
    const counts = at + (bytes.readUInt16LE(at + 4) === this.blockSize ? 8 : 32);
    const entries = bytes.readUInt16LE(counts + 2) * 8;
    const tail = counts + bytes.readUInt16LE(counts) * 8;
    if (tail + 8 > at + this.blockSize || counts + entries > tail) return;
    let sum = this.crc32c(seed, bytes, at, counts + entries);
    sum = this.crc32c(this.crc32c(sum, bytes, tail, tail + 4), Buffer.alloc(4), 0, 4);
    bytes.writeUInt32LE(sum, tail + 4);
  }

  attributes(block) {
    if (!this.isBlock(block) || this.seen.has(block)) return;
    this.seen.add(block);
    const at = this.at(block);
    const seal = (bytes) => {
      const number = Buffer.alloc(8);
      number.writeUInt32LE(block);
      bytes.writeUInt32LE(0, at + 16);
      const sum = this.crc32c(this.crc32c(this.seed, number, 0, 8), bytes, at, at + this.blockSize);
      bytes.writeUInt32LE(sum, at + 16);
    };
    this.add("attributes", at, this.blockSize, this.hasSums && seal);
  }

  /** Blocks that bear the journal's magic number, and the area for fast commits. */
  journal() {
    const { image, blockSize } = this;
    let superblock = -1;
    for (let at = this.base; at + blockSize <= image.length; at += blockSize) {
      if (image.readUInt32BE(at) !== JOURNAL_MAGIC) {
        // ext4_fc_tl of a HEAD: the tag 9 with a value of 8 bytes.
        if (superblock >= 0 && image.readUInt32LE(at) === 0x00080009) this.fastCommits(at);
        continue;
      }
      const type = image.readUInt32BE(at + 4);
      if (type === 3 || type === 4) superblock = at;
      this.add(
        `journal ${type}`,
        at,
        type === 2 ? 64 : 256,
        superblock >= 0 && this.journalSeal(superblock, at, type),
      );
    }
  }

  journalSeal(superblock, at, type) {
    const features = this.image.readUInt32BE(superblock + 0x28);
    if ((features & 0x18) === 0) return undefined;
    const { crc32c, blockSize } = this;
    const [sumAt, size] =
      type === 2
        ? [at + 16, blockSize]
        : type === 1 || type === 5
          ? [at + blockSize - 4, blockSize]
          : [at + 0xfc, 1024];
    return (bytes) => {
      const isSuperblock = type === 3 || type === 4;
      const seed = isSuperblock
        ? 0xffffffff
        : crc32c(0xffffffff, bytes, superblock + 0x30, superblock + 0x40);
      bytes.writeUInt32BE(0, sumAt);
      bytes.writeUInt32BE(crc32c(seed, bytes, at, at + size), sumAt);
    };
  }

  fastCommits(at) {
    this.add("fast commits", at, Math.min(4 * this.blockSize, this.image.length - at), (bytes) => {
      let sum = 0;
      const last = Math.min(at + 8 * this.blockSize, bytes.length - this.blockSize);
      for (let block = at; block <= last; block += this.blockSize) {
        for (let record = block; record + 12 <= block + this.blockSize; ) {
          const end = record + 4 + bytes.readUInt16LE(record + 2);
          if (end > block + this.blockSize) return;
          const isTail = bytes.readUInt16LE(record) === 8;
          sum = this.crc32c(sum, bytes, record, isTail ? record + 8 : end);
          if (isTail) {
            bytes.writeUInt32LE(sum, record + 8);
            sum = 0;
          }
          record = end;
        }
      }
    });
  }
}
