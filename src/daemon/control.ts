/** The control socket: HTTP and JSON over a unix socket, for the command line and for other programs of the same user. */
import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { setImmediate as others, setTimeout as sleep } from "node:timers/promises";
import { eventText } from "../events/line.js";
import type { LogReplay } from "../events/log-replay.js";
import { Selection } from "../events/selection.js";
import type { Missed, Subscription } from "../events/subscribers.js";
import { COMMANDS, type Command, parseCommand, type RunCommand } from "./commands.js";
import { CONTROL_INDEX, knownPaths } from "./control-index.js";
import { METRICS_TYPE } from "./insight/metrics-listener.js";
import { controlSocket, type SocketPath } from "./socket-path.js";

/** Where events come from. */
export interface EventSource {
  /** The stored ones: of a guest, or of all. */
  replay(guest: string | undefined): LogReplay;
  readonly subscribers: { subscribe(): Subscription };
  /** The number of each guest's last event. */
  lastIds(): Record<string, number>;
}

/** The header of an answer that has the number of each guest's last event before it: JSON, in percent encoding. */
export const POSITION_HEADER = "slashcloud-position";

export interface ControlOptions {
  /** The state directory, which this process has locked. */
  readonly directory: string;
  readonly events: EventSource;
  /** What `/v1/status` answers. */
  readonly status: () => object | Promise<object>;
  /** What `/v1/metrics` answers. */
  readonly metrics: () => Promise<string>;
  /** Does what `/v1/attach` and the other commands ask for. */
  readonly run: RunCommand;
}

/** Bytes of what is sent with a request, at most. */
const MOST_BODY = 64 << 10;
/** ms for commands to be answered at the end. */
const LAST_ANSWERS = 200;
/** Characters that are sent at a time. */
const PIECE = 64 << 10;

export class Control {
  readonly #options: ControlOptions;
  readonly #server: Server;
  #socket: SocketPath | undefined;
  /** Commands that are not answered yet. */
  readonly #commands = new Set<Promise<void>>();

  constructor(options: ControlOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: Error) => {
        // The answer may have begun: then its end is missing, which tells.
        if (response.headersSent) response.destroy();
        else refuse(response, 500, error.message);
      });
    });
  }

  /** Listens. Throws a system error. */
  async start(): Promise<void> {
    this.#socket = controlSocket(this.#options.directory);
    const { path } = this.#socket;
    // Left by a process that was killed: the directory is ours.
    rmSync(path, { force: true });
    this.#server.listen(path);
    await once(this.#server, "listening");
    chmodSync(path, 0o600);
  }

  /** Ends all connections. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    // What was done may be why this server ends.
    await Promise.race([Promise.allSettled(this.#commands), sleep(LAST_ANSWERS)]);
    this.#server.closeAllConnections();
    await closed;
    this.#socket?.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    const command = COMMANDS.find((kind) => pathname === `/v1/${kind}`);
    if (command !== undefined) {
      const done = this.#command(command, request, response);
      this.#commands.add(done);
      await done.finally(() => this.#commands.delete(done));
    } else if (request.method !== "GET") refuse(response, 405, `${request.method}: only GET is known`);
    else if (pathname === "/") answerJson(response, CONTROL_INDEX, 1);
    else if (pathname === "/v1/status") answerJson(response, await this.#options.status());
    else if (pathname === "/v1/metrics") {
      const text = await this.#options.metrics();
      response.writeHead(200, { "content-type": METRICS_TYPE }).end(text);
    } else if (pathname === "/v1/events") await this.#events(searchParams, response);
    else refuse(response, 404, `${pathname}: not known; there are ${knownPaths()}`);
  }

  async #command(kind: Command["kind"], request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== "POST") {
      refuse(response, 405, `${request.method}: only POST is known here`);
      return;
    }
    let text = "";
    for await (const piece of request.setEncoding("utf8")) {
      text += piece;
      if (text.length > MOST_BODY) throw new Error("the request is too long");
    }
    let command: Command;
    try {
      command = parseCommand(kind, text);
    } catch (error) {
      refuse(response, 400, (error as Error).message);
      return;
    }
    try {
      const { lines: done, guests } = await this.#options.run(command);
      response.writeHead(200, { "content-type": "application/json" });
      await new Promise<void>((resolve) => {
        response.on("close", resolve).end(`${JSON.stringify({ done, guests })}\n`, resolve);
      });
    } catch (error) {
      refuse(response, 409, (error as Error).message);
    }
  }

  async #events(parameters: URLSearchParams, response: ServerResponse): Promise<void> {
    const since = parameters.get("since") ?? undefined;
    const after = parameters.get("after") ?? undefined;
    const isFollowing = parameters.get("follow") === "1";
    let selection: Selection;
    try {
      selection = new Selection({ since, after, pattern: parameters.get("pattern") ?? undefined });
    } catch (error) {
      refuse(response, 400, (error as Error).message);
      return;
    }
    const { events } = this.#options;
    // In one step, as events come in this thread: what is not stored yet is told to the subscription.
    const subscription = isFollowing ? events.subscribers.subscribe() : undefined;
    response.on("close", () => subscription?.close());
    const isStoredWanted = !isFollowing || since !== undefined || after !== undefined;
    const replay = isStoredWanted ? events.replay(selection.guest) : undefined;
    const position = encodeURIComponent(JSON.stringify(events.lastIds()));
    response.writeHead(200, { "content-type": "application/x-ndjson", [POSITION_HEADER]: position });
    response.flushHeaders();
    try {
      if (replay !== undefined) await send(response, stored(replay, selection));
    } finally {
      replay?.close();
    }
    while (subscription !== undefined && !subscription.isClosed)
      await send(response, live(await subscription.take(), selection));
    response.end();
  }
}

function* stored(replay: LogReplay, selection: Selection): Generator<string> {
  for (const { json } of replay.lines()) yield selection.takesStored(json) ? json : "";
}

function* live(taken: Awaited<ReturnType<Subscription["take"]>>, selection: Selection): Generator<string> {
  for (const each of taken) {
    if ("missed" in each) yield missedText(each);
    else if (selection.takes(each.event)) yield eventText(each.event);
  }
}

/** To one who reads too slowly. */
function missedText({ missed }: Missed): string {
  const reason = `${missed} event${missed === 1 ? " was" : "s were"} passed over, as the reader was too slow`;
  return JSON.stringify({ time: new Date().toISOString(), event: "gap", reason });
}

/** Sends lines as fast as they are read, in pieces, and lets others have their turn. An empty one is none. */
async function send(response: ServerResponse, lines: Iterable<string>): Promise<void> {
  let piece = "";
  let looked = 0;
  for (const line of lines) {
    if (response.destroyed) return;
    looked++;
    if (line !== "") piece += `${line}\n`;
    if (piece.length < PIECE && looked % 1000 !== 0) continue;
    if (piece !== "" && !response.write(piece)) await drained(response);
    piece = "";
    await others();
  }
  if (piece !== "" && !response.write(piece)) await drained(response);
}

async function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

function answerJson(response: ServerResponse, body: object, indent?: number): void {
  const text = JSON.stringify(body, undefined, indent);
  response.writeHead(200, { "content-type": "application/json" }).end(`${text}\n`);
}

function refuse(response: ServerResponse, code: number, error: string): void {
  response.writeHead(code, { "content-type": "application/json" }).end(`${JSON.stringify({ error })}\n`);
}
