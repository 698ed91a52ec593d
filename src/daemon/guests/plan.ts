/** What a configuration wants to be shown. */
import type { FoundGuest } from "../discovery/source.js";
import type { ServerSettings } from "../server-messages.js";
import type { SourcePlan } from "./sources.js";

export interface GuestPlan {
  readonly guests: readonly FoundGuest[];
  /** What finds more of them, the first to have its say first. */
  readonly sources: readonly SourcePlan[];
  /** How guests are shown; undefined: as at the start. Where events are kept cannot be changed. */
  readonly settings?: ServerSettings | undefined;
  /** Lines on what cannot be changed while the daemon runs. */
  readonly notes: readonly string[];
}

export const NOTHING_PLANNED: GuestPlan = { guests: [], sources: [], notes: [] };
