/** Serving a tree at a mount point, by one of the two drivers, until it is told to stop. */
import type { Log } from "../images/image.js";
import { ConvertedDisks } from "./converted-disks.js";
import type { EventsOptions } from "./event-hub.js";
import type { GuestSpec } from "./guest-name.js";
import { StateDirectory } from "./state-directory.js";
import { supervise } from "./supervisor.js";
import { TapKeeper, type TapOptions, type WriteOptions } from "./tap-keeper.js";
import { UserError } from "./user-error.js";

export type Driver = "auto" | "kernel" | "libfuse";

export interface ServeOptions {
  /** The mount point. */
  readonly directory: string;
  readonly host: string;
  readonly driver: Driver;
  readonly guests: readonly GuestSpec[];
  /** Undefined: no events are told. */
  readonly events: EventsOptions | undefined;
  /** Undefined: guests' writes are not told, only watched for. */
  readonly tap?: TapOptions | undefined;
  readonly writes: WriteOptions;
  /** Told of what had to be passed over. */
  readonly log: (line: string) => void;
}

/** What a driver serves. */
export interface DriverOptions extends ServeOptions {
  /** What guests reach or write to by themselves; undefined: nothing. */
  readonly taps: TapKeeper | undefined;
  /** For running guests that are attached to: if one of them has to be saved from it, no other guest's disk goes. */
  readonly mirrors: TapKeeper;
}

/** The sockets that guests' writes are told on. */
export function feedsOf({ taps, mirrors }: DriverOptions): string[] {
  return [taps, mirrors].flatMap((keeper) => keeper?.feed ?? []);
}

/** A tree being served. */
export interface Served {
  /** Where guests' disks are offered, as NBD URLs. */
  readonly urls?: readonly string[];
  /** Resolves when it is no longer mounted, whoever unmounted it. Rejects with UserError if it was for a fault. */
  readonly ended: Promise<void>;
  /** Unmounts. */
  stop(): Promise<void>;
  /** Has another server, by the program as it is on disk now, take over; undefined where none can. */
  readonly upgrade?: () => Promise<void>;
  /** Has another server take over from one that does not answer any more; undefined where none can. */
  readonly replace?: () => void;
  /** A guest that was attached to has gone by itself. */
  readonly gone?: (guest: string, reason: string) => void;
  /** One is to be read elsewhere: paths or NBD URLs. */
  readonly moved?: (guest: string, images: readonly string[]) => void;
}

/** Mounts and serves; returns when the tree answers. Throws UserError, ImageError or MountError. */
export async function serve(options: ServeOptions): Promise<Served> {
  const driver =
    options.driver === "auto" ? (process.geteuid?.() === 0 ? "kernel" : "libfuse") : options.driver;
  const state = options.events && lockState(options.events, options.log);
  let driven: Served | undefined;
  const { log, writes } = options;
  const taps =
    options.tap && new TapKeeper({ ...options.tap, ...writes, log, gone: () => {}, moved: () => {} });
  const mirrors = new TapKeeper({
    listen: [],
    disks: [],
    ...writes,
    log,
    gone: (guest, reason) => driven?.gone?.(guest, reason),
    moved: (guest, images) => driven?.moved?.(guest, images),
  });
  let disks: ConvertedDisks | undefined;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= Promise.all([taps?.stop(), mirrors.stop()]).then(() => {
      disks?.stop();
      state?.close();
    });
    return closing;
  };
  try {
    disks = new ConvertedDisks(options.guests, options.log);
    await disks.start();
    const { guests } = disks;
    const usable = { ...options, guests, events: state === undefined ? undefined : options.events };
    const urls = (await taps?.start()) ?? [];
    const all = { ...usable, taps, mirrors };
    const served = await (driver === "kernel" ? supervise(all) : serveByLibfuse(all));
    driven = served;
    return {
      urls,
      ended: served.ended.finally(close),
      stop: async () => {
        await served.stop();
        await close();
      },
      ...(served.upgrade && { upgrade: () => (served.upgrade as () => Promise<void>)() }),
      ...(served.replace && { replace: served.replace }),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** In this process, which a supervisor has no need of. */
async function serveByLibfuse(options: DriverOptions): Promise<Served> {
  return (await import("./serve-by-libfuse.js")).serveByLibfuse(options);
}

/** Undefined: it cannot be used, and the log says so. Throws UserError if it was named, or is another daemon's. */
function lockState({ state, isStateNamed }: EventsOptions, log: Log): StateDirectory | undefined {
  try {
    return new StateDirectory(state);
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { message } = error as Error;
    if (isStateNamed) throw new UserError(`${state}: cannot be used for the daemon's state: ${message}`);
    log(`no events are told, as ${state} cannot be used: ${message}; name another directory with --state`);
    return undefined;
  }
}
