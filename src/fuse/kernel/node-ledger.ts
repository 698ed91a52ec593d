/** Keeps account of the nodes that the kernel has been told of, who may know them as long as it is mounted. */
export interface NodeLedger {
  /** A node is about to be told. Called for each entry: must be cheap for those that are known. */
  node(high: number, low: number, generation: number): void;
  /** An answer is about to be sent: after that, the kernel has what it says. */
  flush(): void;
}
