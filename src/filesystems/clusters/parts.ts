/** What one version of a FAT or exFAT file system consists of, each part read through the same sectors. */
import type { Blocks } from "./blocks.js";
import { Chains } from "./chains.js";
import type { ClusterTable } from "./cluster-table.js";
import { Directories } from "./directories.js";
import type { Layout } from "./layout.js";

export class Parts {
  readonly layout: Layout;
  readonly table: ClusterTable;
  readonly chains: Chains;
  readonly directories: Directories;

  constructor(layout: Layout, blocks: Blocks) {
    this.layout = layout;
    this.table = layout.table(blocks);
    this.chains = new Chains(this.table, layout.clusters);
    this.directories = new Directories(layout, blocks, this.table, this.chains);
  }

  /** Something may have changed. */
  forget(): void {
    this.chains.forget();
    this.directories.forget();
  }
}
