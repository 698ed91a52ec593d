/** Log shippers read guests' logs in the tree, by the configurations in docs/shippers: each line comes once. */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { parse } from "yaml";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { fluentBit, rsyslog, type Shipper } from "./support/shippers.js";

const folder = workFolder("shippers");

afterAll(cleanUp);

/** ms until all lines must have come. */
const LIMIT = 90_000;

/** Fluent Bit is no package of Debian's: the variable names its program where there is one. */
const { SLASHCLOUD_FLUENT_BIT: fluentBitProgram } = process.env;

type Start = (folder: string, mount: string) => Promise<Shipper>;
const SHIPPERS: readonly (readonly [string, Start])[] = [
  ["rsyslog", rsyslog],
  ...(fluentBitProgram === undefined
    ? []
    : [["Fluent Bit", (work: string, tree: string) => fluentBit(work, tree, fluentBitProgram)] as const]),
];

/** A guest's log, as the guest writes it. */
class Log {
  readonly lines: string[] = [];
  readonly guest: string;
  readonly path: string;

  constructor(guest: string, root: string) {
    this.guest = guest;
    this.path = join(root, "var/log/app.log");
    mkdirSync(join(root, "var/log"), { recursive: true });
    this.put();
  }

  /** A line, made durable at once. */
  put(): void {
    const line = `line ${this.lines.length} of ${this.guest}`;
    this.lines.push(line);
    const file = openSync(this.path, "a");
    appendFileSync(file, `${line}\n`);
    fsyncSync(file);
    closeSync(file);
  }
}

const ROTATE: Readonly<Record<string, (log: string, n: number) => void>> = {
  renamed: (log, n) => renameSync(log, `${log}.${n}`),
  copied: (log, n) => {
    copyFileSync(log, `${log}.${n}`);
    truncateSync(log, 0);
  },
};

test.each(SHIPPERS)(
  "%s delivers each line of all guests' logs once, in order: over rotations, a kill of the server, its own restart",
  async (name, start) => {
    const work = join(folder, name);
    mkdirSync(work);
    const logs: Log[] = [];
    const images: Record<string, string> = {};
    const unmounts: (() => void)[] = [];
    for (const guest of ["renamed", "copied", "plain"]) {
      const image = join(work, `${guest}.img`);
      await run("truncate", ["-s", "48M", image]);
      await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
      const inside = join(work, `${guest}-inside`);
      unmounts.push(await mount(image, inside, "loop"));
      logs.push(new Log(guest, inside));
      execFileSync("sync", ["-f", inside]);
      images[guest] = image;
    }
    const served = await serve(join(work, "cloud"), images);
    const shipper = await start(join(work, "shipper"), served.mountPoint);
    const write = async (times: number): Promise<void> => {
      for (let n = 0; n < times; n++) {
        for (const log of logs) log.put();
        await sleep(20);
      }
    };
    const came = (log: Log): string[] =>
      shipper
        .delivered()
        .filter(({ guest }) => guest === log.guest)
        .map(({ text }) => text);
    const allCame = async (): Promise<void> => {
      const until = performance.now() + LIMIT;
      const missing = () => logs.some((log) => came(log).length < log.lines.length);
      while (missing() && performance.now() < until) await sleep(50);
      for (const log of logs) expect(came(log), served.log()).toEqual(log.lines);
    };
    shipper.start();
    try {
      for (let rotation = 1; rotation <= 2; rotation++) {
        await write(30);
        // What a log has when it is rotated must have been read: no shipper finds lines that came after its last look.
        await allCame();
        for (const log of logs) ROTATE[log.guest]?.(log.path, rotation);
        for (const inside of logs) execFileSync("sync", ["-f", join(inside.path, "..")]);
        // A log that has grown past where it was between two looks could not be told from one that only grew.
        await sleep(3000);
      }
      await write(10);
      const [server] = execFileSync("pgrep", ["-P", `${served.pid}`], { encoding: "utf8" }).split("\n");
      process.kill(Number(server), "SIGKILL");
      await write(30);
      await allCame();
      await shipper.stop();
      await write(20);
      shipper.start();
      await write(20);
      await allCame();
      await sleep(2500);
      await allCame();
      expect(new Set(shipper.delivered().map(({ file }) => file))).toEqual(new Set(["app.log"]));
    } finally {
      await shipper.stop();
    }
    for (const unmount of unmounts) unmount();
    expect(await served.stop()).toBe(0);
  },
  100_000,
);

test("the files for shippers that are not run here can be read, and look at guests' logs", () => {
  const read = (name: string) => readFileSync(join(import.meta.dirname, "../docs/shippers", name), "utf8");
  const { pipeline } = parse(read("fluent-bit.yaml")) as { pipeline: { inputs: { path: string }[] } };
  expect(pipeline.inputs[0]?.path).toBe("/cloud/*/*/var/log/*.log");
  const filebeat = parse(read("filebeat.yml")) as { "filebeat.inputs": { paths: string[] }[] };
  expect(filebeat["filebeat.inputs"][0]?.paths[0]).toBe("/cloud/*/*/var/log/*.log");
  expect(read("splunk-inputs.conf")).toMatch(/^\[monitor:\/\/\/cloud\/\*\/\*\/var\/log\/\*\.log\]$/m);
  // /cloud/HOST/GUEST: the third part is the guest.
  expect(read("splunk-inputs.conf")).toMatch(/^host_segment = 3$/m);
});
