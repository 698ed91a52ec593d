/** An attribute of a record (NTFS documentation, "Attributes"), read in place. */
import { EIO, IoError } from "../../images/io-error.js";
import { structure, u8, u16, u32, u64 } from "../../layout/struct.js";

/** Types of attributes. */
export const AttributeType = {
  STANDARD_INFORMATION: 0x10,
  ATTRIBUTE_LIST: 0x20,
  FILE_NAME: 0x30,
  OBJECT_ID: 0x40,
  SECURITY_DESCRIPTOR: 0x50,
  VOLUME_NAME: 0x60,
  VOLUME_INFORMATION: 0x70,
  DATA: 0x80,
  INDEX_ROOT: 0x90,
  INDEX_ALLOCATION: 0xa0,
  BITMAP: 0xb0,
  REPARSE_POINT: 0xc0,
  EA: 0xe0,
} as const;

/** Flags of an attribute: how its clusters hold its bytes. */
export const StreamFlags = { COMPRESSED: 0x00ff, ENCRYPTED: 0x4000, SPARSE: 0x8000 } as const;

const Header = structure("attribute", 24, {
  type: u32(0x0),
  length: u32(0x4),
  isNonResident: u8(0x8),
  /** Of 16 bits each. */
  nameLength: u8(0x9),
  nameOffset: u16(0xa),
  flags: u16(0xc),
  instance: u16(0xe),
  valueLength: u32(0x10),
  valueOffset: u16(0x14),
});

const NonResident = structure("non-resident attribute", 64, {
  lowestVcn: u64(0x10),
  highestVcn: u64(0x18),
  runsOffset: u16(0x20),
  compressionUnit: u8(0x22),
  allocatedSize: u64(0x28),
  dataSize: u64(0x30),
  initialisedSize: u64(0x38),
});
/** Where the size of what is allocated lies, in an attribute that is compressed or sparse. */
const COMPRESSED_SIZE = 0x40;
/** Sizes and numbers of clusters are signed on disk, and exact as numbers up to here. */
const MOST = 2 ** 53;
/** What is read before there is anything to read. */
const NOTHING = Buffer.alloc(64);

export class Attribute {
  /** What it lies in, and where. */
  buffer: Buffer = NOTHING;
  at = 0;
  readonly #header = Header.at(this.buffer);
  readonly #rest = NonResident.at(this.buffer);

  /** Reads the attribute at `at` of a record from now on. Throws IoError (EIO) if it reaches out of itself. */
  move(buffer: Buffer, at: number, record: number): void {
    this.buffer = buffer;
    this.at = at;
    const header = this.#header.move(buffer, at);
    const { length, valueOffset, valueLength, nameLength, nameOffset } = header;
    let isGood = nameLength === 0 || nameOffset + nameLength * 2 <= length;
    if (header.isNonResident === 0) isGood &&= valueOffset + valueLength <= length;
    else if (length < 64) isGood = false;
    else {
      const rest = this.#rest.move(buffer, at);
      isGood &&= rest.runsOffset <= length && rest.dataSize < MOST && rest.allocatedSize < MOST;
    }
    if (!isGood)
      throw new IoError(EIO, `MFT record ${record}: attribute 0x${header.type.toString(16)} is bad`);
  }

  get type(): number {
    return this.#header.type;
  }

  get flags(): number {
    return this.#header.flags;
  }

  get instance(): number {
    return this.#header.instance;
  }

  get isResident(): boolean {
    return this.#header.isNonResident === 0;
  }

  /** 16-bit units of its name. */
  get nameLength(): number {
    return this.#header.nameLength;
  }

  /** Where its name lies in the buffer. */
  get nameAt(): number {
    return this.at + this.#header.nameOffset;
  }

  /** Where a resident one's value lies in the buffer, and its bytes. */
  get valueAt(): number {
    return this.at + this.#header.valueOffset;
  }

  get valueLength(): number {
    return this.#header.valueLength;
  }

  /** Of one that is not resident: its first cluster here, and the last. */
  get lowestVcn(): number {
    return this.#rest.lowestVcn;
  }

  get highestVcn(): number {
    return this.#rest.highestVcn;
  }

  /** Where its runs lie in the buffer, and one past the last byte that they can have. */
  get runsAt(): number {
    return this.at + this.#rest.runsOffset;
  }

  get end(): number {
    return this.at + this.#header.length;
  }

  /** The logarithm of the clusters of a unit of compression; 0: none. */
  get compressionUnit(): number {
    return this.isResident ? 0 : this.#rest.compressionUnit;
  }

  /** Bytes; of one that is not resident, its first part tells. */
  get size(): number {
    return this.isResident ? this.valueLength : this.#rest.dataSize;
  }

  /** Bytes up to which it has been written; what follows reads as zeros. */
  get initialisedSize(): number {
    return this.isResident ? this.valueLength : this.#rest.initialisedSize;
  }

  /** Bytes that it takes on the volume. */
  get allocatedSize(): number {
    if (this.isResident) return 0;
    const isPacked = (this.flags & (StreamFlags.COMPRESSED | StreamFlags.SPARSE)) !== 0;
    if (!isPacked || this.#rest.runsOffset < COMPRESSED_SIZE + 8) return this.#rest.allocatedSize;
    const at = this.at + COMPRESSED_SIZE;
    return this.buffer.readUInt32LE(at) + this.buffer.readUInt32LE(at + 4) * 0x1_0000_0000;
  }
}
