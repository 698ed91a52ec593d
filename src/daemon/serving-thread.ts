/**
 * The thread that serves: it owns the views that users read, opens the guests, and then blocks in reads of the FUSE
 * descriptor until the tree is unmounted. Before each request it takes in what the main thread found in the guests.
 */
import { writeSync } from "node:fs";
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { IdOwners } from "../cloud/id-owners.js";
import { placeOf } from "../cloud/ids.js";
import type { Place } from "../cloud/place.js";
import { ReadMarks } from "../cloud/read-marks.js";
import type { SharedLogs } from "../events/log-reader.js";
import { FuseServer } from "../fuse/kernel/server.js";
import { EarlyReads } from "./early-reads.js";
import { Forwarding, type RemoteRoute, SERVING_OWNER } from "./forwarding.js";
import type { GuestSpec } from "./guest-name.js";
import { LateLogs } from "./late-logs.js";
import { Ledger } from "./ledger.js";
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
  /** Of IdOwners; this thread is SERVING_OWNER. */
  readonly owners: SharedArrayBuffer;
  /** Keys of the volumes whose every change will be told. */
  readonly followed: ReadonlySet<string>;
  /** Updates come here; how many have been sent is in `sent`, so that asking costs nothing while there are none. */
  readonly updates: MessagePort;
  readonly sent: Int32Array;
  /** Of ReadMarks. */
  readonly marks: SharedArrayBuffer;
  /** Whether directories show files of events, and whether they list them; undefined: they show none. */
  readonly events: { readonly areListed: boolean } | undefined;
}

/**
 * What the thread tells: the guests are open (then it waits for the descriptors), or why they are not; later, that the
 * ledger cannot be kept any more, and what the main thread is to see to.
 */
export type ServingMessage =
  | { readonly kind: "open"; readonly volumes: readonly ShownVolume[]; readonly hostDirectory: number }
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

/** The thread's own standard error would need its event loop, which stands still while it serves. */
function log(line: string): void {
  try {
    writeSync(2, `slashcloud: ${line}\n`);
  } catch {
    // Nobody listens.
  }
}

class Serving {
  readonly #port: MessagePort;
  readonly #data: ServingData;
  readonly #opened: OpenTree;
  readonly #owners: IdOwners;
  readonly #logs = new LateLogs();
  #taken = 0;
  readonly #updating: Updating;

  constructor(port: MessagePort, data: ServingData) {
    this.#port = port;
    this.#data = data;
    const { host, guests, names, followed, events } = data;
    this.#owners = new IdOwners(data.owners);
    this.#opened = openTree(
      host,
      guests,
      log,
      {
        refresh: () => this.#refresh(),
        holds: () => this.#updating.holds(this.#tell),
        isFollowed: (guest, { volume }) => followed.has(volumeKey(guest.name, volume.name)),
      },
      events === undefined ? undefined : { logs: this.#logs, areListed: events.areListed },
      { guests: names, owners: this.#owners, owner: SERVING_OWNER },
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
    new FuseServer({ fd, tree: this.#opened.tree, log, longTimeouts: true, ledger, forwarder }).serve();
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
  } satisfies ServingMessage);
}

if (parentPort !== null) start(parentPort);
