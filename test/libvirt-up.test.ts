/** A daemon whose configuration says `discover: {libvirt: {}}`: libvirt's domains come into the tree, and leave it. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";
import { fileDisk, Libvirt } from "./support/libvirt.js";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

/** How long what is expected may take on a machine that has other things to do, ms. */
const LIMIT = 90_000;

const folder = workFolder("libvirt-up");
const libvirt = new Libvirt(folder);

beforeAll(() => libvirt.start());
afterAll(cleanUp);

/** A raw file with a file system, whose file `hello` says what it is. */
async function fileSystem(name: string): Promise<string> {
  const tree = join(folder, `${name}.tree`);
  mkdirSync(tree);
  writeFileSync(join(tree, "hello"), `this is ${name}\n`);
  const image = join(folder, `${name}.raw`);
  await run("truncate", ["-s", "8M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", tree, image]);
  return image;
}

/** What each guest in the tree says it is. */
function said({ mountPoint }: Served): Record<string, string> {
  const read = (name: string): string => {
    try {
      return readFileSync(join(mountPoint, host, name, "hello"), "utf8").trim();
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? "unreadable";
    }
  };
  return Object.fromEntries(readdirSync(join(mountPoint, host)).map((name) => [name, read(name)]));
}

async function eventually(served: Served, expected: Record<string, string>): Promise<void> {
  for (const begun = performance.now(); ; await sleep(50)) {
    const now = said(served);
    if (JSON.stringify(now) === JSON.stringify(expected)) return;
    if (performance.now() - begun > LIMIT) {
      expect(now, served.log()).toEqual(expected);
      return;
    }
  }
}

/** Waits until the log or the status has it. */
async function says(served: Served, text: RegExp): Promise<void> {
  for (const begun = performance.now(); ; await sleep(200)) {
    // Not well is exit code 3, and told all the same.
    const args = [main, "status", "--json", "--state", stateOf(served)];
    const { stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
    const told = served.log() + JSON.stringify(JSON.parse(stdout));
    if (text.test(told)) return;
    if (performance.now() - begun > LIMIT) throw new Error(`never said: ${text}\n${told}`);
  }
}

const stateOf = ({ mountPoint }: Served): string => `${mountPoint}-state`;

test("domains with raw and qcow2 disks are shown stopped and running, and showing them keeps none from starting", async () => {
  const raw = await libvirt.image("one.img", "raw", await fileSystem("one"));
  const qcow2 = await libvirt.image("two.qcow2", "qcow2", await fileSystem("two"));
  const lonely = await libvirt.image("three.qcow2", "qcow2", await fileSystem("three"));
  const monitor = join(folder, "two.monitor");
  await libvirt.define("one", { disks: [fileDisk("vda", "raw", raw)] });
  const file = join(folder, "slashcloud.yaml");
  writeFileSync(file, `discover:\n  libvirt: {uri: "${libvirt.uri}"}\n`);
  const served = await serve(join(folder, "cloud"), {}, ["--config", file]);
  await eventually(served, { one: "this is one" });
  await libvirt.define("two", {
    disks: [fileDisk("vda", "qcow2", qcow2)],
    args: ["-qmp", `unix:${monitor},server=on,wait=off`],
  });
  await libvirt.define("three", { disks: [fileDisk("vda", "qcow2", lonely)] });
  const all = { one: "this is one", three: "this is three", two: "this is two" };
  await eventually(served, all);
  for (const name of ["one", "two", "three"]) await libvirt.virsh("start", name);
  await eventually(served, { one: "this is one", two: "this is two" });
  await says(served, /two: is attached to/);
  await says(served, /"reason":"vda: .* give it a second monitor \(virsh edit three;/);
  for (const name of ["two", "three"]) await libvirt.virsh("destroy", name);
  await eventually(served, all);
  await libvirt.virsh("domrename", "three", "four");
  await libvirt.virsh("undefine", "two");
  await eventually(served, { four: "this is three", one: "this is one" });
  expect(await served.stop()).toBe(0);
  expect(await libvirt.virsh("domstate", "one")).toMatch(/running/);
});
