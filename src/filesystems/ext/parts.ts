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
  readonly #log: Log;
  #fastCommits: FastCommitState | undefined;

  /** `fastCommits`: those that follow the last full transaction. */
  constructor(geometry: Geometry, view: View, log: Log, fastCommits: readonly FastCommit[] = []) {
    this.geometry = geometry;
    this.view = view;
    this.#log = log;
    this.groups = new Groups(geometry, view);
    this.inodes = new Inodes(geometry, view, this.groups);
    this.content = new Content(geometry, view);
    this.attributes = new ExtendedAttributes(geometry, view, this.inodes, this.content);
    this.directories = new Directories(geometry, view, this.inodes, this.content, this.attributes, log);
    for (const commit of fastCommits) this.addFastCommit(commit);
  }

  /** What the fast commits in force change; undefined: there are none. */
  get fastCommits(): FastCommitState | undefined {
    return this.#fastCommits;
  }

  /** Lays one more fast commit over what the view says. */
  addFastCommit(commit: FastCommit): void {
    if (this.#fastCommits === undefined) {
      const { geometry, view } = this;
      this.#overlay(new FastCommitState(new Parts(geometry, view, this.#log), this.#log));
    }
    this.#fastCommits?.add(commit);
  }

  /** Takes all fast commits away: to be called before a full transaction is applied, which has in it what they said. */
  dropFastCommits(): void {
    if (this.#fastCommits !== undefined) this.#overlay(undefined);
  }

  /** Forgets what is remembered of blocks, when the view has changed. */
  forget(): void {
    this.groups.forget();
    this.directories.forget();
  }

  #overlay(state: FastCommitState | undefined): void {
    this.#fastCommits = state;
    this.inodes.overlay = state;
    this.content.overlay = state;
    this.directories.overlay = state;
  }
}
