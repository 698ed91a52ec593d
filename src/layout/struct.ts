/**
 * On-disk structures declared as tables: a name, an offset and a type for each field, as the format's
 * own documentation has them. A structure is read in place, a field when it is asked for.
 */

/** One field of a structure: where it lies, how long it is, and how its getter is made. */
export interface Field<T> {
  /** Bytes from the start of the structure. */
  readonly offset: number;
  /** Bytes that the field takes. */
  readonly size: number;
  /** Makes the getter; `this` is the structure read in place. */
  readonly getter: () => (this: Place) => T;
}

/** Where a structure is being read: a buffer and the structure's first byte in it. */
export interface Place {
  buffer: Buffer;
  base: number;
}

type Fields = Record<string, Field<unknown>>;

/** A structure being read in place: its fields as properties, and `move` to look elsewhere. */
export type Structure<F extends Fields> = Place & {
  readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never;
} & {
  /** Reads the same structure at another place from now on; returns itself. Throws RangeError if it does not fit. */
  move(buffer: Buffer, base: number): Structure<F>;
};

/** A declared structure. */
export interface StructureType<F extends Fields> {
  readonly structureName: string;
  /** Bytes. */
  readonly size: number;
  readonly fields: F;
  /** Reads the structure at `base` (bytes) of `buffer`. Throws RangeError if it does not fit. */
  at(buffer: Buffer, base?: number): Structure<F>;
}

/** A type of a structure declared with `structure`. */
export type Of<S> = S extends StructureType<infer F> ? Structure<F> : never;

/** Declares a structure of `size` bytes. Throws if a field reaches past its end. */
export function structure<F extends Fields>(
  structureName: string,
  size: number,
  fields: F,
): StructureType<F> {
  class Reader implements Place {
    buffer: Buffer;
    base: number;

    constructor(buffer: Buffer, base: number) {
      this.buffer = buffer;
      this.base = base;
      this.move(buffer, base);
    }

    move(buffer: Buffer, base: number): this {
      if (!(base >= 0 && base + size <= buffer.length)) {
        throw new RangeError(`${structureName}: ${size} bytes at ${base} do not fit in ${buffer.length}`);
      }
      this.buffer = buffer;
      this.base = base;
      return this;
    }
  }
  for (const [name, field] of Object.entries(fields)) {
    if (field.offset + field.size > size)
      throw new Error(`${structureName}.${name} reaches past its structure`);
    Object.defineProperty(Reader.prototype, name, { get: field.getter(), enumerable: true });
  }
  return {
    structureName,
    size,
    fields,
    at: (buffer, base = 0) => new Reader(buffer, base) as unknown as Structure<F>,
  };
}

// Each kind has its own getter literal, so that V8 sees one kind of buffer access in each.

/** An unsigned byte. */
export const u8 = (offset: number): Field<number> => ({
  offset,
  size: 1,
  getter: () =>
    function () {
      return this.buffer[this.base + offset] as number;
    },
});

/** A little-endian unsigned 16-bit number. */
export const u16 = (offset: number): Field<number> => ({
  offset,
  size: 2,
  getter: () =>
    function () {
      return this.buffer.readUInt16LE(this.base + offset);
    },
});

/** A little-endian unsigned 32-bit number. */
export const u32 = (offset: number): Field<number> => ({
  offset,
  size: 4,
  getter: () =>
    function () {
      return this.buffer.readUInt32LE(this.base + offset);
    },
});

/** A little-endian signed 32-bit number. */
export const i32 = (offset: number): Field<number> => ({
  offset,
  size: 4,
  getter: () =>
    function () {
      return this.buffer.readInt32LE(this.base + offset);
    },
});

/** A little-endian unsigned 64-bit number as a double: exact to 2^53, rounded beyond. */
export const u64 = (offset: number): Field<number> => ({
  offset,
  size: 8,
  getter: () =>
    function () {
      const at = this.base + offset;
      return this.buffer.readUInt32LE(at) + this.buffer.readUInt32LE(at + 4) * 0x1_0000_0000;
    },
});

/** A big-endian unsigned 16-bit number. */
export const u16be = (offset: number): Field<number> => ({
  offset,
  size: 2,
  getter: () =>
    function () {
      return this.buffer.readUInt16BE(this.base + offset);
    },
});

/** A big-endian unsigned 32-bit number. */
export const u32be = (offset: number): Field<number> => ({
  offset,
  size: 4,
  getter: () =>
    function () {
      return this.buffer.readUInt32BE(this.base + offset);
    },
});

/** A big-endian unsigned 64-bit number as a double: exact to 2^53, rounded beyond. */
export const u64be = (offset: number): Field<number> => ({
  offset,
  size: 8,
  getter: () =>
    function () {
      const at = this.base + offset;
      return this.buffer.readUInt32BE(at) * 0x1_0000_0000 + this.buffer.readUInt32BE(at + 4);
    },
});

/** `size` bytes, as a view of the buffer (not a copy). */
export const bytes = (offset: number, size: number): Field<Buffer> => ({
  offset,
  size,
  getter: () =>
    function () {
      const at = this.base + offset;
      return this.buffer.subarray(at, at + size);
    },
});

/** Text of at most `size` bytes, ended by a NUL if it is shorter; read as UTF-8. */
export const text = (offset: number, size: number): Field<string> => ({
  offset,
  size,
  getter: () =>
    function () {
      const at = this.base + offset;
      const field = this.buffer.subarray(at, at + size);
      const end = field.indexOf(0);
      return field.toString("utf8", 0, end < 0 ? size : end);
    },
});

/** A UUID of 16 bytes in the order in which it is written (as ext and LVM store it). */
export const uuid = (offset: number): Field<string> => ({
  offset,
  size: 16,
  getter: () =>
    function () {
      const at = this.base + offset;
      const hex = this.buffer.toString("hex", at, at + 16);
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    },
});
