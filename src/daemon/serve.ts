/** Serving a tree at a mount point, by one of the two drivers, until it is told to stop. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Policy } from "../cloud/policy/policy.js";
import type { Log } from "../images/image.js";
import type { RunCommand } from "./commands.js";
import type { EventsOptions } from "./event-hub.js";
import type { GuestSpec } from "./guest-name.js";
import type { OpenedGuests } from "./guest-problem.js";
import { GuestKeeper, type Shows } from "./guests/guest-keeper.js";
import { type GuestPlan, NOTHING_PLANNED } from "./guests/plan.js";
import { checkMetricsAddress, type MetricsAddress, metricsAddress } from "./metrics-address.js";
import { sweepFolders } from "./own-folders.js";
import type { MountedAt, ServerSettings } from "./server-messages.js";
import { StateDirectory } from "./state-directory.js";
import { FORM, type HandedOver } from "./succession/handed-over.js";
import type { LeftMount } from "./succession/left-mount.js";
import type { MountStore } from "./succession/mount-store.js";
import type { Predecessor } from "./succession/predecessor.js";
import type { Successor } from "./succession/successor.js";
import { supervise } from "./supervisor.js";
import { TapKeeper, type TapOptions, type WriteOptions } from "./tap-keeper.js";
import { UserError } from "./user-error.js";

export { NO_POLICY, type Policy } from "../cloud/policy/policy.js";

const CANNOT_RENEW = "this driver cannot be renewed while it serves: start it again";
/** ms that what looks for guests is given to end. */
const PATIENCE = 3000;

export type Driver = "auto" | "kernel" | "libfuse";

export interface ServeOptions {
  /** The mount point. */
  readonly directory: string;
  readonly host: string;
  readonly driver: Driver;
  /** Those that are served from the start to the end; without them, nothing is. */
  readonly guests: readonly GuestSpec[];
  /** Those that may come and go. */
  readonly plan?: GuestPlan;
  /** Reads again what is planned; undefined: it does not change. Throws UserError. */
  readonly reread?: (() => Promise<GuestPlan>) | undefined;
  /** How they are shown. */
  readonly settings: ServerSettings;
  /** Who may see what as it is settled now, for a server that takes over. Throws UserError. */
  readonly readPolicy?: (() => Policy) | undefined;
  /** Undefined: guests' writes are not told, only watched for. */
  readonly tap?: TapOptions | undefined;
  readonly writes: WriteOptions;
  /** Where metrics are told, beside the control socket: HOST:PORT of this host alone. */
  readonly metrics?: { readonly listen: string } | undefined;
  /** The daemon whose place this one takes; undefined: none. */
  readonly predecessor?: Predecessor | undefined;
  /** What the one before, which has ended, has left mounted; it is gone on with if that is possible. */
  readonly left?: LeftMount | undefined;
  /** Who keeps the mount when this process ends; undefined: nobody. */
  readonly store?: MountStore | undefined;
  /** What one that takes this one's place is to have in its environment besides. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Told of what had to be passed over. */
  readonly log: Log;
}

/** What a driver serves. */
export interface DriverOptions
  extends Omit<ServeOptions, "plan" | "reread" | "readPolicy" | "metrics" | "environment" | "left"> {
  /** What is mounted already, with its descriptors of /dev/fuse and of the ledger. */
  readonly left:
    | { readonly device: number; readonly ledger: number; readonly mounted: MountedAt }
    | undefined;
  /** Undefined: metrics are told at the control socket alone. */
  readonly metricsAt: MetricsAddress | undefined;
  /** The names of the guests without which nothing is served. */
  readonly required: readonly string[];
  /** What guests reach or write to by themselves; undefined: nothing. */
  readonly taps: TapKeeper | undefined;
  /** For running guests that are attached to: if one of them has to be saved from it, no other guest's disk goes. */
  readonly mirrors: TapKeeper;
  /** Is told what became of the guests when they are opened, but for those that `Shows` is asked for. */
  readonly opened: (opened: OpenedGuests) => void;
  /** Does what those ask for who come by the control socket. */
  readonly run: RunCommand;
}

