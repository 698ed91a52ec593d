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
  /** Lines on guests that are left out as another one has their name. */
  readonly passedOver: readonly string[];
}

/** `idOf`: what is the same for two paths of one file; "" if nothing is known. The lists come in the order of their say. */
export function mergeGuests(lists: readonly GuestList[], idOf: (image: string) => string): Merged {
  const wanted = new Map<string, WantedGuest>();
  const taken = new Set<string>();
  const passedOver: string[] = [];
  for (const { origin, guests, isDiscovered, isReady = false, isFixed = false } of lists) {
    for (const guest of guests) {
      const keys = guest.images.map((image) => idOf(image) || parseImage(image).path);
      if (guest.qmp !== undefined) keys.push(guest.qmp);
      if (isDiscovered && keys.some((key) => taken.has(key))) continue;
      const other = wanted.get(guest.name);
      if (other !== undefined) {
        const what = guest.images.join(", ") || guest.qmp || "a guest";
        passedOver.push(
          `${origin}: ${what} is not shown as ${guest.name}: there is a guest of that name from ${other.origin}`,
        );
        continue;
      }
      wanted.set(guest.name, { ...guest, origin, isReady, isFixed });
      for (const key of keys) taken.add(key);
    }
  }
  return { wanted, passedOver };
}
