/** Files of guests that have been moved: a guest that was named keeps its name where its file is found elsewhere. */
import type { FoundGuest } from "../discovery/source.js";
import type { AddedGuests } from "./added-guests.js";
import type { ImageLooks } from "./image-looks.js";
import type { GuestList } from "./merge.js";

/**
 * Returns what has guests read where their files are now. `fixed`: guests that were named with their images; which file was
 * where is noted in `kept`. `found`: where files are looked for.
 */
export function movedImages(
  fixed: readonly FoundGuest[],
  found: readonly GuestList[],
  looks: ImageLooks,
  kept: AddedGuests,
): (guests: readonly FoundGuest[]) => readonly FoundGuest[] {
  const places = new Map<string, string>();
  for (const image of found.flatMap(({ guests }) => guests.flatMap(({ images }) => images))) {
    const id = looks.at(image)?.id ?? "";
    if (id !== "") places.set(id, image);
  }
  const files = new Map<string, string>();
  for (const image of fixed.flatMap(({ images }) => images)) {
    const id = looks.at(image)?.id || kept.fileAt(image);
    if (id !== "") files.set(image, id);
  }
  kept.note(files);
  const placeOf = (image: string): string =>
    looks.at(image)?.id === "" ? (places.get(kept.fileAt(image)) ?? image) : image;
  return (guests) => guests.map((guest) => ({ ...guest, images: guest.images.map(placeOf) }));
}
