/** What a log knows at its end: where its numbers stand, and which transactions it has. */
import type { GuestEvent } from "./event.js";
import { CHECKPOINT, DOT, PLUS, TAB } from "./line.js";

interface StoredState {
  readonly lastId: number;
  readonly ids: Readonly<Record<string, number>>;
  readonly transactions: Readonly<Record<string, number>>;
  readonly parts?: Readonly<Record<string, number>>;
}

export class LogState {
  /** Of the last event. */
  lastId = 0;
  /** Of the last event of each guest. */
  readonly ids = new Map<string, number>();
  /** The last transaction of each volume whose events are all there. */
  readonly transactions = new Map<string, number>();

  /** Of a transaction that is there only in part: the last part whose events are all there. */
  readonly parts = new Map<string, number>();

  copy(): LogState {
    const copy = new LogState();
    copy.lastId = this.lastId;
    for (const [guest, id] of this.ids) copy.ids.set(guest, id);
    for (const [volume, transaction] of this.transactions) copy.transactions.set(volume, transaction);
    for (const [volume, part] of this.parts) copy.parts.set(volume, part);
    return copy;
  }

  note({ id, event, guest, volume, transaction, part }: GuestEvent, isLast: boolean): void {
    this.lastId = id;
    this.ids.set(guest, id);
    // What was written belongs to no transaction.
    if (!isLast || event === "written") return;
    this.transactions.set(volume, transaction);
    if (part === undefined) this.parts.delete(volume);
    else this.parts.set(volume, part);
  }

  /** The line of a checkpoint. `isBetween`: no transaction is cut in two by it. */
  checkpoint(isBetween: boolean): string {
    const stored: StoredState = {
      lastId: this.lastId,
      ids: Object.fromEntries(this.ids),
      transactions: Object.fromEntries(this.transactions),
      ...(this.parts.size > 0 ? { parts: Object.fromEntries(this.parts) } : {}),
    };
    return `#\t${isBetween ? "." : "+"}\t${JSON.stringify(stored)}\n`;
  }

  /** Reads a checkpoint's line; `undefined` if it is none. */
  static parse(
    buffer: Buffer,
    start: number,
    end: number,
  ): { state: LogState; isBetween: boolean } | undefined {
    const mark = buffer[start + 2];
    if (buffer[start] !== CHECKPOINT || buffer[start + 1] !== TAB || buffer[start + 3] !== TAB)
      return undefined;
    if (mark !== DOT && mark !== PLUS) return undefined;
    try {
      const {
        lastId,
        ids,
        transactions,
        parts = {},
      } = JSON.parse(buffer.toString("utf8", start + 4, end)) as StoredState;
      const state = new LogState();
      state.lastId = lastId;
      for (const [guest, id] of Object.entries(ids)) state.ids.set(guest, id);
      for (const [volume, transaction] of Object.entries(transactions))
        state.transactions.set(volume, transaction);
      for (const [volume, part] of Object.entries(parts)) state.parts.set(volume, part);
      return { state, isBetween: mark === DOT };
    } catch {
      return undefined;
    }
  }
}
