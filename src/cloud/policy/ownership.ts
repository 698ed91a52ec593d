/** As whose a guest's files are shown. */
import { Glob } from "../../events/glob.js";
import type { Attributes } from "../../filesystems/filesystem.js";

/** A rule of the settings, its accounts found. Of all, the first one that matches the guest holds. */
export interface Ownership {
  /** A pattern of guests. */
  readonly guest: string;
  /** Undefined: the guest's own. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** Permission bits that are taken away. */
  readonly umask: number;
}

export function ownershipOf(guest: string, rules: readonly Ownership[]): Ownership | undefined {
  return rules.find((rule) => new Glob(rule.guest).matches(guest));
}

/** Changes what is shown of a file of the guest. */
export function own({ uid, gid, umask }: Ownership, attributes: Attributes): void {
  attributes.mode &= ~umask;
  if (uid !== undefined) attributes.uid = uid;
  if (gid !== undefined) attributes.gid = gid;
}
