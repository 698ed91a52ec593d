/** Which stored events somebody asks for. */
import type { GuestEvent } from "./event.js";
import { EventPattern } from "./pattern.js";

export interface SelectionOptions {
  /** ISO 8601, or a duration before now: `90s`, `10m`, `2h`, `7d`. */
  readonly since?: string | undefined;
  /** `HOST:VM:PATH-PATTERN` */
  readonly pattern?: string | undefined;
  /** By guest, the number of the last event that is known already: a JSON object. */
  readonly after?: string | undefined;
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export class Selection {
  readonly #since: number | undefined;
  readonly #pattern: EventPattern | undefined;
  readonly #after: ReadonlyMap<string, number> | undefined;

  /** Throws SyntaxError, which says what is wrong. */
  constructor({ since, pattern, after }: SelectionOptions) {
    this.#after = after === undefined ? undefined : idsOf(after);
    this.#since = since === undefined ? undefined : timeOf(since);
    this.#pattern = pattern === undefined ? undefined : new EventPattern(pattern);
  }

  /** The one guest whose events can be wanted; undefined if it may be more. */
  get guest(): string | undefined {
    return this.#pattern?.guest;
  }

  /** Whether a stored event is wanted. A line that is damaged is not. */
  takesStored(json: string): boolean {
    if (this.#since === undefined && this.#pattern === undefined && this.#after === undefined) return true;
    let event: GuestEvent;
    try {
      event = JSON.parse(json) as GuestEvent;
    } catch {
      return false;
    }
    if (this.#since !== undefined && !(Date.parse(event.time) >= this.#since)) return false;
    return event.id > (this.#after?.get(event.guest) ?? 0) && this.takes(event);
  }

  /** Whether an event that happens now is wanted. */
  takes(event: GuestEvent): boolean {
    return this.#pattern === undefined || this.#pattern.matches(event);
  }
}

function idsOf(text: string): Map<string, number> {
  try {
    return new Map(Object.entries(JSON.parse(text) as Record<string, number>));
  } catch {
    throw new SyntaxError("after: no JSON object with the number of each guest's last event");
  }
}

/** ms since 1970. */
function timeOf(text: string): number {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? [];
  if (count !== undefined && unit !== undefined) return Date.now() - Number(count) * (UNITS[unit] as number);
  const time = /^\d{4}-\d\d(-\d\d|$)/.test(text) ? Date.parse(text.replace(" ", "T")) : Number.NaN;
  if (Number.isNaN(time))
    throw new SyntaxError(
      `${text}: no time; write one as 2026-01-31T12:00, or how long ago: 90s, 10m, 2h, 7d`,
    );
  return time;
}
