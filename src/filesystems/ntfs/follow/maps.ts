/** Where files lie, as a follower's steps have left them. */
import { IoError } from "../../../images/io-error.js";
import type { BlockSink } from "../../crawler.js";
import { Attributes } from "../../filesystem.js";
import type { FileFacts, FileMaps } from "../../follower.js";
import { Inode } from "../inode.js";
import { InodeClusters } from "../inode-clusters.js";
import type { Parts } from "../parts.js";

export class NtfsFileMaps implements FileMaps {
  readonly blockSize: number;
  readonly #parts: Parts;
  readonly #inode: Inode;
  readonly #attributes = new Attributes();
  readonly #clusters: InodeClusters;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.blockSize = parts.geometry.clusterSize;
    this.#inode = new Inode(parts.mft);
    this.#clusters = new InodeClusters(parts.mft);
  }

  facts(ino: number, out: FileFacts): boolean {
    try {
      this.#parts.attributes.fill(this.#inode.load(ino), this.#attributes);
      out.generation = this.#attributes.generation;
      out.mode = this.#attributes.mode;
      out.size = this.#attributes.size;
      return true;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return false;
    }
  }

  extents(ino: number, sink: BlockSink): void {
    try {
      this.#clusters.tell(this.#inode.load(ino), sink);
    } catch (error) {
      // Of what cannot be read nobody knows where it lies.
      if (!(error instanceof IoError)) throw error;
    }
  }
}
