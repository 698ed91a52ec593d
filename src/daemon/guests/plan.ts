/** What a configuration wants to be shown. */
import type { FoundGuest } from "../discovery/source.js";
import type { EventsOptions } from "../event-hub.js";
import type { SourcePlan } from "./sources.js";

export interface GuestPlan {
  readonly guests: readonly FoundGuest[];
  /** What finds more of them, the first to have its say first. */
  readonly sources: readonly SourcePlan[];
  /** How events are to be told; undefined: as at the start. */
  readonly events?: EventsOptions | undefined;
  /** Lines on what cannot be changed while the daemon runs. */
  readonly notes: readonly string[];
}

export const NOTHING_PLANNED: GuestPlan = { guests: [], sources: [], notes: [] };
