/**
 * The guests whose storage may stall, as the main thread sees them: each has a thread that answers for it, and one that
 * notifies the kernel. What they do not answer in time is answered with an error here.
 */
import { MessageChannel, Worker } from "node:worker_threads";
import type { IdOwners } from "../cloud/id-owners.js";
import type { Policy } from "../cloud/policy/policy.js";
import type { NameMatching } from "../filesystems/filesystem.js";
import { Errno } from "../fuse/errno.js";
import { Refusal } from "../fuse/kernel/refusal.js";
import type { Log } from "../images/image.js";
import type { WriteRecord } from "../queue/write-record.js";
import type { EventHub } from "./event-hub.js";
import { type RemoteRoute, SERVING_OWNER } from "./forwarding.js";
import type { GuestSpec } from "./guest-name.js";
import type { Insight } from "./insight/insight.js";
import { ThreadCounts } from "./insight/thread-counts.js";
import type { NotifyingData } from "./notifying-thread.js";
import type { Policing, SendUpdate } from "./policing.js";
import { fromPost } from "./posted-changes.js";
import { postedWrites } from "./posted-writes.js";
import type { RemoteData, RemoteMessage, ToRemote } from "./remote-thread.js";
import type { FollowedStatus } from "./status.js";
import type { MetadataTaker, StreamTaker } from "./stream-taker.js";
import { DEADLINE, LOOK_EVERY, Waiting } from "./waiting.js";

export interface RemoteGuestsOptions {
  readonly host: string;
  readonly guests: readonly GuestSpec[];
  /** The names of all the host's guests. */
  readonly names: readonly string[];
  readonly owners: IdOwners;
  /** Of /dev/fuse. */
  readonly fd: number;
  readonly hostDirectory: number;
  readonly events: EventHub | undefined;
  readonly eventsAreListed: boolean;
  readonly policy: Policy;
  readonly matching: NameMatching;
  readonly policing: Policing;
  readonly log: Log;
  /** A thread has failed by a fault of its own. */
  readonly crash: (message: string) => void;
  /** Is told how it goes. */
  readonly insight: Insight;
}

/** What is told of a guest whose storage stalls. */
const STALLED = `its storage has not answered for ${DEADLINE / 1000} s`;

interface Remote {
  readonly guest: string;
  readonly thread: Worker;
  readonly waiting: Waiting;
  isStalled: boolean;
  /** As it was told last. */
  status: readonly FollowedStatus[];
  /** Why it is not open; "" if it is, or nothing is known yet. */
  problem: string;
  isOpen: boolean;
}

export class RemoteGuests implements StreamTaker {
  /** For the serving thread: to be posted with its ports. */
  readonly routes: readonly RemoteRoute[];
  readonly #options: RemoteGuestsOptions;
  readonly #refusal: Refusal;
  readonly #remotes: Remote[] = [];
  #events: EventHub | undefined;
  #tellMetadata: MetadataTaker = () => {};

