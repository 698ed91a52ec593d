/** A real redis-server for a test: on a free port of the loopback and a unix socket, in a folder of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { onEnd } from "./images-mount.js";

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** What makes it write each change to its disk before it answers. */
export const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];

export class RedisServer {
  readonly port: number;
  readonly socket: string;
  readonly url: string;
  readonly #folder: string;
  readonly #options: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number, options: readonly string[]) {
    this.#folder = folder;
    this.port = port;
    this.socket = join(folder, "redis.sock");
    this.url = `redis://127.0.0.1:${port}`;
    this.#options = options;
    mkdirSync(folder, { recursive: true });
    onEnd(() => this.#child?.kill("SIGKILL"));
  }

  static async start(folder: string, options: readonly string[] = [], port = 0): Promise<RedisServer> {
    const server = new RedisServer(folder, port === 0 ? await freePort() : port, options);
    await server.start();
    return server;
  }

  /** Starts it (again); returns when it answers at its socket. */
  async start(): Promise<void> {
    const child = spawn(
      "redis-server",
      ["--bind", "127.0.0.1", "--port", String(this.port), "--unixsocket", this.socket, "--save", ""].concat(
        ["--dir", this.#folder],
        this.#options,
      ),
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    this.#child = child;
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    for (let tries = 0; !/Ready to accept|ready to accept/.test(output); tries++) {
      if (child.exitCode !== null || tries > 1000) throw new Error(`redis-server did not start:\n${output}`);
      await sleep(10);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
  }

  /** A client; it is closed at the end. */
  client(options: { username?: string; password?: string } = {}): Redis {
    const client = new Redis({ path: this.socket, protocol: 2, retryStrategy: () => 50, ...options });
    client.on("error", () => {});
    onEnd(() => client.disconnect());
    return client;
  }
}
