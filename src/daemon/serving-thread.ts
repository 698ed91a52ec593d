/**
 * The thread that serves: it owns the views that users read, opens the guests, and then blocks in reads of the FUSE
 * descriptor until the tree is unmounted. Before each request it takes in what the main thread found in the guests.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { IdOwners } from "../cloud/id-owners.js";
import { placeOf } from "../cloud/ids.js";
import type { Place } from "../cloud/place.js";
import type { Policy } from "../cloud/policy/policy.js";
import { ReadMarks } from "../cloud/read-marks.js";
import type { SharedLogs } from "../events/log-reader.js";
import type { NameMatching } from "../filesystems/filesystem.js";
import { FuseServer } from "../fuse/kernel/server.js";
import { EarlyReads } from "./early-reads.js";
import { Forwarding, type RemoteRoute, SERVING_OWNER } from "./forwarding.js";
import type { GuestSpec } from "./guest-name.js";
import { type GuestProblem, passingOver } from "./guest-problem.js";
import { type SharedCounts, ThreadCounts } from "./insight/thread-counts.js";
import { LateLogs } from "./late-logs.js";
import { Ledger } from "./ledger.js";
import { writeLog as log } from "./log/writer.js";
import { type OpenTree, openTree } from "./open-tree.js";
import { type ShownVolume, shownVolumes } from "./shown-volumes.js";
import { type Told, type Update, volumeKey } from "./updates.js";
import { Updating } from "./updating.js";

/** What the thread is started with. */
export interface ServingData {
  readonly host: string;
  /** The guests that it answers for, and the names of all. */
  readonly guests: readonly GuestSpec[];
  readonly names: readonly string[];
  /** Those without which it is not to start. */
  readonly required: readonly string[];
  /** Those of which the log need not be told again what there is to say when they are opened. */
  readonly known: readonly string[];
  /** Of IdOwners; this thread is SERVING_OWNER. */
  readonly owners: SharedArrayBuffer;
  /** Keys of the volumes whose every change will be told. */
  readonly followed: ReadonlySet<string>;
  /** Updates come here; how many have been sent is in `sent`, so that asking costs nothing while there are none. */
  readonly updates: MessagePort;
  readonly sent: Int32Array;
  /** Of ReadMarks. */
  readonly marks: SharedArrayBuffer;
  readonly policy: Policy;
  readonly matching: NameMatching;
  /** Whether directories show files of events, and whether they list them; undefined: they show none. */
  readonly events: { readonly areListed: boolean } | undefined;
  /** Where it counts what is asked of it. */
  readonly counts: SharedCounts;
}

/**
 * What the thread tells: the guests are open (then it waits for the descriptors), or why they are not; later, that the
 * ledger cannot be kept any more, and what the main thread is to see to.
 */
export type ServingMessage =
  | {
      readonly kind: "open";
      readonly volumes: readonly ShownVolume[];
      readonly hostDirectory: number;
      readonly problems: readonly GuestProblem[];
    }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "unrecorded"; readonly message: string }
  /** See EarlyReads. */
  | { readonly kind: "read"; readonly high: number; readonly low: number }
  /** See UncommonNodes. */
  | { readonly kind: "uncommon"; readonly high: number; readonly low: number; readonly generation: number }
  | Told;

/** What the thread is told, once the tree is mounted. */
export interface ServeMessage {
  /** Of /dev/fuse. */
  readonly fd: number;
  /** Of the ledger, with what an earlier server of the same mount has told the kernel. */
  readonly ledger: number;
  /** The logs of events; undefined: there are none. */
  readonly logs: SharedLogs | undefined;
  /** The guests that others answer for. */
  readonly remotes: readonly RemoteRoute[];
}

class Serving {
  readonly #port: MessagePort;
  readonly #data: ServingData;
  readonly #opened: OpenTree;
  readonly #owners: IdOwners;
  readonly #logs = new LateLogs();
  /** Of guests that could not be opened. */
  readonly problems: GuestProblem[] = [];
  readonly #counts: ThreadCounts;
  #taken = 0;
  readonly #updating: Updating;