/** The sockets that guests' writes are told on. */
export function feedsOf({ taps, mirrors }: DriverOptions): string[] {
  return [taps, mirrors].flatMap((keeper) => keeper?.feed ?? []);
}

/** A tree being served. */
export interface Driven extends Partial<Shows> {
  /** Resolves when it is no longer mounted, whoever unmounted it. Rejects with UserError if it was for a fault. */
  readonly ended: Promise<void>;
  /** Unmounts; or leaves it mounted if it is kept, and another daemon is to come that goes on with it. */
  stop(isToCome?: boolean): Promise<void>;
  /** Has the mount kept when this process ends, from now on. Undefined where nobody could go on with it. */
  readonly keep?: () => Promise<void>;
  /** Has another server, by the program as it is on disk now, take over; undefined where none can. */
  readonly upgrade?: (settings: ServerSettings) => Promise<void>;
  /** Has another server take over from one that does not answer any more; undefined where none can. */
  readonly replace?: () => void;
  /** Has another daemon take this one's place; undefined where none can. `sure` is called when it can. Throws UserError. */
  readonly handOver?: (
    handed: Omit<HandedOver, "mounted">,
    environment: NodeJS.ProcessEnv,
    sure: () => void,
  ) => Promise<Successor>;
}

/** The same, for who has it served. */
export interface Served extends Pick<Driven, "ended" | "stop"> {
  /** Has another server, by the program as it is on disk now, take over; undefined where none can. */
  readonly upgrade?: () => Promise<void>;
  /** Has another server take over from one that does not answer any more; undefined where none can. */
  readonly replace?: () => void;
  /** As Driven has it. */
  keep(): Promise<void>;
  /** Resolves when another daemon has taken this one's place: the tree is its own now. */
  readonly succeeded: Promise<Successor>;
  /** Where guests' disks are offered, as NBD URLs. */
  readonly urls: readonly string[];
  /** How many guests are shown now. */
  readonly guests: number;
  /** Reads the plan again; returns lines that tell what came of it. Throws UserError. */
  reload(): Promise<readonly string[]>;
}

