/** An event as a line of text: columns, and colours where they are wanted. */
import type { GuestEvent } from "../daemon/read-events.js";

type Values = NonNullable<GuestEvent["old"]>;

const COLOURS: Readonly<Record<string, number>> = {
  created: 32,
  symlink: 32,
  linked: 32,
  deleted: 31,
  unlinked: 31,
  renamed: 36,
  content: 33,
  written: 33,
  attributes: 35,
  xattr: 35,
  gap: 41,
};
const DIM = 2;

/** The longest kind of event is "attributes". */
const KIND_WIDTH = 10;
/** Columns grow with what is in them, up to here. */
const MOST_GUEST_WIDTH = 24;
const MOST_PATH_WIDTH = 48;
/** Characters of an extended attribute's value that are shown. */
const MOST_VALUE = 40;

/** Writes events below each other. */
export class EventText {
  readonly #isColoured: boolean;
  #guestWidth = 6;
  #pathWidth = 24;

  constructor(isColoured: boolean) {
    this.#isColoured = isColoured;
  }

  /** The line, with its end. */
  line(event: Partial<GuestEvent>): string {
    const guest = visible(event.guest ?? "-");
    const kind = visible(event.event ?? "-");
    const path = pathText(event);
    const details = detailsText(event);
    this.#guestWidth = Math.min(Math.max(this.#guestWidth, guest.length), MOST_GUEST_WIDTH);
    this.#pathWidth = Math.min(Math.max(this.#pathWidth, path.length), MOST_PATH_WIDTH);
    const columns = [
      this.#colour(DIM, timeText(event.time)),
      guest.padEnd(this.#guestWidth),
      this.#colour(COLOURS[kind] ?? 0, kind) + " ".repeat(Math.max(0, KIND_WIDTH - kind.length)),
      details === "" ? path : path.padEnd(this.#pathWidth),
      details,
    ];
    return `${columns.join("  ").trimEnd()}\n`;
  }

  #colour(code: number, text: string): string {
    return this.#isColoured ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
}

const ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** A text from a guest, in which nothing moves a cursor, ends a line or turns the direction of writing. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\\]/gu, (character) => {
    const code = (character.codePointAt(0) as number).toString(16);
    return ESCAPES[character] ?? (code.length > 2 ? `\\u{${code}}` : `\\x${code.padStart(2, "0")}`);
  });
}

/** `03-04 05:06:07`, in this host's time zone. */
function timeText(time: string | undefined): string {
  const date = new Date(time ?? "");
  if (Number.isNaN(date.getTime())) return "-".padEnd(14);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function pathText({ event, volume, path, from, name, inode }: Partial<GuestEvent>): string {
  if (event === "gap") return volume === undefined ? "-" : visible(volume);
  const now = path ?? (name === undefined ? `inode ${inode ?? "?"}` : `?/${name}`);
  return event === "renamed" && from !== undefined ? `${visible(from)} → ${visible(now)}` : visible(now);
}

/** Ranges of written bytes that are shown. */
const MOST_RANGES = 3;

function detailsText({ event, type, range, ranges, old, new: now, reason }: Partial<GuestEvent>): string {
  switch (event) {
    case "created":
      return list([
        type,
        now?.mode,
        type === "file" ? sizeText(now?.size) : undefined,
        now?.device && `device ${visible(now.device)}`,
      ]);
    case "deleted":
      return list([type, type === "file" ? sizeText(old?.size) : undefined]);
    case "symlink":
      return now?.target === undefined ? "" : `→ ${visible(now.target)}`;
    case "content":
      return list([
        old?.size === now?.size
          ? sizeText(now?.size)
          : `${sizeText(old?.size) ?? "?"} → ${sizeText(now?.size) ?? "?"}`,
        range && `bytes ${range[0]} to ${range[1]}`,
      ]);
    case "written":
      return list([
        ...(ranges ?? []).slice(0, MOST_RANGES).map(([at, length]) => `${sizeText(length)} at ${at}`),
        ranges !== undefined && ranges.length > MOST_RANGES
          ? `and ${ranges.length - MOST_RANGES} more`
          : undefined,
      ]);
    case "linked":
    case "unlinked":
      return step("links", old?.nlink, now?.nlink);
    case "attributes":
      return list(attributeTexts(old ?? {}, now ?? {}));
    case "xattr":
      return list(xattrTexts(old?.xattrs ?? {}, now?.xattrs ?? {}));
    default:
      return reason === undefined ? "" : visible(reason);
  }
}

function attributeTexts(old: Values, now: Values): (string | undefined)[] {
  const time = (value: string | undefined): string | undefined => value && timeText(value);
  const hex = (value: number | undefined): string | undefined =>
    value === undefined ? undefined : `0x${value.toString(16)}`;
  return [
    old.mode === now.mode ? undefined : `${old.mode ?? "?"} → ${now.mode ?? "?"}`,
    old.uid === now.uid ? undefined : step("uid", old.uid, now.uid),
    old.gid === now.gid ? undefined : step("gid", old.gid, now.gid),
    old.flags === now.flags ? undefined : step("flags", hex(old.flags), hex(now.flags)),
    old.mtime === now.mtime ? undefined : step("mtime", time(old.mtime), time(now.mtime)),
  ];
}

function xattrTexts(old: Readonly<Record<string, string>>, now: Readonly<Record<string, string>>): string[] {
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])];
  return names.map((name) => {
    const before = Object.hasOwn(old, name) ? valueText(old[name] as string) : undefined;
    const after = Object.hasOwn(now, name) ? valueText(now[name] as string) : undefined;
    if (after === undefined) return `${visible(name)} removed`;
    return before === undefined ? `${visible(name)} = ${after}` : `${visible(name)} ${before} → ${after}`;
  });
}

function valueText(value: string): string {
  return `"${visible(value.length > MOST_VALUE ? `${value.slice(0, MOST_VALUE)}…` : value)}"`;
}

function step(name: string, old: number | string | undefined, now: number | string | undefined): string {
  return `${name} ${visible(String(old ?? "?"))} → ${visible(String(now ?? "?"))}`;
}

function list(parts: readonly (string | undefined)[]): string {
  return parts.filter((part) => part !== undefined && part !== "").join(", ");
}

/** `1.2 kB` */
export function sizeText(bytes: number | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let value = bytes / 1000;
  let unit = 0;
  for (; value >= 999.95 && unit < units.length - 1; unit++) value /= 1000;
  return `${value.toFixed(1)} ${units[unit]}`;
}
