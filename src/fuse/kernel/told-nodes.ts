import type { Entry, Tree } from "../../cloud/tree.js";
import type { NodeLedger } from "./node-ledger.js";
import { Size } from "./protocol.js";
import { MAX_PAYLOAD } from "./reply.js";

/** Words: the node's two halves and its generation. */
const WORDS = 3;
/** Nodes in the longest answer to READDIRPLUS. */
const MOST = Math.ceil(MAX_PAYLOAD / (Size.ENTRY + Size.DIRENT));

/** The nodes in the answer that is being made: once it is sent, the kernel has them. */
export class ToldNodes {
  readonly #words = new Uint32Array(WORDS * MOST);
  #used = 0;

  clear(): void {
    this.#used = 0;
  }

  add({ high, low, generation }: Entry): void {
    this.#words[this.#used++] = high;
    this.#words[this.#used++] = low;
    this.#words[this.#used++] = generation;
  }

  /** The answer is about to be sent. */
  tell(tree: Tree, ledger: NodeLedger | undefined): void {
    for (let at = 0; at < this.#used; at += WORDS) {
      const high = this.#words[at] as number;
      const low = this.#words[at + 1] as number;
      const generation = this.#words[at + 2] as number;
      ledger?.node(high, low, generation);
      tree.told(high, low, generation);
    }
    this.#used = 0;
  }
}