/** Mounts and serves; returns when the tree answers. Throws UserError, ImageError or MountError. */
export async function serve(options: ServeOptions): Promise<Served> {
  const driver =
    options.driver === "auto" ? (process.geteuid?.() === 0 ? "kernel" : "libfuse") : options.driver;
  const {
    log,
    writes,
    metrics,
    plan = NOTHING_PLANNED,
    reread,
    readPolicy,
    environment = {},
    left: found,
    ...rest
  } = options;
  const handed = options.predecessor?.handed;
  const metricsAt = metrics && metricsAddress(metrics.listen);
  sweepFolders();
  const state = options.settings.events && lockState(options.settings.events, log, handed?.pid);
  const settings = state === undefined ? { ...options.settings, events: undefined } : options.settings;
  const taps =
    options.tap &&
    new TapKeeper({ ...options.tap, ...writes, log, handed: handed?.tap, gone: () => {}, moved: () => {} });
  const mirrors = new TapKeeper({
    listen: [],
    disks: [],
    ...writes,
    log,
    handed: handed?.mirrors,
    gone: (guest, reason) => keeper.gone(guest, reason),
    moved: (guest, images) => keeper.moved(guest, images),
  });
  const keeper = new GuestKeeper({
    named: options.guests,
    plan,
    settings,
    reread,
    state: state?.path,
    mirrors,
    handed,
    log,
  });
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    const kept = Promise.race([keeper.stop(), sleep(PATIENCE, undefined, { ref: false })]);
    closing ??= Promise.all([taps?.stop(), kept, mirrors.stop()]).then(() => {
      keeper.close();
      state?.close();
    });
    return closing;
  };
  try {
    // The one before has it still.
    if (metricsAt !== undefined && handed === undefined) await checkMetricsAddress(metricsAt);
    const guests = await keeper.first();
    if (handed?.mirrors !== undefined && !mirrors.isStarted) await mirrors.start();
    const urls = (await taps?.start()) ?? [];
    const { opened, required } = keeper;
    let isRenewing = false;
    let hasSucceeded: (successor: Successor) => void = () => {};
    const succeeded = new Promise<Successor>((resolve) => {
      hasSucceeded = resolve;
    });
    const renew = async (sure: () => void): Promise<void> => {
      if (driven.handOver === undefined || isRenewing)
        throw new UserError(isRenewing ? "the daemon is being renewed already" : CANNOT_RENEW);
      isRenewing = true;
      try {
        const own = {
          ...(await keeper.handOver()),
          tap: await taps?.share(),
          mirrors: await mirrors.share(),
          stored: options.store?.stored ?? [],
        };
        const all = { ...own, form: FORM, pid: process.pid };
        const successor = await driven.handOver(all, environment, sure);
        taps?.leave();
        mirrors.leave();
        await keeper.stop();
        keeper.close();
        hasSucceeded(successor);
      } catch (error) {
        state?.takeBack();
        keeper.keep();
        isRenewing = false;
        log(`the daemon stays as it is: ${(error as Error).message}`, { level: "error" });
        throw error;
      }
    };
    const run: RunCommand = (command) => {
      if (command.kind !== "renew") return keeper.run(command);
      return new Promise((resolve, reject) => {
        renew(() => resolve({ lines: [], guests: [] })).catch(reject);
      });
    };
    const left = driver === "kernel" ? goneOnWith(found, options) : undefined;
    if (left === undefined) giveUp(found, log);
    const all = {
      ...rest,
      left,
      log,
      writes,
      metricsAt,
      guests,
      settings,
      taps,
      mirrors,
      opened,
      required,
      run,
    };
    const driven: Driven = await (driver === "kernel" ? supervise(all) : serveByLibfuse(all));
    const { upgrade, show, tellUnavailable } = driven;
    if (show !== undefined && tellUnavailable !== undefined)
      keeper.begin({ show: show.bind(driven), tellUnavailable: tellUnavailable.bind(driven) });
    return {
      urls,
      succeeded,
      get guests() {
        return keeper.shown;
      },
      ended: driven.ended.finally(close),
      stop: async (isToCome) => {
        void keeper.stop();
        await driven.stop(isToCome);
        await close();
      },
      keep: async () => driven.keep?.(),
      reload: () => keeper.reload(),
      ...(driven.replace && { replace: driven.replace }),
      ...(upgrade && {
        upgrade: async () => {
          try {
            if (readPolicy !== undefined) keeper.setPolicy(readPolicy());
          } catch (error) {
            log(`the server stays as it is, as the new one does not start: ${(error as Error).message}`);
            return;
          }
          await upgrade.call(driven, keeper.settings);
        },
      }),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What is mounted already where the tree is to be. */
function goneOnWith(found: LeftMount | undefined, { directory, log }: ServeOptions): DriverOptions["left"] {
  const mounted = found?.at(directory);
  if (found === undefined || mounted === undefined) return undefined;
  log(`goes on with the tree that is still mounted at ${mounted.path}`, { level: "info" });
  return { device: found.device, ledger: found.ledger, mounted };
}

function giveUp(found: LeftMount | undefined, log: Log): void {
  if (found === undefined) return;
  log(`the tree that is still mounted at ${found.path} is unmounted`, { level: "info" });
  found.unmount(log);
  found.close();
}

/** In this process, which a supervisor has no need of. */
async function serveByLibfuse(options: DriverOptions): Promise<Driven> {
  return (await import("./serve-by-libfuse.js")).serveByLibfuse(options);
}

/**
 * Undefined: it cannot be used, and the log says so. `from`: the daemon that gives it up. Throws UserError if it was named,
 * or is another daemon's.
 */
function lockState(
  { state, isStateNamed }: EventsOptions,
  log: Log,
  from: number | undefined,
): StateDirectory | undefined {
  try {
    return new StateDirectory(state, from);
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { message } = error as Error;
    if (isStateNamed) throw new UserError(`${state}: cannot be used for the daemon's state: ${message}`);
    log(`no events are told, as ${state} cannot be used: ${message}; name another directory with --state`);
    return undefined;
  }
}
