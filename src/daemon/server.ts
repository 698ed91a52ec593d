/**
 * The server's main thread. It follows the guests, while a thread of its own serves users (serving-thread.ts), and does
 * what the supervisor says. When the supervisor is no more, the server unmounts the tree and ends; or it only
 * ends, if the mount is kept for another daemon.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { MessageChannel, Worker } from "node:worker_threads";
import { IdOwners } from "../cloud/id-owners.js";
import { unmount } from "../fuse/kernel/mount.js";
import { Notifier } from "../fuse/kernel/notify.js";
import type { CommandDone, RunCommand } from "./commands.js";
import { type EventHub, openEventHub } from "./event-hub.js";
import { Following } from "./following.js";
import type { GuestSpec } from "./guest-name.js";
import { type GuestProblem, type OpenedGuests, passingOver } from "./guest-problem.js";
import { Insight } from "./insight/insight.js";
import { MetricsListener } from "./insight/metrics-listener.js";
import type { SupervisorReport } from "./insight/supervisor-report.js";
import { ThreadCounts } from "./insight/thread-counts.js";
import { writeLog as log } from "./log/writer.js";
import { Policing, type SendUpdate } from "./policing.js";
import { loadPublishing } from "./redis.js";
import { RemoteGuests } from "./remote-guests.js";
import {
  DEVICE_FD,
  type FromServer,
  LEDGER_FD,
  type MountedAt,
  type ServerOptions,
  type ToServer,
} from "./server-messages.js";
import type { ServeMessage, ServingData, ServingMessage } from "./serving-thread.js";
import { Streams } from "./streams.js";
import { takeOver } from "./taking-over.js";
import type { Update } from "./updates.js";
import { UserError } from "./user-error.js";

function tell(message: FromServer, then: () => void = () => {}): void {
  if (process.connected) process.send?.(message, then);
}

/** Ends at once: process.exit would wait for threads that are blocked in a read. */
function end(): void {
  process.kill(process.pid, "SIGKILL");
}

function crash(message: string): void {
  // A stack has many lines.
  log(message.replace(/\s*\n\s*/g, " "), { level: "error" });
  tell({ kind: "crashed", message }, end);
}

/** Whether the supervisor unmounts the tree, and has this server stop then. */
let isEnding = false;
/** ms for what the supervisor has said to be heard. */
const SAID_WITHIN = 50;
/** ms that the end of all but the answering may take, and for which what has been asked is answered after that. */
const STOPPED_WITHIN = 300;
const LAST_ANSWERS = 100;

/** Commands that the supervisor is at, by number. */
const commands = new Map<number, { resolve(done: CommandDone): void; reject(error: Error): void }>();
let lastCommand = 0;

const runCommand: RunCommand = (command) => {
  const id = ++lastCommand;
  return new Promise((resolve, reject) => {
    commands.set(id, { resolve, reject });
    tell({ kind: "command", id, command });
  });
};

/** Guests that ought to be shown and are not. */
let unavailable: readonly GuestProblem[] = [];

/** Who has asked how the daemon's other processes are, by number. */
const reports = new Map<number, (report: SupervisorReport) => void>();

function askSupervisor(): Promise<SupervisorReport> {
  const id = ++lastCommand;
  return new Promise((resolve) => {
    reports.set(id, resolve);
    tell({ kind: "ask report", id });
  });
}

/** Guests that are open, and what serves them. */
interface OpenServer {
  readonly opened: OpenedGuests;
  serve(isTakenOver: boolean): void;
  stop(): Promise<void>;
}

