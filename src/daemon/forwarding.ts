/** In the thread that reads requests: hands on those for guests that threads of their own answer for. */
import type { MessagePort } from "node:worker_threads";
import { directoriesOf } from "../cloud/build.js";
import { type IdOwners, isOfNoPlace } from "../cloud/id-owners.js";
import { hash, placeOf } from "../cloud/ids.js";
import type { Forwarder } from "../fuse/kernel/forwarder.js";
import { Opcode, RequestHeader } from "../fuse/kernel/protocol.js";
import type { ForgottenNode, Request } from "../fuse/kernel/request.js";
import type { Ledger } from "./ledger.js";
import { Waiting } from "./waiting.js";

/** The number, as an owner of ids, of the thread that reads requests. Those of others are larger. */
export const SERVING_OWNER = 1;

/** Who answers for a guest. */
export interface RemoteRoute {
  readonly guest: string;
  /** Its number as an owner of ids. */
  readonly owner: number;
  /** Requests go here, */
  readonly port: MessagePort;
  /** and those that wait for an answer are noted here. */
  readonly waiting: SharedArrayBuffer;
}

/** A request on its way; `bytes` as the kernel wrote it. */
export interface ForwardedRequest {
  readonly slot: number;
  readonly bytes: Uint8Array;
}

/** What passes to the thread of a guest: also that the kernel has forgotten nodes. */
export type Forwarded = ForwardedRequest | { readonly forgotten: readonly ForgottenNode[] };

/** The inode number under which the ledger has whose a place is: one that no file has. */
const OWNER_INODE = 0;

interface Route {
  /** Names the guest in the ledger. */
  readonly digest: number;
  readonly port: MessagePort;
  readonly waiting: Waiting;
}

export class Forwarding implements Forwarder {
  readonly #owners: IdOwners;
  readonly #hostDirectory: number;
  /** By owner, by the id of a directory that is on no volume, and by name in the host's directory. */
  readonly #byOwner: (Route | undefined)[] = [];
  readonly #byDirectory = new Map<number, Route>();
  readonly #byName = new Map<string, Route>();
  readonly #ledger: Ledger;
  /** Ids of places that are in the ledger. */
  readonly #noted = new Set<number>();
  /** Where the request goes that was last found to be elsewhere. */
  #route: Route | undefined;

  /**
   * `guests`: the names of all the host's guests. What the ledger says is whose is so from now on: of a guest that is not
   * open yet after a restart, requests for open files come already.
   */
  constructor(
    routes: readonly RemoteRoute[],
    guests: readonly string[],
    owners: IdOwners,
    hostDirectory: number,
    ledger: Ledger,
  ) {
    this.#ledger = ledger;
    this.#owners = owners;
    this.#hostDirectory = hostDirectory;
    for (const { guest, owner, port, waiting } of routes) {
      const route = { digest: hash(guest), port, waiting: new Waiting(waiting) };
      this.#byOwner[owner] = route;
      this.#byName.set(Buffer.from(guest).toString("latin1"), route);
      for (const id of directoriesOf(guest, guests)) this.#byDirectory.set(id, route);
    }
    ledger.visit((high, low, digest) => {
      const owner = this.#byOwner.findIndex((route) => route?.digest === digest);
      if (low === OWNER_INODE && owner > 0) owners.claim(high, owner);
    });
  }

  isElsewhere(request: Request): boolean {
    const { high } = request;
    const owner = this.#owners.of(high);
    if (owner !== 0) this.#route = this.#byOwner[owner];
    else this.#route = isOfNoPlace(high) ? this.#ofDirectory(request) : undefined;
    return this.#route !== undefined;
  }

  forward(request: Request): boolean {
    const { port, waiting } = this.#route as Route;
    if (waiting.isStalled) return false;
    this.#note(request.high);
    const { words } = request;
    const slot = waiting.add(
      words[RequestHeader.UNIQUE] as number,
      words[RequestHeader.UNIQUE + 1] as number,
    );
    if (slot < 0) return false;
    const bytes = new Uint8Array(request.bytes.subarray(0, request.length));
    port.postMessage({ slot, bytes } satisfies Forwarded);
    return true;
  }

  forget(nodes: readonly ForgottenNode[]): readonly ForgottenNode[] {
    const own: ForgottenNode[] = [];
    const others = new Map<Route, ForgottenNode[]>();
    for (const node of nodes) {
      const route = this.#byOwner[this.#owners.of(node.high)];
      if (route === undefined) own.push(node);
      else if (others.get(route)?.push(node) === undefined) others.set(route, [node]);
    }
    for (const [{ port }, forgotten] of others) port.postMessage({ forgotten } satisfies Forwarded);
    return own;
  }

  interrupt(uniqueLow: number, uniqueHigh: number): void {
    for (const route of this.#byName.values()) route.waiting.hurry(uniqueLow, uniqueHigh);
  }

  /** Puts on record whose a node's place is. */
  #note(high: number): void {
    const id = placeOf(high);
    if (isOfNoPlace(high) || this.#noted.has(id)) return;
    this.#noted.add(id);
    this.#ledger.parent(id, OWNER_INODE, (this.#route as Route).digest);
    this.#ledger.flush();
  }

  #ofDirectory(request: Request): Route | undefined {
    const { high, low } = request;
    if (high === 0 && low === this.#hostDirectory)
      return request.opcode === Opcode.LOOKUP
        ? this.#byName.get(request.name().toString("latin1"))
        : undefined;
    return this.#byDirectory.get(low);
  }
}
