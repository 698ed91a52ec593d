/** What a server does first with a mount that another one has served before it. */
import { setImmediate } from "node:timers/promises";
import type { Notifier } from "../fuse/kernel/notify.js";
import { readLedger, visitSlots } from "./ledger.js";

/** Nodes that are dropped before other work gets its turn. */
const AT_ONCE = 1000;

/** How a mount is gone on with. */
export interface TakenOver {
  /** Whether the kernel hands out again what the other server has not answered; else it is in the record. */
  readonly isResent: boolean;
  /** Does what is left: to be called when another thread serves, as the kernel waits for its answers. */
  finish(): Promise<void>;
}

/**
 * Has the kernel ask again for everything that it was told, as the guests may have changed it since, and hand out again
 * what the other server has not answered, if it can. `dropNames` is for kernels that cannot drop all names at once.
 */
export function takeOver(notifier: Notifier, ledger: number, dropNames: () => void): TakenOver {
  // Before anything is answered, so that no answer of this server's is dropped with the others'.
  const slots = readLedger(ledger);
  const areNamesDropped = notifier.increaseEpoch();
  const isResent = notifier.resend();
  return {
    isResent,
    finish: () => {
      if (!areNamesDropped) dropNames();
      return dropNodes(notifier, slots);
    },
  };
}

async function dropNodes(notifier: Notifier, slots: Uint32Array): Promise<void> {
  const nodes: number[] = [];
  visitSlots(slots, (high, low) => nodes.push(high, low));
  for (let at = 0; at < nodes.length; at += 2) {
    notifier.invalidateInode(nodes[at] as number, nodes[at + 1] as number);
    if (at % (2 * AT_ONCE) === 0) await setImmediate();
  }
}
