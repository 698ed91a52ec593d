/** Guests that cannot be shown, and why. */
import type { PassOver } from "./guest.js";

/** A guest that cannot be opened. */
export interface GuestProblem {
  readonly guest: string;
  /** For people, in one line. */
  readonly reason: string;
}

/** What became of the opening of guests. */
export interface OpenedGuests {
  /** Those that are left out. */
  readonly problems: readonly GuestProblem[];
  /** Those that are shown, though nothing is on their disks. */
  readonly blank: readonly string[];
}

/** Collects in `problems` which guests are passed over; those that are required are an error. */
export function passingOver(required: readonly string[], problems: GuestProblem[]): PassOver {
  return (guest, error) => {
    if (required.includes(guest)) throw error;
    problems.push({ guest, reason: error.message });
  };
}
