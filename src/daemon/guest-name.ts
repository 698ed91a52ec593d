/** What a user writes to name a guest and its disks: `[NAME=]IMAGE`, `NAME=IMAGE,IMAGE`. */
import { basename } from "node:path";
import { EVENTS, EVENTS_BEFORE } from "../cloud/event-files.js";
import { isNbdkitName } from "../images/named-elsewhere.js";
import { isNbdUrl, parseNbdUrl } from "../images/nbd/url.js";
import { isRemote } from "../images/remote.js";
import { isThere, parseImage, resolveImage } from "./image-name.js";
import { UserError } from "./user-error.js";

/** A guest as the user named it. */
export interface GuestSpec {
  readonly name: string;
  /** Absolute paths, with `FORMAT:` before where the user gave it, and NBD URLs; the first is the guest's sda. */
  readonly images: readonly string[];
  /** Whether an image lies on storage that may stall: across a network, or behind another program. */
  readonly isRemote?: boolean;
}

/** Reads one argument. Throws UserError when the name is none that a directory can have, and ImageError. */
export function parseGuest(argument: string): GuestSpec {
  const equals = argument.indexOf("=");
  // A path may have "=" in it too; a name has no slash, and an image that is there by the whole text is meant.
  const before = argument.slice(0, Math.max(0, equals));
  const { path } = parseImage(argument);
  const isNamed = before !== "" && !before.includes("/") && !isNbdkitName(path) && !isThere(path);
  const rest = isNamed ? argument.slice(equals + 1) : argument;
  // A comma in a path of what is remote separates two images.
  const images = isNamed && rest.includes(",") && !isThere(rest) ? rest.split(",") : [rest];
  if (images.some((image) => image === "")) {
    throw new UserError(`${argument}: an image's path is missing; write NAME=IMAGE or NAME=IMAGE,IMAGE`, 2);
  }
  const name = isNamed
    ? argument.slice(0, equals)
    : basename(isNbdUrl(rest) ? parseNbdUrl(rest).name : parseImage(rest).path);
  if (!isGuestName(name)) {
    throw new UserError(`${argument}: "${name}" cannot be a guest's name; write NAME=IMAGE`, 2);
  }
  return guestOf(name, images.map(resolveImage));
}

/** Names that mean something else where guests are. */
const OTHERS = ["", ".", "..", EVENTS, EVENTS_BEFORE];

/** Whether a directory of the tree can have it. */
export function isGuestName(name: string): boolean {
  return !OTHERS.includes(name) && !/[/\0]/.test(name) && Buffer.byteLength(name) <= 255;
}

/** Whether it can be this host's: a colon would divide it from the guest's in names of channels. */
export function isHostName(name: string): boolean {
  return isGuestName(name) && !name.includes(":");
}

/** A guest with these disks, named as in GuestSpec. */
export function guestOf(name: string, images: readonly string[]): GuestSpec {
  return { name, images, isRemote: images.some((image) => isRemote(parseImage(image).path)) };
}

/** Reads all arguments. Throws UserError when two guests have the same name. */
export function parseGuests(names: readonly string[]): GuestSpec[] {
  const guests = names.map(parseGuest);
  const seen = new Map<string, GuestSpec>();
  for (const guest of guests) {
    const other = seen.get(guest.name);
    if (other !== undefined) {
      throw new UserError(
        `two guests are named "${guest.name}" (${other.images[0]} and ${guest.images[0]}): name one with NAME=IMAGE`,
        2,
      );
    }
    seen.set(guest.name, guest);
  }
  return guests;
}
