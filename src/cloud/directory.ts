/** Directories that are no guest's: the top, the host, a guest without a root file system, `.volumes`. */
import type { Place } from "./place.js";

/** A directory of the tree's own. */
export class CloudDirectory {
  /** Its inode number, and the lower half of its node id. */
  readonly id: number;
  /** Where ".." leads; the top leads to itself. */
  readonly parent: CloudDirectory | Place | undefined;
  /** The guest that it belongs to; undefined: it is above all guests. */
  readonly guest: string | undefined;
  /** Children by name (one character a byte); hidden ones can be looked up but are not listed. */
  readonly children = new Map<string, CloudDirectory | Place>();
  readonly hidden = new Map<string, CloudDirectory | Place>();

  constructor(id: number, parent: CloudDirectory | Place | undefined, guest: string | undefined) {
    this.id = id;
    this.parent = parent;
    this.guest = guest;
  }

  child(name: string): CloudDirectory | Place | undefined {
    return this.children.get(name) ?? this.hidden.get(name);
  }
}