  constructor(port: MessagePort, data: ServingData) {
    this.#port = port;
    this.#data = data;
    const { host, guests, names, required, known, followed, events, policy, matching } = data;
    this.#owners = new IdOwners(data.owners);
    this.#counts = new ThreadCounts(data.counts);
    this.#opened = openTree(
      host,
      guests,
      (line, about) => {
        if (about?.guest === undefined || !known.includes(about.guest)) log(line, about);
      },
      {
        refresh: () => this.#refresh(),
        holds: () => this.#updating.holds(this.#tell),
        isFollowed: (guest, { volume }) => followed.has(volumeKey(guest.name, volume.name)),
      },
      events === undefined ? undefined : { logs: this.#logs, areListed: events.areListed },
      { guests: names, owners: this.#owners, owner: SERVING_OWNER },
      policy,
      this.#counts.cache,
      passingOver(required, this.problems),
      matching,
    );
    this.#updating = new Updating(this.#opened, data.followed, log);
  }

  get hostDirectory(): number {
    return this.#opened.host.id;
  }

  readonly #tell = (told: Told): void => {
    this.#port.postMessage(told satisfies ServingMessage);
  };

  shown(): ShownVolume[] {
    return shownVolumes(this.#opened);
  }

  serve({ fd, ledger: ledgerFd, logs, remotes }: ServeMessage): void {
    if (logs !== undefined) this.#logs.open(logs);
    const ledger = new Ledger(ledgerFd, ({ message }) => {
      this.#port.postMessage({ kind: "unrecorded", message } satisfies ServingMessage);
    });
    const places = new Map<number, Place>();
    for (const volumes of this.#opened.places.values()) {
      for (const shown of volumes.values()) for (const place of shown) places.set(place.id, place);
    }
    for (const place of places.values()) {
      place.ledger = ledger;
      place.uncommon = (high, low, generation) =>
        this.#port.postMessage({ kind: "uncommon", high, low, generation } satisfies ServingMessage);
    }
    ledger.visit((high, ...slot) => places.get(placeOf(high))?.inherit(high, ...slot));
    const early = new EarlyReads((high, low) => {
      this.#port.postMessage({ kind: "read", high, low } satisfies ServingMessage);
    });
    this.#opened.tree.tellReads(early);
    this.#opened.tree.markReads(new ReadMarks(this.#data.marks));
    const forwarder =
      remotes.length === 0
        ? undefined
        : new Forwarding(remotes, this.#data.names, this.#owners, this.hostDirectory, ledger);
    const { requests: counts } = this.#counts;
    const { tree } = this.#opened;
    new FuseServer({ fd, tree, log, longTimeouts: true, counts, ledger, forwarder }).serve();
  }

  #refresh(): void {
    while (this.#taken !== Atomics.load(this.#data.sent, 0)) {
      const received = receiveMessageOnPort(this.#data.updates) as { message: Update } | undefined;
      if (received === undefined) break;
      this.#taken = (this.#taken + 1) | 0;
      const told = this.#updating.take(received.message);
      if (told !== undefined) this.#tell(told);
    }
    this.#updating.forgetUnfollowed();
  }
}

function start(port: MessagePort): void {
  let serving: Serving;
  try {
    serving = new Serving(port, workerData as ServingData);
  } catch (error) {
    port.postMessage({ kind: "failed", message: (error as Error).message } satisfies ServingMessage);
    return;
  }
  port.once("message", (message: ServeMessage) => {
    serving.serve(message);
    process.exit();
  });
  port.postMessage({
    kind: "open",
    volumes: serving.shown(),
    hostDirectory: serving.hostDirectory,
    problems: serving.problems,
  } satisfies ServingMessage);
}

if (parentPort !== null) start(parentPort);
