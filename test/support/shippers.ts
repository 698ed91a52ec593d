/** Log shippers with the configurations in docs/shippers, their paths and where they send to put in their places. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { endWithTests, onEnd } from "./images-mount.js";

/** A line as it was delivered. */
export interface Delivered {
  readonly guest: string;
  readonly file: string;
  readonly text: string;
}

/** A shipper that can be stopped and started again, and goes on from what it has kept. */
export interface Shipper {
  start(): void;
  stop(): Promise<void>;
  /** All that came, since the first start. */
  delivered(): readonly Delivered[];
}

const shipped = (name: string): string =>
  readFileSync(join(import.meta.dirname, "../../docs/shippers", name), "utf8");

/** Replaces what must be there. */
function put(text: string, from: string, to: string): string {
  if (!text.includes(from)) throw new Error(`"${from}" is not in the file that is shipped`);
  return text.replaceAll(from, to);
}

function program(command: string, args: readonly string[]): Pick<Shipper, "start" | "stop"> {
  let child: ChildProcess | undefined;
  let ended: Promise<void> | undefined;
  let forget = () => {};
  return {
    start: () => {
      const started = spawn(command, args, { stdio: "ignore" });
      child = started;
      forget = endWithTests(started);
      ended = new Promise((resolve) => started.once("close", () => resolve()));
    },
    stop: async () => {
      child?.kill("SIGTERM");
      await ended;
      forget();
    },
  };
}

/** rsyslogd, which sends to a server of this process. */
export async function rsyslog(folder: string, mount: string): Promise<Shipper> {
  mkdirSync(folder, { recursive: true });
  let received = "";
  const server = createServer((connection) => {
    connection.setEncoding("utf8").on("data", (text: string) => {
      received += text;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onEnd(() => server.close());
  let text = put(shipped("rsyslog.conf"), "/cloud/", `${mount}/`);
  text = put(text, 'port="514"', `port="${(server.address() as AddressInfo).port}"`);
  const conf = join(folder, "rsyslog.conf");
  writeFileSync(conf, `global(workDirectory="${folder}")\n${text}`);
  return {
    ...program("rsyslogd", ["-n", "-f", conf, "-i", join(folder, "pid")]),
    delivered: () =>
      received
        .split("\n")
        .slice(0, -1)
        .map((line) => {
          const [, guest, file, message] = /^<\d+>1 \S+ (\S+) (\S+) - - - (.*)$/.exec(line) ?? [];
          if (message === undefined) throw new Error(`a line that no rule of RFC 5424 explains: ${line}`);
          return { guest: guest as string, file: file as string, text: message };
        }),
  };
}

/** Fluent Bit, which writes to a file. */
export async function fluentBit(folder: string, mount: string, command: string): Promise<Shipper> {
  mkdirSync(folder, { recursive: true });
  let text = put(shipped("fluent-bit.yaml"), "/cloud/*", `${mount}/*`);
  text = put(text, "/var/lib/fluent-bit", folder);
  const settings = parse(text) as { pipeline: { outputs: object[] } };
  settings.pipeline.outputs = [{ name: "file", match: "guest", path: folder, file: "delivered" }];
  const conf = join(folder, "fluent-bit.yaml");
  writeFileSync(conf, stringify(settings));
  const out = join(folder, "delivered");
  return {
    ...program(command, ["-c", conf]),
    delivered: () =>
      (existsSync(out) ? readFileSync(out, "utf8").split("\n").slice(0, -1) : []).map((line) => {
        const [, record = ""] = /^guest: \[[\d.]+, (.*)\]$/.exec(line) ?? [];
        const { file, log } = JSON.parse(record) as { file: string; log: string };
        const [, guest = "", name = ""] = /([^/]+)\/var\/log\/([^/]+)$/.exec(file) ?? [];
        return { guest, file: name, text: log };
      }),
  };
}
