/** Inspecting a guest: by its images, or in the tree that a daemon serves. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../images/image.js";
import type { GuestFiles } from "../../inspect/guest-files.js";
import { type Facts, inspect } from "../../inspect/inspect.js";
import type { GuestSpec } from "../guest-name.js";
import { openGuestTree } from "../one-shot.js";
import { UserError } from "../user-error.js";
import { walk } from "../walk.js";
import { type ServedGuests, whyUnavailable } from "./guest-subject.js";
import { MountedFiles } from "./mounted-files.js";
import { TreeFiles } from "./tree-files.js";

export type { Facts } from "../../inspect/inspect.js";

/** A guest and what is known of it. */
export interface InspectedGuest extends Facts {
  readonly guest: string;
}

const HOST = "host";
const NOTHING: GuestFiles = { open: () => undefined, list: () => undefined, linkTarget: () => undefined };

/** Without a mount, and with no other rights than to read the images. Rejects with ImageError. */
export async function inspectImages(spec: GuestSpec): Promise<InspectedGuest> {
  const notes: string[] = [];
  const log: Log = (line) => void notes.push(line);
  const { tree, guests } = openGuestTree(HOST, spec, log);
  try {
    const root = walk(tree, { high: 0, low: 1 }, Buffer.from(`${HOST}/${spec.name}`), false);
    // A directory of the tree's own stands where no root is known.
    const isKnown = root.high !== 0;
    const shown = guests.flatMap(({ disks }) => disks.flatMap(({ volumes }) => volumes));
    if (!isKnown && shown.some(({ fileSystem }) => fileSystem !== undefined))
      notes.push("its root file system cannot be told from the others");
    const facts = await inspect(isKnown ? new TreeFiles(tree, root) : NOTHING);
    return { guest: spec.name, ...facts, notes: [...notes, ...facts.notes] };
  } finally {
    for (const { image } of guests.flatMap(({ disks }) => disks)) image.close();
  }
}

/** In the tree, by this user's rights and the tree's policy. Rejects with UserError. */
export async function inspectServed(served: ServedGuests, guest: string): Promise<InspectedGuest> {
  const reason = whyUnavailable(served, guest);
  if (reason !== undefined) throw new UserError(`${guest}: ${reason}`);
  const path = join(served.mount, served.status.host, guest);
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new UserError(
      `${guest}: ${path} is not there: is the tree mounted elsewhere? name it with --mount`,
    );
  return { guest, ...(await inspect(new MountedFiles(path))) };
}
