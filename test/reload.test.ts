import { execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Configured, eventually, makeImage } from "./support/configured.js";
import { cleanUp, endWithTests, mount, onEnd, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("reload");
const image = (name: string): string => join(folder, `${name}.img`);

beforeAll(() => {
  for (const name of ["web", "db", "mail"]) makeImage(image(name), name);
});

afterAll(cleanUp);

let daemons = 0;

/** A daemon of its own for a test, not started. */
function daemon(): Configured {
  const own = join(folder, `daemon-${daemons++}`);
  mkdirSync(own);
  return new Configured(own);
}

const guestsText = (...names: string[]): string =>
  `guests:\n${names.map((name) => `  - {name: ${name}, disks: ${image(name)}}\n`).join("")}`;

/** What a guest's file says, in the tree, or why it cannot be read: while its disk becomes another one, it is stale. */
function nameIn(own: Configured, guest: string): string {
  try {
    return readFileSync(join(own.served.guest(guest), "name"), "utf8").trim();
  } catch (error) {
    return (error as Error).message;
  }
}

describe("a configuration that is read again", () => {
  test("adds and removes guests while a tail -F on another one goes on, by reload and by SIGHUP", async () => {
    const own = daemon();
    own.write(guestsText("web"));
    const inside = join(own.folder, "inside");
    await mount(image("web"), inside, "loop");
    let expected = "";
    const append = (): void => {
      const line = `line ${expected.split("\n").length - 1}\n`;
      const fd = openSync(join(inside, "log"), "a");
      writeSync(fd, line);
      fsyncSync(fd);
      closeSync(fd);
      expected += line;
    };
    append();
    await own.start();
    await own.shows("web");
    const path = join(own.served.guest("web"), "log");
    await eventually(
      () => existsSync(path) && readFileSync(path, "utf8") !== "",
      () => "the log is not there",
    );
    const tail = spawn("tail", ["-n", "+1", "-s", "0.1", "-F", path], { stdio: ["ignore", "pipe", "pipe"] });
    endWithTests(tail);
    let told = "";
    let complaints = "";
    tail.stdout.setEncoding("utf8").on("data", (text: string) => {
      told += text;
    });
    tail.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints += text;
    });
    const writing = setInterval(append, 100);
    onEnd(() => clearInterval(writing));
    const server = JSON.parse(own.command("status", "--json").stdout).pid;

    own.write(guestsText("web", "db"));
    expect(own.command("reload")).toEqual(
      expect.objectContaining({ status: 0, stdout: "slashcloud: db: is new\n", stderr: "" }),
    );
    expect(own.guests()).toEqual(["db", "web"]);
    expect(nameIn(own, "db")).toBe("db");

    own.write(guestsText("web", "mail"));
    process.kill(own.served.pid, "SIGHUP");
    await own.shows("mail", "web");
    expect(nameIn(own, "mail")).toBe("mail");

    own.write(guestsText("web"));
    expect(own.command("reload").status).toBe(0);
    expect(own.guests()).toEqual(["web"]);
    // Nothing has changed: the server stays.
    const last = JSON.parse(own.command("status", "--json").stdout).pid;
    expect(last).not.toBe(server);
    expect(own.command("reload")).toMatchObject({ status: 0, stdout: "" });
    expect(JSON.parse(own.command("status", "--json").stdout).pid).toBe(last);

    clearInterval(writing);
    append();
    await eventually(
      () => told === expected,
      () => `tail has told\n${told}of\n${expected}`,
    );
    expect(complaints).toBe("");
    tail.kill();
    expect(await own.stop()).toBe(0);
  });

  test("with errors changes nothing, and says them all", async () => {
    const own = daemon();
    own.write(guestsText("web"));
    await own.start();
    own.write(`mount: x\nguest: []\n`);
    expect(own.command("reload")).toMatchObject({
      status: 1,
      stdout: "",
      stderr:
        `slashcloud: ${own.file}:1: mount: expected a path that begins with /, not "x"\n` +
        `slashcloud: ${own.file}:2: guest: there is no such key; did you mean guests?\n`,
    });
    process.kill(own.served.pid, "SIGHUP");
    await eventually(
      () => own.served.log().includes("the configuration is wrong, and all stays as it is"),
      () => own.served.log(),
    );
    expect(own.served.log()).toContain(`${own.file}:2: guest: there is no such key`);
    expect(own.guests()).toEqual(["web"]);

    own.write(`driver: libfuse\ncapture: {flushTimeout: 50}\nevents: {list: true}\n${guestsText("web")}`);
    expect(own.command("reload")).toMatchObject({
      status: 0,
      stdout:
        "slashcloud: driver, capture: changed in the configuration, and stays as it was until slashcloud is started again\n",
    });
    // What a new server can do is in force.
    await eventually(
      () => readdirSync(own.served.guest("web")).includes(".events"),
      () => "the events are not listed",
    );
    own.write(`policy: [{path: /name, access: hide}]\n${guestsText("web")}`);
    expect(own.command("reload").status).toBe(0);
    await eventually(
      () => !readdirSync(own.served.guest("web")).includes("name"),
      () => "the file is not hidden",
    );
    expect(existsSync(join(own.served.guest("web"), "name"))).toBe(false);
    expect(await own.stop()).toBe(0);
  });
});

