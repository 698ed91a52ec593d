/** What a server does first with a mount that another one has served before it. */
import { setImmediate } from "node:timers/promises";
import type { Notifier } from "../fuse/kernel/notify.js";
import { readLedger, visitSlots } from "./ledger.js";

/** Nodes that are dropped before other work gets its turn. */
const AT_ONCE = 1000;

/**
 * Has the kernel ask again for everything that it was told, as the guests may have changed it since, and hand out again
 * what the other server has not answered. Another thread must be serving. `dropNames` is for kernels that cannot drop
 * all names at once. Returns what is left to be done, the dropping of attributes and data; undefined if the kernel
 * cannot hand out requests again.
 */
export function takeOver(
  notifier: Notifier,
  ledger: number,
  dropNames: () => void,
): (() => Promise<void>) | undefined {
  // Before anything is answered, so that no answer of this server's is dropped with the others'.
  const slots = readLedger(ledger);
  if (!notifier.increaseEpoch()) dropNames();
  if (!notifier.resend()) return undefined;
  return () => dropNodes(notifier, slots);
}

async function dropNodes(notifier: Notifier, slots: Uint32Array): Promise<void> {
  const nodes: number[] = [];
  visitSlots(slots, (high, low) => nodes.push(high, low));
  for (let at = 0; at < nodes.length; at += 2) {
    notifier.invalidateInode(nodes[at] as number, nodes[at + 1] as number);
    if (at % (2 * AT_ONCE) === 0) await setImmediate();
  }
}
