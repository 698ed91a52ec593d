/** Serving a tree by libfuse, all in one process. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { LogReaders } from "../events/log-reader.js";
import { mountLibfuse } from "../fuse/libfuse.js";
import { mountAt } from "../fuse/mountpoint.js";
import type { RunCommand } from "./commands.js";
import { openEventHub } from "./event-hub.js";
import { Following } from "./following.js";
import { type GuestProblem, passingOver } from "./guest-problem.js";
import { Insight } from "./insight/insight.js";
import { MetricsListener } from "./insight/metrics-listener.js";
import { supervisorReport } from "./insight/supervisor-report.js";
import { mountedVolumes } from "./mounted-volume.js";
import { openTree } from "./open-tree.js";
import { Policing } from "./policing.js";
import { loadPublishing } from "./redis.js";
import { type Driven, type DriverOptions, feedsOf } from "./serve.js";
import { Streams } from "./streams.js";
import type { Update } from "./updates.js";
import { Updating } from "./updating.js";
import { UserError } from "./user-error.js";

/** Mounts and serves; returns when the tree answers. Throws UserError, ImageError or MountError. */
export async function serveByLibfuse(options: DriverOptions): Promise<Driven> {
  const { directory, host, guests, log, metricsAt, taps, mirrors, settings } = options;
  const { policy, matching } = settings;
  const insight = new Insight({
    host,
    guests: guests.map(({ name }) => name),
    counts: undefined,
    askSupervisor: () => supervisorReport({ tap: taps, attached: mirrors }, 1),
  });
  const listener = metricsAt && new MetricsListener(metricsAt, insight, log);
  const publishOn = await loadPublishing(settings.events?.redis);
  const events =
    settings.events && openEventHub(host, guests, settings.events, log, cannot, publishOn, insight, policy);
  let updating: Updating | undefined;
  const policing = new Policing(policy.rules, guests, log);
  const send = (update: Update): void => void updating?.take(update);
  const follow = (update: Update): void => {
    send(update);
    if (update.kind === "reopen") void policing.tell(update.volume, send);
  };
  const problems: GuestProblem[] = [];
  const passOver = passingOver(options.required, problems);
  const following = new Following(guests, follow, log, policy, passOver);
  insight.follow(() => following.status());
  insight.miss(() => problems);
  // libfuse holds what it was told for a second, whatever it is told: so no place counts as followed.
  const opened = openTree(
    host,
    guests.filter(({ name }) => !problems.some(({ guest }) => guest === name)),
    log,
    {
      refresh: () => updating?.forgetUnfollowed(),
      holds: () => updating?.holds(() => {}) ?? true,
      isFollowed: () => false,
    },
    events === undefined
      ? undefined
      : { logs: new LogReaders(events.shared), areListed: settings.events?.areListed ?? false },
    undefined,
    policy,
    undefined,
    passOver,
    matching,
  );
  options.opened({ problems, blank: following.blank });
  events?.setMounts(mountedVolumes(opened));
  updating = new Updating(opened, following.followed, log);
  await policing.begin(mountedVolumes(opened), send);
  const mounted = await mountLibfuse({ path: directory, tree: opened.tree, log });
  if (events !== undefined) following.tell(events);
  following.startUnnotified();
  const streams = new Streams({ paths: feedsOf(options), takerOf: () => following, log });
  following.tellMetadata((...metadata) => streams.tellMetadata(...metadata));
  await events?.listen();
  listener?.start();
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const watching = setInterval(() => {
    if (mountAt(mounted.path) === undefined) end();
  }, 1000);
  await stat(join(directory, host));
  return {
    ended: ended.finally(async () => {
      clearInterval(watching);
      streams.stop();
      policing.stop();
      following.stop();
      await listener?.stop();
      await events?.stop();
    }),
    stop: async () => {
      streams.stop();
      policing.stop();
      following.stop();
      await listener?.stop();
      await events?.stop();
      await mounted.unmount();
      end();
    },
  };
}

const cannot: RunCommand = async () => {
  throw new UserError("the libfuse driver shows what it was started with: start slashcloud as root");
};
