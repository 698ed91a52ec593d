/** What a user names to have it looked at: images, or guests that a daemon serves. */
import { statSync } from "node:fs";
import { isNamedElsewhere } from "../../images/named-elsewhere.js";
import { type GuestSpec, parseGuests } from "../guest-name.js";
import { parseImage } from "../image-name.js";
import { type DaemonStatus, readStatus } from "../read-status.js";
import { stateDirectoryFor } from "../state-directory.js";
import { UserError } from "../user-error.js";

/** Which daemon is meant. */
export interface DaemonPlace {
  readonly mount: string;
  readonly state?: string;
}

export interface Subjects {
  readonly images: readonly GuestSpec[];
  /** Undefined: no daemon is asked. */
  readonly served: ServedGuests | undefined;
}

export interface ServedGuests {
  readonly mount: string;
  readonly status: DaemonStatus;
  /** Those that are meant; they may be unavailable. */
  readonly guests: readonly string[];
}

/**
 * Sorts out arguments: a name is a guest's that is served, unless there is a file of that name; anything else is an image,
 * as `up` takes it. Without arguments all guests that are served are meant. Throws UserError, ImageError.
 */
export async function subjectsOf(given: readonly string[], { mount, state }: DaemonPlace): Promise<Subjects> {
  const names = given.filter(isName);
  const images = parseGuests(given.filter((argument) => !isName(argument)));
  if (given.length > 0 && names.length === 0) return { images, served: undefined };
  const status = await readStatus(stateDirectoryFor(mount, state)).catch((error: unknown) => {
    if (names.length === 0) throw error;
    throw new UserError(`${names[0]}: there is no such file; as a guest's name: ${(error as Error).message}`);
  });
  const known = new Set([...status.guests, ...status.unavailable.map(({ guest }) => guest)]);
  for (const name of names) {
    if (!known.has(name))
      throw new UserError(
        `${name}: there is no such image, and no such guest in ${mount}; there are: ${[...known].join(", ") || "none"}`,
      );
  }
  const wanted = names.length === 0 ? [...known] : [...new Set(names)];
  return { images, served: { mount, status, guests: wanted } };
}

function isName(argument: string): boolean {
  if (/[/=]/.test(argument) || isNamedElsewhere(argument) || parseImage(argument).format !== undefined)
    return false;
  return statSync(argument, { throwIfNoEntry: false }) === undefined;
}

/** Why a guest that is meant is not in the tree; undefined: it is there. */
export function whyUnavailable({ status }: ServedGuests, guest: string): string | undefined {
  return status.unavailable.find((each) => each.guest === guest)?.reason;
}
