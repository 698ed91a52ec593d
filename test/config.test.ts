import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { keysAt } from "../src/daemon/config/known-keys.js";
import { settings } from "../src/daemon/config/settings.js";
import { cleanUp, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

const folder = workFolder("config");
const file = join(folder, "slashcloud.yaml");
const guests = join(folder, "guests.d");
const EXAMPLE = resolve(import.meta.dirname, "../systemd/slashcloud.yaml");

afterAll(cleanUp);

beforeEach(() => {
  for (const path of [file, guests]) rmSync(path, { recursive: true, force: true });
});

/** Writes the configuration, and what `check` says of it. */
function check(text: string, others: Readonly<Record<string, string>> = {}) {
  writeFileSync(file, text);
  for (const [name, content] of Object.entries(others)) {
    mkdirSync(dirname(join(guests, name)), { recursive: true });
    writeFileSync(join(guests, name), content);
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "check", file], { encoding: "utf8" });
  const said = stderr.split("\n").flatMap((line) => (line === "" ? [] : [line.replace(/^slashcloud: /, "")]));
  return { status, stdout, said: said.map((line) => line.replaceAll(`${folder}/`, "")) };
}

/** The example with all settings in force. */
function exampleInForce(): string {
  return readFileSync(EXAMPLE, "utf8")
    .replace(/^##.*\n/gm, "")
    .replace(/^#/gm, "");
}

describe("an error", () => {
  test("is told by file, line, key and what was expected, and all of them at once", () => {
    const { status, said } = check(`
mount: cloud
events:
  size: 12
capture:
  underPressure: drop
  flushTimeout: "20"
guests:
  - name: a/b
    disks: web.img
  - name: web
`);
    expect(status).toBe(1);
    expect(said).toEqual([
      'slashcloud.yaml:2: mount: expected a path that begins with /, not "cloud"',
      "slashcloud.yaml:4: events.size: expected a size of at least 4096 bytes, such as 512K, 4M or 1G, not 12",
      'slashcloud.yaml:6: capture.underPressure: expected data-drop or block, not "drop"',
      'slashcloud.yaml:7: capture.flushTimeout: expected a whole number of at least 0, not "20"',
      'slashcloud.yaml:9: guests[0].name: expected a name without /, of at most 255 bytes, and not .events, not "a/b"',
      'slashcloud.yaml:10: guests[0].disks: expected the whole path of an image (or FORMAT:/PATH), or a URL, not "web.img"',
      "slashcloud.yaml:11: guests[1]: expected disks (images) or qmp (the monitor of its QEMU)",
    ]);
  });

  test.each([
    ["mont: /cloud", "slashcloud.yaml:1: mont: there is no such key; did you mean mount?"],
    ["list-events: true", "slashcloud.yaml:1: list-events: there is no such key; did you mean listEvents?"],
    ["tap: [1]", "slashcloud.yaml:1: tap: there is no such key; did you mean capture.tap?"],
    ["frobnicate: 1", "slashcloud.yaml:1: frobnicate: there is no such key"],
    [
      "guests:\n  - disks: /a.img\n    nmae: web",
      "slashcloud.yaml:3: guests[0].nmae: there is no such key; did you mean name?",
    ],
    [
      "policy:\n  - path: /etc\n    acces: hide\n    access: hide",
      "slashcloud.yaml:3: policy[0].acces: there is no such key; did you mean access?",
    ],
  ])("tells which key may be meant by %j", (text, expected) => {
    const { status, said } = check(text);
    expect(status).toBe(1);
    expect(said).toContain(expected);
  });

  test.each([
    ["mount: /a\nmount: /b", /^slashcloud\.yaml:2: a key is there twice$/],
    ["mount: [", /^slashcloud\.yaml:\d+: no YAML: /],
    ["just text", /^slashcloud\.yaml:1: expected keys with values, not "just text"$/],
    ["redis:\n  url: http://:secret@x", /^slashcloud\.yaml:2: redis\.url: (?!.*secret)/],
    [
      "guests:\n  - name: web\n    disks: /a.img\n    capture: watch",
      /^slashcloud\.yaml:4: guests\[0\]\.capture: expected qmp, too/,
    ],
    ["events: {enabled: false}\nredis: {url: 'redis://x'}", /^slashcloud\.yaml:2: redis: expected events/],
    [
      "discover:\n  images: [{pattern: 'vm/*'}]",
      /^slashcloud\.yaml:2: discover\.images\[0\]\.pattern: expected/,
    ],
  ])("is a line for %j", (text, expected) => {
    const { status, said } = check(text);
    expect(status).toBe(1);
    expect(said).toEqual([expect.stringMatching(expected)]);
  });

  test("in a guest's own file names that file, and so does a name that is there twice", () => {
    const image = join(folder, "a.img");
    writeFileSync(image, "x");
    const { status, said } = check(`guests:\n  - name: web\n    disks: ${image}\n`, {
      "a.yaml": `name: web\ndisks: ${image}\n`,
      "b.yaml": `- name: db\n  disk: ${image}\n- name: db2\n  qmp: 1\n`,
      "c.txt": "not looked at",
    });
    expect(status).toBe(1);
    expect(said).toEqual([
      "guests.d/a.yaml:1: name: there is a guest web already, at slashcloud.yaml:2",
      "guests.d/b.yaml:1: [0]: expected disks (images) or qmp (the monitor of its QEMU)",
      "guests.d/b.yaml:2: [0].disk: there is no such key; did you mean disks?",
      "guests.d/b.yaml:4: [1].qmp: expected a path that begins with /, not 1",
    ]);
  });

  test("keeps up from starting, with the same lines", () => {
    writeFileSync(file, "mount: cloud\nhots: x\n");
    const { status, stderr } = spawnSync(process.execPath, [main, "up", "--config", file], {
      encoding: "utf8",
    });
    expect(status).toBe(1);
    expect(stderr).toBe(
      `slashcloud: ${file}:1: mount: expected a path that begins with /, not "cloud"\n` +
        `slashcloud: ${file}:2: hots: there is no such key; did you mean host?\n`,
    );
  });

  test("is a file that is not there", () => {
    const { status, stderr } = spawnSync(process.execPath, [main, "check", join(folder, "none.yaml")], {
      encoding: "utf8",
    });
    expect([status, stderr]).toEqual([1, `slashcloud: ${folder}/none.yaml: there is no such file\n`]);
  });
});

describe("check", () => {
  test("prints what would be served, and warns of images that are not there", () => {
    const vm = join(folder, "vm");
    mkdirSync(vm, { recursive: true });
    for (const name of ["x.img", "y.img", ".hidden.img"]) writeFileSync(join(vm, name), "x");
    const { status, stdout, said } = check(
      `mount: /c\nhost: h\nguests:\n  - {name: web, disks: /none.img}\ndiscover:\n  images:\n    - {pattern: '${vm}/*.img', name: vm-$1}\n`,
      { "one.yaml": `name: one\ndisks: [${vm}/x.img, 'nbd://h:1/e']\nqmp: /none.qmp\n` },
    );
    expect(status).toBe(0);
    expect(stdout.split("\n")).toEqual([
      "/c/h/web: /none.img",
      `/c/h/one: ${vm}/x.img, nbd://h:1/e, qmp /none.qmp`,
      `/c/h/vm-x: ${vm}/x.img (by ${vm}/*.img)`,
      `/c/h/vm-y: ${vm}/y.img (by ${vm}/*.img)`,
      "",
    ]);
    expect(said).toEqual([
      "warning: slashcloud.yaml:4: web: /none.img: is not there",
      "warning: guests.d/one.yaml:1: one: /none.qmp: is not there; it is attached to when it is there",
    ]);
  });
});

describe("the example", () => {
  test("says nothing as it is: every setting stands as a comment", () => {
    expect(check(readFileSync(EXAMPLE, "utf8"))).toMatchObject({ status: 0, stdout: "" });
  });

  test("is right in all its settings, once they are in force", () => {
    const { status, said } = check(exampleInForce());
    expect(said.filter((line) => !line.startsWith("warning: "))).toEqual([]);
    expect(status).toBe(0);
  });

  test("has every key that there is", () => {
    const found = execFileSync("python3", ["-c", LIST_KEYS], { input: exampleInForce(), encoding: "utf8" });
    const inExample = new Set(found.split("\n"));
    const missing: string[] = [];
    const look = (path: readonly (string | number)[]): void => {
      for (const key of keysAt(settings, path)) {
        const whole = [...path, key];
        if (!inExample.has(whole.filter((part) => part !== 0).join("."))) missing.push(whole.join("."));
        look(whole);
        look([...whole, 0]);
      }
    };
    look([]);
    expect(missing).toEqual([]);
    expect(inExample.size).toBeGreaterThan(60);
  });
});

/** Prints the keys of a file by its indentation alone, those of a list's items as if there were one. */
const LIST_KEYS = `
import re, sys
above = []
for line in sys.stdin:
    found = re.match(r"( *)(- )?(\\w+):", line)
    if not found: continue
    indent = len(found[1]) + len(found[2] or "")
    above = [entry for entry in above if entry[0] < indent]
    above.append((indent, found[3]))
    print(".".join(key for _, key in above))
`;
