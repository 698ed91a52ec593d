/** What a daemon hands over to the one that takes its place, and what the two say to each other meanwhile. */
import type { FoundGuest } from "../discovery/source.js";
import type { MountedAt } from "../server-messages.js";
import type { AttachRequest } from "../tap-process-messages.js";

/** The form of all this, so that programs of two versions know whether they understand each other. */
export const FORM = 1;

/** A process that hosts a tap, and goes on with who takes the keeper's place. */
export interface SharedTap {
  readonly pid: number;
  /** Of its sockets. */
  readonly directory: string;
  /** Where it waits for another keeper. */
  readonly socket: string;
}

/** The guests that are not known from the command line, the configuration or the state directory. */
export interface HandedGuests {
  /** Names of those that were attached to by hand. */
  readonly byHand: readonly string[];
  /** All that are attached to. */
  readonly attached: readonly AttachRequest[];
  /** What sources had found, by their names: they may take their time to find it again. */
  readonly found: ReadonlyArray<{ readonly source: string; readonly guests: readonly FoundGuest[] }>;
}

export interface HandedOver extends HandedGuests {
  readonly form: number;
  /** The process that hands over. */
  readonly pid: number;
  readonly mounted: MountedAt;
  readonly tap: SharedTap | undefined;
  readonly mirrors: SharedTap | undefined;
  /** What the service manager holds of the mount; see MountStore. Not known of a daemon of before there was that. */
  readonly stored?: readonly string[];
}

export type ToSuccessor =
  | { readonly kind: "hand over"; readonly handed: HandedOver }
  /** Nobody serves the mount any more: it is to. */
  | { readonly kind: "serve" }
  /** It is the daemon now. `isKept`: the one before waits for it to end, and it ends with that one. */
  | { readonly kind: "go on"; readonly isKept: boolean };

export type FromSuccessor =
  /** It has opened all that it is to show. */
  | { readonly kind: "opened" }
  | { readonly kind: "serving" }
  | { readonly kind: "refused"; readonly message: string };
