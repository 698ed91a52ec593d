/** Images that are named by something else than a path: by a URL, or by what nbdkit is to offer. */
import { isNbdUrl } from "./nbd/url.js";

/** What `nbdkit:WORDS` begins with. */
export const NBDKIT_PREFIX = "nbdkit:";

/** Whether an image is read from a web server. */
export function isWebUrl(text: string): boolean {
  return /^https?:\/\//.test(text);
}

/** Whether an image is named by what nbdkit is to offer. */
export function isNbdkitName(text: string): boolean {
  return text.startsWith(NBDKIT_PREFIX);
}

/** Whether an image is named by something else than a path of this host's. */
export function isNamedElsewhere(text: string): boolean {
  return isNbdUrl(text) || isWebUrl(text) || isNbdkitName(text);
}
