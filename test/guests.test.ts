/** Whole guests: they boot from an image that is being watched, write, rotate their log, restart, and are cut off. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { compareWalks, walkKernel, walkOurs } from "./oracle/compare.js";
import { guestImage, Machine, pressReset } from "./support/guest-machine.js";
import { cleanUp, endWithTests, mount, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";

const folder = workFolder("guests");

afterAll(cleanUp);

/** How long what is expected may take on a machine that has other things to do, ms. */
const LIMIT = 90_000;

/** `tail -F` on a guest's log, as an administrator runs it. */
class Tail {
  seen = "";
  said = "";
  readonly #end: () => void;

  constructor(path: string) {
    const child = spawn("tail", ["-F", "-n", "+1", "-s", "0.1", path], { stdio: ["ignore", "pipe", "pipe"] });
    this.#end = endWithTests(child);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.seen += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.said += text;
    });
  }

  /** Numbers of the lines, in the order in which they were printed. */
  get numbers(): number[] {
    return this.seen
      .split("\n")
      .slice(0, -1)
      .map((line) => (/^\d+ a line of the log$/.test(line) ? Number.parseInt(line, 10) : Number.NaN));
  }

  end(): void {
    this.#end();
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

async function until(what: string, holds: () => boolean, served: Served): Promise<void> {
  const limit = performance.now() + LIMIT;
  while (!holds()) {
    if (performance.now() > limit) throw new Error(`never: ${what}\n${served.log()}`);
    await sleep(20);
  }
}

/** A guest, its tree, and somebody who reads along. */
interface Scene {
  readonly image: string;
  readonly place: string;
  readonly served: Served;
  readonly log: string;
  readonly tail: Tail;
  /** How often the log has been given another name. */
  rotations: number;
}

async function scene(name: string): Promise<Scene> {
  const place = join(folder, name);
  mkdirSync(place);
  const image = await guestImage(place);
  const served = await serve(join(place, "cloud"), { g: image });
  const log = join(served.guest("g"), "var/log/app.log");
  return { image, place, served, log, tail: new Tail(log), rotations: 0 };
}

/** Has the guest log `more` lines, and waits until they have come through. */
async function logLines(machine: Machine, { served, tail }: Scene, more: number): Promise<void> {
  const count = await machine.does(`lines ${more}`);
  await until(`${count} lines`, () => tail.numbers.length >= count, served);
  expect(tail.numbers).toEqual(upTo(count));
}

/** Lines, and both ways to rotate a log between them. */
async function writeAndRotate(machine: Machine, scene: Scene): Promise<void> {
  const { log, served, tail } = scene;
  await logLines(machine, scene, 20);
  await machine.does("work first");
  await machine.does("rotate");
  scene.rotations++;
  await logLines(machine, scene, 20);
  // As long as nothing has been written to the emptied log, tail can tell that it was emptied.
  const truncations = () => tail.said.split("file truncated").length;
  const before = truncations();
  await machine.does("copytruncate");
  await until("an empty log", () => statSync(log).size === 0, served);
  await until("tail has seen the log emptied", () => truncations() > before, served);
  await logLines(machine, scene, 20);
}

/** Lets the guest write until `more` lines have come through, and has it cut off in the middle of that. */
async function cutOff(machine: Machine, { served, tail }: Scene, more: number, cut: () => Promise<void>) {
  const start = tail.numbers.length;
  machine.tell("busy");
  await until(`${more} more lines`, () => tail.numbers.length >= start + more, served);
  await cut();
}

/** An event of the log, as far as it is looked at here. */
interface LogEvent {
  readonly event: string;
  readonly path?: string;
  readonly inode: number;
  readonly generation: number;
  readonly old?: { size?: number };
  readonly new?: { size?: number };
}

/** Events of what is named app.log, or was. */
function logEvents({ served }: Scene): LogEvent[] {
  return [".events.1", ".events"]
    .map((name) => join(served.guest("g"), name))
    .flatMap((path) => (existsSync(path) ? readFileSync(path, "utf8").split("\n") : []))
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LogEvent)
    .filter(({ path }) => path?.startsWith("/var/log/app.log"));
}

/** Each file of the log grows and is emptied in its events without a step lost or told twice; so do its names. */
async function checkEvents(scene: Scene): Promise<void> {
  const { log, served } = scene;
  const size = statSync(log).size;
  await until(
    "the log's last event",
    () => logEvents(scene).findLast(({ path }) => path === "/var/log/app.log")?.new?.size === size,
    served,
  );
  const sizes = new Map<string, number | undefined>();
  const steps = logEvents(scene);
  for (const step of steps) {
    const file = `${step.inode} ${step.generation}`;
    if (step.event === "created") expect(sizes.has(file), JSON.stringify(step)).toBe(false);
    if (step.event === "content") expect(step.old?.size, JSON.stringify(step)).toBe(sizes.get(file));
    if (step.new?.size !== undefined) sizes.set(file, step.new.size);
  }
  expect(steps.filter(({ event }) => event === "renamed").length).toBe(scene.rotations);
}

/** The guest is switched off: its tree is what the kernel shows of its disk. */
async function compareAtEnd(scene: Scene): Promise<void> {
  const { image, place, served, tail } = scene;
  tail.end();
  await checkEvents(scene);
  const unmount = await mount(image, join(place, "kernel"), "ro,loop");
  const expected = await walkKernel(join(place, "kernel"));
  const ours = await walkOurs(served.volume("g"), served.guest("g"));
  unmount();
  const { differences, compared } = compareWalks(expected, ours);
  expect(differences.slice(0, 25), served.log()).toEqual([]);
  expect(compared).toBeGreaterThan(60);
  expect(readdirSync(join(served.guest("g"), "srv"))).toContain("first");
  expect(await served.stop()).toBe(0);
}

test.concurrent("a guest in QEMU boots, rotates its log, restarts, is reset in the middle of writing: tail -F prints each line once, in order, and events tell each step once", async () => {
  const guest = await scene("qemu");
  const socket = join(guest.place, "monitor");
  let machine = await Machine.qemu(guest.image, socket, "writeback");
  await machine.started();
  await writeAndRotate(machine, guest);
  machine.tell("reboot -f");
  await machine.started();
  await writeAndRotate(machine, guest);
  machine.tell("off");
  await machine.ended();

  // Its host goes past the page cache now.
  machine = await Machine.qemu(guest.image, socket, "none");
  await machine.started();
  await cutOff(machine, guest, 30, () => pressReset(socket));
  await machine.started();
  // It goes on where its recovered log ends.
  await logLines(machine, guest, 10);
  await writeAndRotate(machine, guest);
  machine.tell("off");
  await machine.ended();
  await compareAtEnd(guest);
}, 180_000);

test.concurrent("a user-mode Linux boots, rotates its log, restarts, is killed in the middle of writing: tail -F prints each line once, in order, and events tell each step once", async () => {
  const guest = await scene("uml");
  let machine = Machine.uml(guest.image, guest.place);
  await machine.started();
  await writeAndRotate(machine, guest);
  machine.tell("reboot -f");
  await machine.started();
  await writeAndRotate(machine, guest);
  await cutOff(machine, guest, 30, () => machine.pullPlug());
  machine = Machine.uml(guest.image, guest.place);
  await machine.started();
  // It goes on where its recovered log ends.
  await logLines(machine, guest, 10);
  await writeAndRotate(machine, guest);
  machine.tell("off");
  await machine.ended();
  await compareAtEnd(guest);
}, 180_000);