test("a guest that cannot be kept, or forgotten, is neither added nor removed, and the state directory is named", async () => {
  const own = daemon();
  own.write(guestsText("web"));
  await own.start();
  expect(own.command("add", `mail=${image("mail")}`)).toMatchObject({ status: 0 });
  const file = join(`${own.served.mountPoint}-state`, "guests.json");
  mkdirSync(`${file}.new`);
  const refused = {
    status: 1,
    stderr: expect.stringMatching(
      /^slashcloud: .*\/guests\.json: cannot be written, so nothing is changed: EISDIR.*\n$/,
    ),
  };
  expect(own.command("add", `db=${image("db")}`)).toMatchObject(refused);
  expect(own.command("remove", "mail")).toMatchObject(refused);
  expect(own.guests()).toEqual(["mail", "web"]);
  rmdirSync(`${file}.new`);
  expect(own.command("remove", "mail")).toMatchObject({ status: 0 });
  await own.shows("web");
  expect(own.command("add", `.events=${image("db")}`)).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('".events" cannot be a guest\'s name'),
  });
  expect(await own.stop()).toBe(0);
});

test("of two images that are found and are the same file one is shown, which the log says", async () => {
  const own = daemon();
  const found = join(own.folder, "found");
  mkdirSync(found);
  copyFileSync(image("web"), join(found, "one.img"));
  linkSync(join(found, "one.img"), join(found, "two.img"));
  own.write(`discover: {images: [{pattern: ${found}/*.img}]}\n`);
  await own.start();
  await own.shows("one");
  expect(own.served.log()).toContain("two is not shown: one has an image in common with it");
  // One that is named is meant to stand in for what is found.
  own.write(
    `discover: {images: [{pattern: ${found}/t*.img}]}\nguests: [{name: own, disks: ${found}/one.img}]\n`,
  );
  expect(own.command("reload").status).toBe(0);
  await own.shows("own");
  expect(own.served.log().match(/in common/g)).toHaveLength(1);
  expect(await own.stop()).toBe(0);
});

test("guests are added and removed by hand, and stay over a restart", async () => {
  const own = daemon();
  own.write(guestsText("web"));
  await own.start();
  expect(own.command("add", `db=${image("db")}`)).toMatchObject({ status: 0, stderr: "" });
  expect(own.guests()).toEqual(["db", "web"]);
  expect(nameIn(own, "db")).toBe("db");
  const refused = (...args: string[]): string => {
    const { status, stderr } = own.command(...args);
    expect(status).toBe(1);
    return stderr;
  };
  expect(refused("add", `db=${image("mail")}`)).toMatch(/there is a guest db already/);
  expect(refused("add", `none=${image("none")}`)).toMatch(/none\.img: no such image; check the path/);
  expect(refused("remove", "web")).toMatch(/web: was not added by hand, it comes from the configuration/);
  expect(refused("remove", "nobody")).toMatch(/nobody: there is no such guest/);
  expect(own.guests()).toEqual(["db", "web"]);
  expect(own.unavailable()).toEqual({});
  expect(await own.stop()).toBe(0);

  await own.start();
  await own.shows("db", "web");
  expect(own.command("remove", "db").status).toBe(0);
  expect(own.guests()).toEqual(["web"]);
  expect(await own.stop()).toBe(0);
  await own.start();
  expect(own.guests()).toEqual(["web"]);
  expect(await own.stop()).toBe(0);
});

