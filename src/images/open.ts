/** Every kind of image that can be opened, a line each. */
import type { Image } from "./image.js";
import { openNbdImage } from "./nbd/nbd-image.js";
import { isNbdUrl } from "./nbd/url.js";
import { openRawImage } from "./raw.js";

/** Opens an image for reading: an NBD URL, else a path. Throws ImageError. */
export function openImage(name: string): Image {
  if (isNbdUrl(name)) return openNbdImage(name);
  return openRawImage(name);
}
