/**
 * A line of a stored log: ` scopes \t[+.]written\t{event}\n`. The scopes have a space before and after each, so that one of
 * them is found as " sda1:2 "; "." stands for the last event of its transaction; `written` is the host's clock in ms, base
 * 36. A line that begins with "#" is a checkpoint: what is known at that point, so that an opening need not read it all.
 */
import type { GuestEvent, Scope, ScopedEvent } from "./event.js";

/** Bytes of an event's JSON; a longer one is stored without its values. */
const MOST_JSON = 1 << 20;

export const SPACE = 0x20;
export const TAB = 0x09;
export const NEWLINE = 0x0a;
export const CHECKPOINT = 0x23;
export const DOT = 0x2e;
export const PLUS = 0x2b;
const BRACE = 0x7b;
const END_BRACE = 0x7d;

/** The text of a line, with its end. `written`: ms since 1970. */
export function lineText(
  { event, scopes, isLast }: ScopedEvent,
  keepsScopes: boolean,
  written: number,
): string {
  const prefix = keepsScopes && scopes.length > 0 ? ` ${scopes.join(" ")} ` : " ";
  return `${prefix}\t${isLast ? "." : "+"}${written.toString(36)}\t${eventText(event)}\n`;
}

function eventText(event: GuestEvent): string {
  const text = JSON.stringify(event);
  if (text.length <= MOST_JSON) return text;
  const { id, time, event: kind, host, guest, volume, transaction, inode } = event;
  const reason = "this event is too long to be stored whole";
  return JSON.stringify({ id, time, event: kind, host, guest, volume, transaction, inode, reason });
}

/** What a scope's lines have in them, between tabs: the scope itself, or that of all directories of its volume. */
export function needles(scope: Scope): readonly [Buffer, Buffer] {
  const volume = scope.slice(0, scope.lastIndexOf(":"));
  return [Buffer.from(` ${scope} `), Buffer.from(` ${wholeVolume(volume)} `)];
}

/** The scope of what concerns every directory of a volume: no inode has the number 0. */
export function wholeVolume(volume: string): Scope {
  return `${volume}:0`;
}

/** Where the parts of a line are. One object serves for many lines. */
export class LineParts {
  /** Of the tab after the scopes. */
  tab = 0;
  isLast = false;
  /** Of the event's first byte. */
  json = 0;

  /** Finds the parts of the line from `start` to its newline at `end`; false: it is none. */
  parse(buffer: Buffer, start: number, end: number): boolean {
    if (buffer[start] !== SPACE || buffer[end - 1] !== END_BRACE) return false;
    const tab = buffer.indexOf(TAB, start);
    if (tab < 0 || tab >= end) return false;
    const mark = buffer[tab + 1];
    if (mark !== DOT && mark !== PLUS) return false;
    const second = buffer.indexOf(TAB, tab + 1);
    if (second < 0 || second >= end || buffer[second + 1] !== BRACE) return false;
    this.tab = tab;
    this.isLast = mark === DOT;
    this.json = second + 1;
    return true;
  }

  /** When the line that was parsed was written: ms since 1970. */
  written(buffer: Buffer): number {
    return Number.parseInt(buffer.toString("latin1", this.tab + 2, this.json - 1), 36) || 0;
  }
}
