/** Serving a tree at a mount point, by one of the two drivers, until it is told to stop. */
import { once } from "node:events";
import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { LogReaders } from "../events/log-reader.js";
import { type KernelMount, mount } from "../fuse/kernel/mount.js";
import { Notifier } from "../fuse/kernel/notify.js";
import { mountLibfuse } from "../fuse/libfuse.js";
import { mountAt } from "../fuse/mountpoint.js";
import { EventHub } from "./event-hub.js";
import { Following } from "./following.js";
import type { GuestSpec } from "./guest-name.js";
import { mountedVolumes } from "./mounted-volume.js";
import { openTree } from "./open-tree.js";
import type { ServeMessage, ServingData, ServingMessage } from "./serving-thread.js";
import type { Update } from "./updates.js";
import { Updating } from "./updating.js";
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
  /** Told of what had to be passed over. */
  readonly log: (line: string) => void;
}

export interface EventsOptions {
  /** The daemon's state directory. */
  readonly state: string;
  /** Bytes of a segment of each log. */
  readonly logSize: number | undefined;
  /** Whether directories list their files of events. */
  readonly areListed: boolean;
}

/** A tree being served. */
export interface Served {
  /** Resolves when it is no longer mounted, whoever unmounted it. */
  readonly ended: Promise<void>;
  /** Unmounts. */
  stop(): Promise<void>;
}

/** Mounts and serves; returns when the tree answers. Throws UserError, ImageError or MountError. */
export async function serve(options: ServeOptions): Promise<Served> {
  const driver =
    options.driver === "auto" ? (process.geteuid?.() === 0 ? "kernel" : "libfuse") : options.driver;
  const served = driver === "kernel" ? await serveByKernel(options) : await serveByLibfuse(options);
  await stat(join(options.directory, options.host));
  return served;
}

async function serveByKernel(options: ServeOptions): Promise<Served> {
  const { host, guests, log } = options;
  const events = openEvents(options);
  const { port1: updates, port2 } = new MessageChannel();
  const sent = new Int32Array(new SharedArrayBuffer(4));
  const send = (update: Update): void => {
    updates.postMessage(update);
    Atomics.add(sent, 0, 1);
  };
  const following = new Following(guests, send, events, log);
  const thread = new Worker(new URL("./serving-thread.js", import.meta.url), {
    workerData: {
      host,
      guests,
      followed: following.followed,
      updates: port2,
      sent,
      events:
        events === undefined
          ? undefined
          : { logs: events.shared, areListed: options.events?.areListed ?? false },
    } satisfies ServingData,
    transferList: [port2],
  });
  // A fault in the thread is reported; what it was in the middle of serving is cut off below.
  thread.on("error", (error) => log(`the serving thread failed: ${error.message}`));
  const ended = new Promise<void>((resolve) => {
    thread.on("exit", () => resolve());
  });
  const [message] = (await once(thread, "message")) as [ServingMessage];
  if (message.kind !== "open")
    throw new UserError(message.kind === "failed" ? message.message : "it did not start");
  let mounted: KernelMount;
  try {
    mounted = mount(options.directory);
  } catch (error) {
    await thread.terminate();
    updates.close();
    throw error;
  }
  thread.on("message", (told: ServingMessage) => {
    if (told.kind === "told") following.told(told);
  });
  thread.postMessage({ fd: mounted.fd } satisfies ServeMessage);
  events?.setMounts(message.volumes.map(({ mounted: where }) => where));
  following.start(new Notifier(mounted.fd), message.volumes, message.hostDirectory, () => {
    statfs(mounted.path).catch(() => {});
  });
  const stopFollowing = async (): Promise<void> => {
    following.stop();
    updates.close();
    await events?.stop();
  };
  return {
    ended: ended.then(async () => {
      await stopFollowing();
      if (mountAt(mounted.path) !== undefined) mounted.unmount("abort");
      mounted.close();
    }),
    stop: async () => {
      await stopFollowing();
      // A process cannot exit while a thread of its own waits for requests: files still open are cut off.
      mounted.unmount("abort");
      await ended;
    },
  };
}

async function serveByLibfuse(options: ServeOptions): Promise<Served> {
  const { directory, host, guests, log } = options;
  const events = openEvents(options);
  let updating: Updating | undefined;
  const following = new Following(guests, (update) => void updating?.take(update), events, log);
  // libfuse holds what it was told for a second, whatever it is told: so no place counts as followed.
  const opened = openTree(
    host,
    guests,
    log,
    { refresh: () => updating?.forgetUnfollowed(), isFollowed: () => false },
    events === undefined
      ? undefined
      : { logs: new LogReaders(events.shared), areListed: options.events?.areListed ?? false },
  );
  events?.setMounts(mountedVolumes(opened));
  updating = new Updating(opened, following.followed, log);
  const mounted = await mountLibfuse({ path: directory, tree: opened.tree, log });
  following.startUnnotified();
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const watching = setInterval(() => {
    if (mountAt(mounted.path) === undefined) end();
  }, 1000);
  return {
    ended: ended.finally(async () => {
      clearInterval(watching);
      following.stop();
      await events?.stop();
    }),
    stop: async () => {
      following.stop();
      await events?.stop();
      await mounted.unmount();
      end();
    },
  };
}

/** Throws UserError when the logs cannot be read. */
function openEvents({ host, guests, events, log }: ServeOptions): EventHub | undefined {
  if (events === undefined) return undefined;
  const { state, logSize } = events;
  try {
    return new EventHub({ host, guests, state, logSize, log });
  } catch (error) {
    throw new UserError(
      `${state}: events cannot be kept there: ${(error as Error).message}; name another directory with --state, or turn them off with --no-events`,
    );
  }
}
