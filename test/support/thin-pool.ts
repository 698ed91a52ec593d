/** Thin pools, put together from the contents of their volumes, with metadata by thin-provisioning-tools. */
import { closeSync, openSync, readSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { run } from "./images-mount.js";

/** What a volume in a pool is to hold. */
export interface ThinContent {
  /** Its number in the pool. */
  readonly device: number;
  readonly image: string;
}

/** Bytes of a block of data. */
export const CHUNK = 65_536;

/** Where each block of each volume lies; blocks of equal bytes share a place, as those of snapshots do. */
export type Places = Map<number, Map<number, number>>;

/** XML as thin_restore(8) takes it. */
export function thinXml(places: Places, blocks: number, transaction: number): string {
  const devices = [...places].map(([device, mapped]) => {
    const singles = [...mapped]
      .sort(([a], [b]) => a - b)
      .map(([block, place]) => `<single_mapping origin_block="${block}" data_block="${place}" time="1"/>`);
    return `<device dev_id="${device}" mapped_blocks="${mapped.size}" transaction="0" creation_time="0" snap_time="1">
${singles.join("\n")}\n</device>`;
  });
  return `<superblock uuid="" time="1" transaction="${transaction}" version="2" data_block_size="${CHUNK / 512}" nr_data_blocks="${blocks}">
${devices.join("\n")}\n</superblock>`;
}

/** Metadata of so many bytes in a file, which thin_check(8) has nothing to say of. */
export async function makeMetadata(file: string, size: number, xml: string): Promise<void> {
  writeFileSync(`${file}.xml`, xml);
  writeFileSync(file, Buffer.alloc(size));
  await run("thin_restore", ["-q", "-i", `${file}.xml`, "-o", file]);
  await run("thin_check", ["-q", file]);
}

/** The data and the metadata of a pool, in two files. */
export class ThinPoolFiles {
  readonly data: string;
  readonly metadata: string;
  readonly #blocks: number;
  readonly #metadataSize: number;
  /** Places all over the pool, in no order. */
  readonly #free: number[];
  /** By block and bytes: the place. */
  readonly #known = new Map<string, number>();
  #transaction = 0;

  /** `data`, `metadata`: bytes of each. */
  constructor(folder: string, sizes: { readonly data: number; readonly metadata: number }) {
    this.data = join(folder, "pool.data");
    this.metadata = join(folder, "pool.metadata");
    this.#blocks = sizes.data / CHUNK;
    this.#metadataSize = sizes.metadata;
    this.#free = shuffled(this.#blocks);
    writeFileSync(this.data, "");
    truncateSync(this.data, sizes.data);
  }

  /** Makes the volumes of the pool: what is new comes to where nothing has been. Blocks of zeros have no place. */
  async write(contents: readonly ThinContent[]): Promise<void> {
    const output = openSync(this.data, "r+");
    const places: Places = new Map();
    const zeros = Buffer.alloc(CHUNK);
    const bytes = Buffer.alloc(CHUNK);
    for (const { device, image } of contents) {
      const mapped = new Map<number, number>();
      places.set(device, mapped);
      const input = openSync(image, "r");
      for (let block = 0; block * CHUNK < statSync(image).size; block++) {
        bytes.fill(0);
        readSync(input, bytes, 0, CHUNK, block * CHUNK);
        if (bytes.equals(zeros)) continue;
        const key = `${block} ${bytes.toString("latin1")}`;
        const place = this.#known.get(key) ?? this.#free.pop();
        if (place === undefined) throw new Error("the pool is too small");
        this.#known.set(key, place);
        mapped.set(block, place);
        writeSync(output, bytes, 0, CHUNK, place * CHUNK);
      }
      closeSync(input);
    }
    closeSync(output);
    const xml = thinXml(places, this.#blocks, ++this.#transaction);
    await makeMetadata(this.metadata, this.#metadataSize, xml);
  }
}

function shuffled(count: number): number[] {
  const list = Array.from({ length: count }, (_, n) => n);
  let state = 1;
  for (let last = count - 1; last > 0; last--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (last + 1));
    [list[last], list[other]] = [list[other]!, list[last]!];
  }
  return list;
}
