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

/** An event as JSON. A terminal that shows it obeys nothing in it. */
export function eventText(event: GuestEvent): string {
  const text = JSON.stringify(event).replace(CONTROLS, escaped);
  if (text.length <= MOST_JSON) return text;
  const { id, time, event: kind, host, guest, volume, transaction, part, inode } = event;
  const reason = "this event is too long to be stored whole";
  return JSON.stringify({ id, time, event: kind, host, guest, volume, transaction, part, inode, reason });
}

/** JSON escapes the control characters below 0x20; some terminals have an escape at 0x9b, too. */
const CONTROLS = /[\x7f-\x9f]/g;

function escaped(character: string): string {
  return `\\u00${character.charCodeAt(0).toString(16)}`;
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
    // Prefixes are short: a loop here takes less than a search by Buffer.
    let tab = start + 1;
    while (tab < end && buffer[tab] !== TAB) tab++;
    const mark = buffer[tab + 1];
    if (tab >= end || (mark !== DOT && mark !== PLUS)) return false;
    let second = tab + 2;
    while (second < end && buffer[second] !== TAB) second++;
    if (second >= end || buffer[second + 1] !== BRACE) return false;
    this.tab = tab;
    this.isLast = mark === DOT;
    this.json = second + 1;
    return true;
  }

  /** Whether the line that was parsed, which begins at `start`, has a scope; `needle` as `needles` has it. */
  has(buffer: Buffer, start: number, needle: Buffer): boolean {
    const { length } = needle;
    for (let at = start; at + length <= this.tab; at++) {
      let same = 0;
      while (same < length && buffer[at + same] === needle[same]) same++;
      if (same === length) return true;
    }
    return false;
  }

  /** When the line that was parsed was written: ms since 1970. */
  written(buffer: Buffer): number {
    return Number.parseInt(buffer.toString("latin1", this.tab + 2, this.json - 1), 36) || 0;
  }
}
