/** What passes between the supervisor and the server, on the channel that Node keeps between a parent and its child. */
import type { Policy } from "../cloud/policy/policy.js";
import type { Command, CommandDone } from "./commands.js";
import type { EventsOptions } from "./event-hub.js";
import type { GuestSpec } from "./guest-name.js";

/** What a server shows. */
export interface ServerOptions {
  readonly host: string;
  readonly guests: readonly GuestSpec[];
  readonly policy: Policy;
  /** Undefined: no events are told. */
  readonly events: EventsOptions | undefined;
  /** The sockets that guests' writes are told on. */
  readonly feeds: readonly string[];
}

/** A mount, as unmount() of fuse/kernel/mount.ts takes it. */
export interface MountedAt {
  readonly path: string;
  readonly device: string;
}

/** To the server. */
export type ToServer =
  | { readonly kind: "open"; readonly options: ServerOptions }
  /** `isTakenOver`: another server has served this mount before. */
  | { readonly kind: "serve"; readonly mounted: MountedAt; readonly isTakenOver: boolean }
  /** What came of a command, and why nothing. */
  | { readonly kind: "done"; readonly id: number; readonly done: CommandDone }
  | { readonly kind: "failed"; readonly id: number; readonly message: string }
  | { readonly kind: "stop" };

/** From the server. */
export type FromServer =
  | { readonly kind: "opened" }
  /** The guests cannot be opened: the user's to mend. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "serving" }
  /** The kernel is to ask it something; a server starts no programs itself, see asking.ts. */
  | { readonly kind: "ask" }
  /** Somebody wants something done that is the supervisor's to do. */
  | { readonly kind: "command"; readonly id: number; readonly command: Command }
  /** If it dies, no other server can go on with this mount. */
  | { readonly kind: "unresumable"; readonly message: string }
  /** It has ended everything but the answering of requests, and may be killed. */
  | { readonly kind: "stopped" }
  /** The mount is no more. */
  | { readonly kind: "unmounted" }
  /** A fault of its own: it ends. */
  | { readonly kind: "crashed"; readonly message: string };

/** The server's descriptors: of /dev/fuse, and of the ledger. */
export const DEVICE_FD = 3;
export const LEDGER_FD = 4;
