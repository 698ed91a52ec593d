/** What is known of a daemon, in Prometheus' text format. Names of guests and volumes are labels, paths never are. */
import { constants } from "node:os";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { CacheCount } from "../../versions/block-cache.js";
import { type DaemonStatus, type FollowedStatus, VOLUME_STATES } from "../status.js";
import type { Snapshot } from "./insight.js";
import { LAG_BOUNDS, type LagCounts } from "./lag.js";

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [value: number, labels?: Labels];

/** Names of errno values: ENOENT. */
const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, errno]) => [errno, name]),
);

/** The metrics of one answer: made for it, and gone with it, so that nothing is told of a guest that has gone. */
class Metrics {
  readonly #registry = new Registry();

  /** A value of now. */
  gauge(name: string, help: string, samples: Iterable<Sample>): void {
    const all = [...samples];
    if (all.length === 0) return;
    const gauge = new Gauge({ name: `slashcloud_${name}`, help, ...this.#labelled(all) });
    for (const [value, labels = {}] of all) gauge.set(labels, value);
  }

  /** A count since the start of whatever counts; its name ends in `_total`. */
  counter(name: string, help: string, samples: Iterable<Sample>): void {
    const all = [...samples];
    if (all.length === 0) return;
    const counter = new Counter({ name: `slashcloud_${name}`, help, ...this.#labelled(all) });
    for (const [value, labels = {}] of all) counter.inc(labels, value);
  }

  /** Times. */
  histogram(name: string, help: string, samples: readonly (readonly [LagCounts, Labels])[]): void {
    if (samples.length === 0) return;
    new CountedHistogram(`slashcloud_${name}`, help, samples, this.#registry);
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #labelled(samples: readonly Sample[]) {
    return { labelNames: Object.keys(samples[0]?.[1] ?? {}), registers: [this.#registry] };
  }
}

/** A histogram of times (ms) that were counted elsewhere, told in seconds. */
class CountedHistogram extends Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #samples: readonly (readonly [LagCounts, Labels])[];

  constructor(
    name: string,
    help: string,
    samples: readonly (readonly [LagCounts, Labels])[],
    registry: Registry,
  ) {
    super({ name, help, labelNames: Object.keys(samples[0]?.[1] ?? {}), registers: [registry] });
    this.#name = name;
    this.#help = help;
    this.#samples = samples;
  }

  /** What the registry asks a histogram for. */
  async getForPromString() {
    const name = this.#name;
    const values = this.#samples.flatMap(([{ count, sum, upTo }, labels]) => [
      ...LAG_BOUNDS.map((bound, i) => ({
        metricName: `${name}_bucket`,
        labels: { ...labels, le: String(bound / 1000) },
        value: upTo[i] as number,
      })),
      { metricName: `${name}_bucket`, labels: { ...labels, le: "+Inf" }, value: count },
      { metricName: `${name}_sum`, labels, value: sum / 1000 },
      { metricName: `${name}_count`, labels, value: count },
    ]);
    return { name, help: this.#help, type: "histogram", values, aggregator: "sum" };
  }
}

export function metricsText(snapshot: Snapshot): Promise<string> {
  const metrics = new Metrics();
  const { status, followed } = snapshot;
  addDaemon(metrics, status);
  addVolumes(metrics, status, followed);
  addEvents(metrics, snapshot);
  addRequests(metrics, snapshot);
  addQueues(metrics, status);
  addProcesses(metrics, status);
  return metrics.text();
}

function addDaemon(
  metrics: Metrics,
  { guests, unavailable, problems, serverStarts, redis }: DaemonStatus,
): void {
  metrics.gauge("guests", "Guests in the tree.", [[guests.length]]);
  const missing = new Set(unavailable.map(({ guest }) => guest));
  metrics.gauge("guests_unavailable", "Guests that ought to be in the tree and cannot be opened.", [
    [missing.size],
  ]);
  metrics.gauge("problems", "Things that are not well; 0: all is well.", [[problems.length]]);
  metrics.gauge(
    "guest_available",
    "Whether a guest is open (1) or cannot be opened (0).",
    [...new Set([...guests, ...missing])].map((guest) => [missing.has(guest) ? 0 : 1, { guest }]),
  );
  if (serverStarts !== undefined)
    metrics.counter("server_starts_total", "Servers that were started by the supervisor.", [[serverStarts]]);
  if (redis === undefined) return;
  metrics.gauge("redis_connected", "Whether Redis is connected to.", [[redis.isConnected ? 1 : 0]]);
  metrics.counter("redis_events_published_total", "Events that Redis has confirmed.", [[redis.published]]);
  metrics.gauge("redis_events_waiting", "Events that wait to be published.", [[redis.waiting]]);
  metrics.counter("redis_events_missed_total", "Events that were told there as a gap.", [[redis.missed]]);
}

function addVolumes(metrics: Metrics, { volumes }: DaemonStatus, followed: readonly FollowedStatus[]): void {
  const shown = volumes.filter(({ capture }) => capture !== "none");
  const labels = ({ guest, volume }: { guest: string; volume: string }): Labels => ({ guest, volume });
  metrics.gauge(
    "volumes",
    "Volumes by state.",
    VOLUME_STATES.map((state) => [volumes.filter((each) => each.state === state).length, { state }]),
  );
  metrics.gauge(
    "volume_stale",
    "Whether a volume is stale (1): it cannot be read, or its changes cannot be followed.",
    volumes.map((each) => [each.isStale ? 1 : 0, labels(each)]),
  );
  metrics.gauge(
    "volume_streamed",
    "Whether each write to a volume is told (1), or its image is looked at (0).",
    shown.map((each) => [each.capture === "stream" ? 1 : 0, labels(each)]),
  );
  metrics.gauge(
    "volume_transaction",
    "The last transaction that was taken.",
    shown.flatMap((each) => (each.transaction === undefined ? [] : [[each.transaction, labels(each)]])),
  );
  metrics.gauge(
    "volume_look_age_seconds",
    "Time since the image was last seen: what was written before is shown.",
    shown.flatMap((each) => (each.lag.look === undefined ? [] : [[each.lag.look / 1000, labels(each)]])),
  );
  metrics.counter(
    "commits_total",
    "Commits that were taken, parts of transactions (fast commits) included.",
    shown.map((each) => [each.commits.total, labels(each)]),
  );
  metrics.counter(
    "written_bytes_total",
    "Bytes that were written: all of a volume that is streamed, else those of its journal's transactions.",
    shown.map((each) => [each.written.total, labels(each)]),
  );
  metrics.counter(
    "reopened_total",
    "Times that a volume had to be read afresh.",
    shown.map((each) => [each.reopened, labels(each)]),
  );
  metrics.gauge(
    "volume_has_paths",
    "Whether there is a map of a volume's names, so that events have paths.",
    shown.map((each) => [each.hasPaths ? 1 : 0, labels(each)]),
  );
  const measured = followed.filter(({ capture }) => capture !== "none");
  metrics.histogram(
    "commit_lag_seconds",
    "From a commit, by the guest's clock, to its being in the tree, by the host's.",
    measured.map((each) => [each.figures.commitLag, labels(each)]),
  );
  metrics.histogram(
    "take_seconds",
    "From the beginning of the look that found a commit to its being in the tree.",
    measured.map((each) => [each.figures.takeLag, labels(each)]),
  );
}

function addEvents(metrics: Metrics, { events }: Snapshot): void {
  metrics.counter(
    "events_total",
    "Events that were told.",
    Array.from(events.kinds(), ({ guest, volume, kind, count }) => [count, { guest, volume, kind }]),
  );
}

function addRequests(metrics: Metrics, { counts }: Snapshot): void {
  if (counts === undefined) return;
  const requests = new Map<string, number>();
  const errors = new Map<string, [number, Labels]>();
  const cache: [hits: number, misses: number] = [0, 0];
  for (const thread of counts) {
    for (const [operation, count] of thread.requests.counted())
      requests.set(operation, (requests.get(operation) ?? 0) + count);
    for (const [operation, errno, count] of thread.requests.failures()) {
      const name = ERRNO_NAMES.get(errno) ?? String(errno);
      const known = errors.get(`${operation} ${name}`)?.[0] ?? 0;
      errors.set(`${operation} ${name}`, [known + count, { operation, errno: name }]);
    }
    cache[0] += thread.cache[CacheCount.HITS] as number;
    cache[1] += thread.cache[CacheCount.MISSES] as number;
  }
  metrics.counter(
    "fuse_requests_total",
    "Requests of the kernel's.",
    Array.from(requests, ([operation, count]) => [count, { operation }]),
  );
  metrics.counter(
    "fuse_errors_total",
    "Requests that were answered with an error; ENOENT, ENODATA and ENOSYS are everyday answers.",
    errors.values(),
  );
  metrics.counter("cache_hits_total", "Pieces of metadata that were at hand.", [[cache[0]]]);
  metrics.counter("cache_misses_total", "Pieces of metadata that were read.", [[cache[1]]]);
}

function addQueues(metrics: Metrics, { queues }: DaemonStatus): void {
  const of = (value: (counters: DaemonStatus["queues"][number]["counters"]) => number): Sample[] =>
    queues.map(({ guest, disk, capture, counters }) => [value(counters), { guest, disk, capture }]);
  metrics.counter(
    "queue_writes_total",
    "Writes that a disk's queue took.",
    of(({ writes }) => writes),
  );
  metrics.counter(
    "queue_bytes_total",
    "Bytes of data that a disk's queue took.",
    of(({ bytes }) => bytes),
  );
  metrics.counter(
    "queue_batches_total",
    "Batches that were worked on.",
    of(({ batches }) => batches),
  );
  metrics.counter(
    "queue_dropped_writes_total",
    "Writes that were dropped.",
    of(({ droppedWrites }) => droppedWrites),
  );
  metrics.counter(
    "queue_dropped_bytes_total",
    "Bytes that were dropped.",
    of(({ droppedBytes }) => droppedBytes),
  );
  metrics.counter(
    "queue_blocked_total",
    "Times that a guest was asked to wait.",
    of(({ blocked }) => blocked),
  );
  metrics.gauge(
    "queue_waiting_writes",
    "Writes that wait.",
    of(({ waitingWrites }) => waitingWrites),
  );
  metrics.gauge(
    "queue_waiting_bytes",
    "Bytes of writes that wait.",
    of(({ waitingBytes }) => waitingBytes),
  );
}

function addProcesses(metrics: Metrics, { processes }: DaemonStatus): void {
  const of = (value: (each: DaemonStatus["processes"][number]) => number | undefined): Sample[] =>
    processes.flatMap((each) => {
      const found = value(each);
      return found === undefined ? [] : [[found, { process: each.role }]];
    });
  metrics.gauge(
    "process_up",
    "Whether a process of the daemon answers.",
    of(({ problem }) => (problem === "" ? 1 : 0)),
  );
  metrics.gauge(
    "process_resident_memory_bytes",
    "Memory of a process.",
    of(({ rss }) => rss),
  );
  metrics.gauge(
    "process_heap_bytes",
    "Objects of a process' main thread.",
    of(({ heapUsed }) => heapUsed),
  );
  metrics.counter(
    "process_cpu_seconds_total",
    "Processor time of a process.",
    of(({ cpu }) => cpu),
  );
  metrics.gauge(
    "process_start_time_seconds",
    "When a process was started, since 1970.",
    of(({ since }) => (since === undefined ? undefined : Date.parse(since) / 1000)),
  );
}
