/** What one version of an ext file system consists of: its structures, each read through the same view. */
import type { Log } from "../../images/image.js";
import type { View } from "../../versions/view.js";
import { Content } from "./content.js";
import { Directories } from "./directory.js";
import { Groups } from "./groups.js";
import { Inodes } from "./inode.js";
import type { FastCommit } from "./journal/fast-commit.js";
import { FastCommitState } from "./journal/fast-commit-state.js";
import type { Geometry } from "./superblock.js";
import { ExtendedAttributes } from "./xattr.js";

export class Parts {
  readonly geometry: Geometry;
  readonly view: View;
  readonly groups: Groups;
  readonly inodes: Inodes;
  readonly content: Content;
  readonly attributes: ExtendedAttributes;
  readonly directories: Directories;

  /** `fastCommits`: those that follow the last full transaction. */
  constructor(geometry: Geometry, view: View, log: Log, fastCommits: readonly FastCommit[] = []) {
    this.geometry = geometry;
    this.view = view;
    this.groups = new Groups(geometry, view);
    this.inodes = new Inodes(geometry, view, this.groups);
    this.content = new Content(geometry, view);
    this.attributes = new ExtendedAttributes(geometry, view, this.inodes, this.content);
    this.directories = new Directories(geometry, view, this.inodes, this.content, this.attributes, log);
    if (fastCommits.length === 0) return;
    const state = new FastCommitState(fastCommits, new Parts(geometry, view, log), log);
    this.inodes.overlay = state;
    this.content.overlay = state;
    this.directories.overlay = state;
  }

  /** Forgets what is remembered of blocks, when the view has changed. */
  forget(): void {
    this.groups.forget();
    this.directories.forget();
  }
}
