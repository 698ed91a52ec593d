/** A policy as it is handed from process to process, and from thread to thread. */
import type { Ownership } from "./ownership.js";
import type { PolicyRule } from "./settings.js";

export interface Policy {
  /** Who may see what: of a path, the first one that matches it or a directory above it holds. */
  readonly rules: readonly PolicyRule[];
  readonly ownership: readonly Ownership[];
}

/** All is shown, as in the guests. */
export const NO_POLICY: Policy = { rules: [], ownership: [] };
