/** What passes between the supervisor and the server, on the channel that Node keeps between a parent and its child. */
import type { Policy } from "../cloud/policy/policy.js";
import type { NameMatching } from "../filesystems/filesystem.js";
import type { Command, CommandDone } from "./commands.js";
import type { EventsOptions } from "./event-hub.js";
import type { GuestSpec } from "./guest-name.js";
import type { GuestProblem, OpenedGuests } from "./guest-problem.js";
import type { SupervisorReport } from "./insight/supervisor-report.js";
import type { MetricsAddress } from "./metrics-address.js";

/** How a server shows guests: what can be changed while the daemon runs, by another server. */
export interface ServerSettings {
  /** Undefined: no events are told. */
  readonly events: EventsOptions | undefined;
  /** Who may see what, and as whose it is shown. */
  readonly policy: Policy;
  /** How names are compared where a format leaves that open. */
  readonly matching: NameMatching;
}

/** What a server shows. */
export interface ServerOptions extends ServerSettings {
  readonly host: string;
  readonly guests: readonly GuestSpec[];
  /** The names of those without which it is not to start; the others are left out if they cannot be opened. */
  readonly required: readonly string[];
  /** The names of those of which the log has been told already what there is to say when they are opened. */
  readonly known: readonly string[];
  /** The sockets that guests' writes are told on. */
  readonly feeds: readonly string[];
  /** Where metrics are told, beside the control socket; undefined: nowhere. */
  readonly metricsAt: MetricsAddress | undefined;
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
  /** Guests that ought to be shown and are not, for those who ask for the status. */
  | { readonly kind: "unavailable"; readonly guests: readonly GuestProblem[] }
  | { readonly kind: "report"; readonly id: number; readonly report: SupervisorReport }
  /** Whether the mount is somebody's to keep should the supervisor end: then the server does not unmount it. */
  | { readonly kind: "kept"; readonly isKept: boolean }
  /** It is to be unmounted now: what ends by that does so when it is told to stop. */
  | { readonly kind: "ending" }
  | { readonly kind: "stop" };

/** From the server. */
export type FromServer =
  | { readonly kind: "opened"; readonly opened: OpenedGuests }
  /** The guests cannot be opened: the user's to mend. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "serving" }
  /** The kernel is to ask it something; a server starts no programs itself, see asking.ts. */
  | { readonly kind: "ask" }
  /** Somebody wants something done that is the supervisor's to do. */
  | { readonly kind: "command"; readonly id: number; readonly command: Command }
  /** How the daemon's other processes are. */
  | { readonly kind: "ask report"; readonly id: number }
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
