/** Which guests are wanted, from all who have a say: the first one who names a guest, or an image, has it. */
import type { FoundGuest } from "../discovery/source.js";
import { parseImage } from "../image-name.js";

/** Guests that one place names. */
export interface GuestList {
  /** For people: "the configuration", "libvirt". */
  readonly origin: string;
  readonly guests: readonly FoundGuest[];
  /** Whether it found them by itself: such a guest is left out where another one has its images already. */
  readonly isDiscovered: boolean;
  /** Whether its images are what can be read already: no other format, and not to be looked at. Default: no. */
  readonly isReady?: boolean;
  /** Whether they are read as they were at the start, whatever becomes of the files. Default: no. */
  readonly isFixed?: boolean;
}

/** A guest that is wanted. */
export interface WantedGuest extends FoundGuest {
  readonly origin: string;
  readonly isReady: boolean;
  readonly isFixed: boolean;
}

export interface Merged {
  readonly wanted: ReadonlyMap<string, WantedGuest>;
  /** Lines on guests that are left out as another one has their name, or their image. */
  readonly passedOver: readonly string[];
}

/** `idOf`: what is the same for two paths of one file; "" if nothing is known. The lists come in the order of their say. */
export function mergeGuests(lists: readonly GuestList[], idOf: (image: string) => string): Merged {
  const wanted = new Map<string, WantedGuest>();
  /** By what is the same for all paths of an image: who has it. */
  const taken = new Map<string, WantedGuest>();
  const passedOver: string[] = [];
  for (const { origin, guests, isDiscovered, isReady = false, isFixed = false } of lists) {
    for (const guest of guests) {
      const keys = guest.images.map((image) => idOf(image) || parseImage(image).path);
      if (guest.qmp !== undefined) keys.push(guest.qmp);
      const owner = keys.map((key) => taken.get(key)).find((one) => one !== undefined);
      if (isDiscovered && owner !== undefined) {
        // One that is named stands in for it; two that were found are for the administrator to tell apart.
        if (owner.origin === origin)
          passedOver.push(
            `${origin}: ${guest.name} is not shown: ${owner.name} has an image in common with it; name it in the configuration to have both`,
          );
        continue;
      }
      const other = wanted.get(guest.name);
      if (other !== undefined) {
        const what = guest.images.join(", ") || guest.qmp || "a guest";
        passedOver.push(
          `${origin}: ${what} is not shown as ${guest.name}: there is a guest of that name from ${other.origin}`,
        );
        continue;
      }
      const one = { ...guest, origin, isReady, isFixed };
      wanted.set(guest.name, one);
      for (const key of keys) if (!taken.has(key)) taken.set(key, one);
    }
  }
  return { wanted, passedOver };
}
