/** Where files lie, and their bytes, as the version that has been agreed on has them. */
import { IoError } from "../../../images/io-error.js";
import { BlockKind } from "../../block-kind.js";
import type { BlockSink } from "../../crawler.js";
import { FileType } from "../../filesystem.js";
import type { FileFacts, FileMaps } from "../../follower.js";
import { Content } from "../content.js";
import { DirectoryEntry } from "../entry.js";
import { rootEntry, visitExtents } from "../extents.js";
import type { Layout } from "../layout.js";
import { Parts } from "../parts.js";
import type { KeptBlocks } from "./overlay.js";
import type { KnownTree } from "./tree.js";

export class ClusterFileMaps implements FileMaps {
  readonly blockSize: number;
  readonly #layout: Layout;
  readonly #tree: KnownTree;
  readonly #parts: Parts;
  readonly #content: Content;
  readonly #entry = new DirectoryEntry();

  constructor(layout: Layout, blocks: KeptBlocks, tree: KnownTree) {
    this.#layout = layout;
    this.#tree = tree;
    this.blockSize = layout.sectorSize;
    this.#parts = new Parts(layout, blocks);
    this.#content = new Content(layout, blocks, this.#parts.chains);
  }

  /** Something has been taken. */
  forget(): void {
    this.#parts.forget();
  }

  facts(ino: number, out: FileFacts): boolean {
    const file = this.#tree.files.get(ino);
    if (file === undefined) {
      out.generation = 0;
      out.mode = FileType.DIRECTORY | 0o755;
      out.size = 0;
      return ino === this.#layout.rootInode;
    }
    out.generation = file.state.generation;
    out.mode = file.state.mode;
    out.size = file.state.size;
    return true;
  }

  extents(ino: number, sink: BlockSink): void {
    const entry = this.#read(ino);
    if (entry === undefined) return;
    const kind = entry.isDirectory ? BlockKind.DIRECTORY : BlockKind.DATA;
    try {
      visitExtents(this.#layout, this.#parts, this.#content, entry, (logical, physical, count) =>
        sink.extent(physical, count, ino, logical, kind),
      );
    } catch (error) {
      // Of what cannot be read nobody knows where it lies.
      if (!(error instanceof IoError)) throw error;
    }
  }

  /** See Follower. Throws IoError. */
  read(ino: number, generation: number, position: number, length: number): Buffer | undefined {
    const file = this.#tree.files.get(ino);
    if (file === undefined || file.isDirectory || file.state.generation !== generation) return undefined;
    const entry = this.#read(ino);
    if (entry === undefined) return undefined;
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, entry.size - position)));
    if (bytes.length > 0) this.#content.read(entry, position, bytes.length, bytes, 0);
    return bytes;
  }

  #read(ino: number): DirectoryEntry | undefined {
    const entry = this.#entry;
    if (ino === this.#layout.rootInode) return rootEntry(this.#layout, entry);
    const file = this.#tree.files.get(ino);
    if (file === undefined || file.isBad) return undefined;
    try {
      this.#parts.directories.entryAt(file.place, entry);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return undefined;
    }
    return entry.ino === ino ? entry : undefined;
  }
}