  /** Starts the threads; the serving thread has taken its ids by now. */
  constructor(options: RemoteGuestsOptions) {
    this.#options = options;
    this.#events = options.events;
    this.#refusal = new Refusal(options.fd);
    this.routes = options.guests.map((guest, index) => this.#start(guest, SERVING_OWNER + 1 + index));
    if (this.routes.length > 0) setInterval(() => this.#look(), LOOK_EVERY);
  }

  /** Tells no more events. Requests are answered on. */
  stop(): void {
    this.#events = undefined;
  }

  /** Has it told where the metadata of disks is of which there is a stream of writes. */
  tellMetadata(take: MetadataTaker): void {
    this.#tellMetadata = take;
  }

  streamBegins(guest: string, disk: number, unknownLife: number): void {
    this.#send(guest, { kind: "stream begins", disk, unknownLife });
  }

  streamEnded(guest: string, disk: number): void {
    this.#send(guest, { kind: "stream ended", disk });
  }

  written(guest: string, disk: number, records: readonly WriteRecord[]): void {
    this.#send(guest, { kind: "written", disk, writes: postedWrites(records) });
  }

  #send(guest: string, message: ToRemote): void {
    this.#remotes.find((remote) => remote.guest === guest)?.thread.postMessage(message);
  }

  #start(guest: GuestSpec, owner: number): RemoteRoute {
    const { host, names, owners, fd, hostDirectory, eventsAreListed, policy, matching, insight } =
      this.#options;
    const events = this.#events;
    const requests = new MessageChannel();
    const notices = new MessageChannel();
    const waiting = new Waiting();
    const counts = new ThreadCounts();
    const { name } = guest;
    const answering = new Worker(new URL("./remote-thread.js", import.meta.url), {
      workerData: {
        host,
        guest,
        names,
        owners: owners.shared,
        owner,
        policy,
        matching,
        fd,
        requests: requests.port2,
        waiting: waiting.shared,
        notices: notices.port1,
        counts: counts.shared,
        events: events && {
          logs: events.shared,
          areListed: eventsAreListed,
          resumePoints: events.allResumePoints(name),
        },
      } satisfies RemoteData,
      transferList: [requests.port2, notices.port1],
    });
    const remote: Remote = {
      guest: name,
      thread: answering,
      waiting,
      isStalled: false,
      status: [],
      problem: "",
      isOpen: false,
    };
    answering.on("message", (message: RemoteMessage) => this.#take(remote, message));
    const notifying = new Worker(new URL("./notifying-thread.js", import.meta.url), {
      workerData: { guest: name, fd, hostDirectory, notices: notices.port2 } satisfies NotifyingData,
      transferList: [notices.port2],
    });
    for (const worker of [answering, notifying])
      worker.on("error", (error) => this.#options.crash(`a thread of ${name} failed: ${error.message}`));
    this.#remotes.push(remote);
    insight.count(counts);
    insight.follow(() =>
      remote.isStalled
        ? remote.status.map((status) => ({ ...status, state: "unreadable" as const, problem: STALLED }))
        : remote.status,
    );
    insight.miss(() => {
      const reason = remote.isStalled && !remote.isOpen ? STALLED : remote.problem;
      return reason === "" ? [] : [{ guest: name, reason }];
    });
    return { guest: name, owner, port: requests.port1, waiting: waiting.shared };
  }

  #take(remote: Remote, message: RemoteMessage): void {
    const events = this.#events;
    const { guest } = remote;
    const send: SendUpdate = (update, transfers) =>
      remote.thread.postMessage({ kind: "update", update } satisfies ToRemote, transfers);
    if (message.kind === "opened") void this.#options.policing.begin(message.mounts, send);
    if (message.kind === "reread") void this.#options.policing.tell(message.volume, send);
    if (message.kind === "metadata") this.#tellMetadata(guest, message.disk, message.ranges);
    if (message.kind === "status") remote.status = message.volumes;
    if (message.kind === "problem") remote.problem = message.reason;
    if (message.kind === "opened") {
      remote.problem = "";
      remote.isOpen = true;
    }
    if (events === undefined) return;
    switch (message.kind) {
      case "opened":
        events.setMounts(message.mounts);
        break;
      case "begin":
        events.begin(guest, message.volume, message.uuid, message.point, message.after);
        break;
      case "step":
        events.take(guest, message.volume, { ...message.step, changes: fromPost(message.step.changes) });
        break;
      case "written":
        events.write(guest, message.volume, message.written);
        break;
      case "lost":
        events.lost(guest, message.volume);
        break;
      case "reopened":
        events.reopened(guest, message.volume, message.uuid, message.reason);
        break;
    }
  }

  #look(): void {
    for (const remote of this.#remotes) {
      const isStalled = remote.waiting.look((low, high, isUnwanted) =>
        this.#refusal.send(low, high, isUnwanted ? Errno.EINTR : Errno.EIO),
      );
      if (isStalled === remote.isStalled) continue;
      remote.isStalled = isStalled;
      this.#options.log(
        isStalled
          ? `${remote.guest}: ${STALLED}: until it does, reading fails`
          : `${remote.guest}: its storage answers again`,
        { guest: remote.guest, level: isStalled ? "error" : "notice" },
      );
    }
  }
}