/** Throws UserError, ImageError. */
async function open(options: ServerOptions): Promise<OpenServer> {
  const { host, required, known, events: eventsOptions, feeds, metricsAt, policy, matching } = options;
  const owners = new IdOwners();
  const { port1: updates, port2 } = new MessageChannel();
  const sent = new Int32Array(new SharedArrayBuffer(4));
  let isServing = false;
  const policing = new Policing(policy.rules, options.guests, log);
  const send: SendUpdate = (update, transfers = []) => {
    updates.postMessage(update, transfers);
    Atomics.add(sent, 0, 1);
    if (update.kind === "crawled" && isServing) tell({ kind: "ask" });
  };
  /** What is read anew may have other names. */
  const follow = (update: Update): void => {
    send(update);
    if (update.kind === "reopen") void policing.tell(update.volume, send);
  };
  const publishOn = await loadPublishing(eventsOptions?.redis);
  const problems: GuestProblem[] = [];
  const isOpen = ({ name }: GuestSpec): boolean => !problems.some(({ guest }) => guest === name);
  const local = options.guests.filter(({ isRemote }) => !isRemote);
  const following = new Following(local, follow, log, policy, passingOver(required, problems));
  const counts = new ThreadCounts();
  const thread = new Worker(new URL("./serving-thread.js", import.meta.url), {
    workerData: {
      host,
      guests: local.filter(isOpen),
      names: options.guests.filter(isOpen).map(({ name }) => name),
      required,
      known,
      owners: owners.shared,
      followed: following.followed,
      updates: port2,
      sent,
      marks: following.marks.shared,
      events: eventsOptions,
      counts: counts.shared,
      policy,
      matching,
    } satisfies ServingData,
    transferList: [port2],
  });
  thread.on("error", (error) => crash(`the serving thread failed: ${error.message}`));
  const [message] = (await once(thread, "message")) as [ServingMessage];
  if (message.kind !== "open")
    throw new UserError(message.kind === "failed" ? message.message : "it did not start");
  problems.push(...message.problems);
  const guests = options.guests.filter(isOpen);
  const names = guests.map(({ name }) => name);
  const insight = new Insight({ host, guests: names, counts: [counts], askSupervisor });
  insight.follow(() => following.status());
  insight.miss(() => unavailable);
  await policing.begin(
    message.volumes.map(({ mounted }) => mounted),
    send,
  );
  thread.on("message", (told: ServingMessage) => {
    if (told.kind === "told") following.told(told);
    if (told.kind === "uncommon") following.uncommon(told.high, told.low, told.generation);
    if (told.kind === "read") following.read(told.high, told.low);
    if (told.kind === "unrecorded")
      tell({ kind: "unresumable", message: `what the kernel is told cannot be recorded: ${told.message}` });
  });
  let events: EventHub | undefined;
  let remotes: RemoteGuests | undefined;
  let streams: Streams | undefined;
  const listener = metricsAt && new MetricsListener(metricsAt, insight, log);
  const stop = async (): Promise<void> => {
    await listener?.stop();
    streams?.stop();
    policing.stop();
    following.stop();
    remotes?.stop();
    updates.close();
    await events?.stop();
  };
  /** Not before the server that had this mount has ended: there is one writer of each log. */
  const tellEvents = (): void => {
    if (eventsOptions === undefined) return;
    try {
      events = openEventHub(host, guests, eventsOptions, log, runCommand, publishOn, insight, policy);
      events.setMounts(message.volumes.map(({ mounted }) => mounted));
      following.tell(events);
      void events.listen();
    } catch (error) {
      log(`no events are told: ${(error as Error).message}`, { level: "error" });
    }
  };
  return {
    opened: { problems, blank: following.blank },
    serve: (isTakenOver) => {
      thread.once("exit", (code) => {
        // Otherwise it has failed, and said so. That it is ending may have been said, and not been heard yet.
        if (code === 0) setTimeout(() => isEnding || tell({ kind: "unmounted" }, end), SAID_WITHIN);
      });
      tellEvents();
      const notifier = new Notifier(DEVICE_FD);
      following.start(notifier, message.volumes, message.hostDirectory, () => tell({ kind: "ask" }));
      const finish = isTakenOver
        ? takeOver(notifier, LEDGER_FD, () => {
            for (const { name } of guests)
              notifier.invalidateEntry(0, message.hostDirectory, Buffer.from(name));
          })
        : async () => {};
      if (finish === undefined) {
        tell(
          { kind: "unresumable", message: "this kernel (before 6.9) cannot hand out requests again" },
          end,
        );
        return;
      }
      remotes = new RemoteGuests({
        host,
        guests: guests.filter(({ isRemote }) => isRemote),
        names,
        owners,
        fd: DEVICE_FD,
        hostDirectory: message.hostDirectory,
        events,
        eventsAreListed: eventsOptions?.areListed ?? false,
        policy,
        matching,
        policing,
        log,
        crash,
        insight,
      });
      listener?.start();
      streams = listenTo(feeds, guests, following, remotes);
      const { routes } = remotes;
      thread.postMessage(
        {
          fd: DEVICE_FD,
          ledger: LEDGER_FD,
          logs: events?.shared,
          remotes: routes,
        } satisfies ServeMessage,
        routes.map(({ port }) => port),
      );
      tell({ kind: "serving" });
      isServing = true;
      void finish();
    },
    stop,
  };
}

/** What guests write, by the sockets that it is told on, to whoever follows them. */
function listenTo(
  paths: readonly string[],
  guests: readonly GuestSpec[],
  following: Following,
  remotes: RemoteGuests,
): Streams {
  const remote = new Set(guests.filter(({ isRemote }) => isRemote).map(({ name }) => name));
  const streams = new Streams({
    paths,
    takerOf: (guest) => (remote.has(guest) ? remotes : following),
    log,
  });
  for (const followed of [following, remotes])
    followed.tellMetadata((guest, disk, ranges) => streams.tellMetadata(guest, disk, ranges));
  return streams;
}

/** Runs until it is killed, or the tree is unmounted. */
export function runServer(): void {
  let server: OpenServer | undefined;
  let mounted: MountedAt | undefined;
  let isKept = false;
  // They are the supervisor's, though a terminal or a service manager sends them to all processes.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
  process.on("uncaughtException", ({ message, stack }) => crash(stack ?? message));
  process.on("disconnect", () => {
    if (isKept) {
      // A notification of this process's that waits for an answer would hold it up, and so the next daemon; and so would a
      // program of the daemon's that has asked something.
      const stopped = server?.stop().catch(() => {});
      void Promise.race([stopped, sleep(STOPPED_WITHIN)]).then(() => setTimeout(end, LAST_ANSWERS));
      return;
    }
    try {
      if (mounted !== undefined) unmount(mounted.path, mounted.device, "abort");
    } catch (error) {
      log((error as Error).message);
    }
    end();
  });
  process.on("message", (message: ToServer) => {
    switch (message.kind) {
      case "open":
        open(message.options).then(
          (opened) => {
            server = opened;
            tell({ kind: "opened", opened: opened.opened });
          },
          (error: Error) => tell({ kind: "refused", message: error.message }, end),
        );
        break;
      case "serve":
        mounted = message.mounted;
        server?.serve(message.isTakenOver);
        break;
      case "done":
        commands.get(message.id)?.resolve(message.done);
        commands.delete(message.id);
        break;
      case "failed":
        commands.get(message.id)?.reject(new UserError(message.message));
        commands.delete(message.id);
        break;
      case "unavailable":
        unavailable = message.guests;
        break;
      case "report":
        reports.get(message.id)?.(message.report);
        reports.delete(message.id);
        break;
      case "kept":
        isKept = message.isKept;
        break;
      case "ending":
        isEnding = true;
        break;
      case "stop":
        (server?.stop() ?? Promise.resolve()).then(
          () => tell({ kind: "stopped" }, isEnding ? end : undefined),
          (error: Error) => crash(error.message),
        );
        break;
    }
  });
}