test("images are found by patterns: they come, go, are copied, and are moved", async () => {
  const own = daemon();
  const vm = join(own.folder, "vm");
  mkdirSync(join(vm, "special"), { recursive: true });
  const named = join(own.folder, "named.img");
  copyFileSync(image("web"), join(vm, "first.img"));
  copyFileSync(image("db"), join(vm, "special", "disk.raw"));
  copyFileSync(image("mail"), named);
  own.write(`
discover:
  interval: 1
  images:
    - pattern: ${vm}/*.img
    - pattern: ${vm}/*/disk.raw
      name: own-$1
guests:
  - {name: named, disks: ${named}}
`);
  await own.start();
  await own.shows("first", "own-special", "named");
  // One whose image has another path is the same guest.
  renameSync(named, join(vm, "moved.img"));
  // One that is still being copied, and one with nothing on it, are in nobody's way.
  const whole = readFileSync(image("db"));
  const partial = join(vm, "partial.img");
  writeFileSync(partial, whole.subarray(0, 1000));
  writeFileSync(join(vm, "noise.img"), Buffer.alloc(100_000, "noise"));
  renameSync(join(vm, "first.img"), join(vm, "second.img"));
  await own.shows("second", "own-special", "named", "partial", "noise");
  await eventually(
    () => Object.keys(own.unavailable()).sort().join() === "noise,partial",
    () => JSON.stringify(own.unavailable()),
  );
  expect(nameIn(own, "second")).toBe("web");
  appendFileSync(partial, whole.subarray(1000));
  await eventually(
    () => existsSync(join(own.served.guest("partial"), "name")),
    () => `partial is not shown: ${own.served.log()}`,
  );
  expect(nameIn(own, "partial")).toBe("db");
  await eventually(
    () => existsSync(join(own.served.guest("named"), "name")),
    () => `named is not shown: ${own.served.log()}`,
  );
  expect(nameIn(own, "named")).toBe("mail");
  rmSync(join(vm, "second.img"));
  rmSync(join(vm, "noise.img"));
  await own.shows("own-special", "named", "partial");
  expect(await own.stop()).toBe(0);
});

test("an image that is broken, missing or replaced keeps no other from being served, and is tried again", async () => {
  const own = daemon();
  const late = join(own.folder, "late.img");
  const empty = join(own.folder, "empty.img");
  const broken = join(own.folder, "broken.qcow2");
  writeFileSync(empty, "");
  writeFileSync(broken, Buffer.concat([Buffer.from("QFI\xfb\0\0\0\x03", "latin1"), Buffer.alloc(70_000, 7)]));
  own.write(`
guests:
  - {name: web, disks: ${image("web")}}
  - {name: late, disks: ${late}}
  - {name: empty, disks: ${empty}}
  - {name: folder, disks: ${own.folder}}
  - {name: broken, disks: ${broken}}
  - {name: monitor, qmp: ${own.folder}/none.qmp}
`);
  await own.start();
  expect(own.guests()).toEqual(["web"]);
  expect(own.unavailable()).toEqual({
    late: `${late}: no such image; check the path`,
    empty: `${empty}: the image is empty (0 bytes); name a file that holds a raw disk`,
    folder: `${own.folder}: this is a directory; name the image file in it`,
    broken: expect.stringMatching(/qemu-nbd cannot read it as qcow2/),
    monitor: `${own.folder}/none.qmp: is not there: the guest is not running`,
  });
  copyFileSync(image("db"), late);
  copyFileSync(image("mail"), empty);
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", image("db"), broken]);
  await own.shows("web", "late", "empty", "broken");
  for (const [guest, name] of Object.entries({ late: "db", empty: "mail" }))
    expect(nameIn(own, guest)).toBe(name);
  await eventually(
    () => existsSync(join(own.served.guest("broken"), "name")),
    () => own.served.log(),
  );
  // Another file by the same name is another disk.
  copyFileSync(image("mail"), join(own.folder, "other.img"));
  renameSync(join(own.folder, "other.img"), late);
  await eventually(
    () => nameIn(own, "late") === "mail",
    () => `late is still the former: ${own.served.log()}`,
  );
  rmSync(late);
  await own.shows("web", "empty", "broken");
  // So it is with another server.
  process.kill(JSON.parse(own.command("status", "--json").stdout).pid, "SIGKILL");
  await eventually(
    () => own.served.log().includes("and is started again"),
    () => own.served.log(),
  );
  await own.shows("web", "empty", "broken");
  expect(await own.stop()).toBe(0);
});
