/** Pages of the manual: made of what --help says, and read by man and mandoc without a complaint. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

const folder = workFolder("manual");
const env = {
  ...process.env,
  LC_ALL: "C.UTF-8",
  MANWIDTH: "100",
  MAN_KEEP_FORMATTING: "",
  GROFF_NO_SGR: "1",
};
let pages: string[];
let commands: string[];

/** What `slashcloud ... --help` prints. */
const help = (...command: string[]) => run(process.execPath, [main, ...command, "--help"]);

/** A text without what a formatter may change (spaces, hyphenation), and without the brackets of values. */
const bare = (text: string) => text.replace(/\u2010\s*|[-\s<>]+/g, "").toLowerCase();

/** A page as man shows it. */
function shown(page: string): string {
  const { stdout, stderr } = spawnSync("man", ["--warnings", "-l", join(folder, page)], {
    encoding: "utf8",
    env,
  });
  expect(stderr).toBe("");
  return stdout;
}

beforeAll(async () => {
  await run(process.execPath, [main, "manual", "--write", folder]);
  pages = readdirSync(folder).filter((name) => name.endsWith(".1"));
  commands = [...(await help()).matchAll(/^ {2}([a-z]+)(?: |$)/gm)].map(([, name]) => name as string);
  // Examples begin with words, too.
  commands = commands.filter((name) => !["help", "slashcloud", "grep", "tail"].includes(name));
});

afterAll(cleanUp);

test("the program and each of its commands have a page", () => {
  expect(commands).toContain("up");
  expect(pages.sort()).toEqual(["slashcloud.1", ...commands.map((name) => `slashcloud-${name}.1`)].sort());
});

test("man and mandoc find nothing wrong with a page", async () => {
  for (const page of readdirSync(folder)) {
    expect(
      await run("mandoc", ["-T", "lint", "-W", "warning", join(folder, page)], { accept: [1, 2, 3] }),
    ).toBe("");
    expect(shown(page)).toContain("NAME");
  }
}, 60_000);

test("a page has the parts that one looks for", () => {
  for (const page of pages) {
    const headings = [...readFileSync(join(folder, page), "utf8").matchAll(/^\.SH (.*)$/gm)].map(
      ([, name]) => name,
    );
    const wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"];
    expect(headings, page).toEqual(expect.arrayContaining(wanted));
  }
  const up = shown("slashcloud-up.1");
  expect(up).toMatch(/^FILES\n +\/var\/lib\/slashcloud\/MOUNT\//m);
  expect(shown("slashcloud.1")).toMatch(/Administration\n +.*slashcloud-status\(1\)/s);
});

test("a page says what --help says: options with their texts, examples, all that is explained", async () => {
  for (const command of commands) {
    const [, below = ""] = /\nOptions:\n(.*)/s.exec(await help(command)) ?? [];
    const page = bare(shown(`slashcloud-${command}.1`));
    const texts = below
      // Commands below it have pages, which are named.
      .replace(/^Commands:\n(?: .*\n)*/m, "")
      .replace(/^(?:Examples?|Files):$/gm, "")
      .split(/\n| {2,}/)
      .map(bare)
      .filter((text) => text !== "");
    expect(texts.length).toBeGreaterThan(1);
    for (const text of texts) expect(page, `${command}: ${text}`).toContain(text);
  }
}, 60_000);

test("every command is in a group of --help, and has an example", async () => {
  const text = await help();
  const headings = [...text.matchAll(/^(\w+):$/gm)].map(([, name]) => name);
  expect(headings).toEqual(["Options", "Serve", "Look", "Streams", "Administration", "Files", "Examples"]);
  for (const command of commands)
    expect(await help(command)).toMatch(new RegExp(`\nExamples?:\n(?:.*\n)*.*slashcloud ${command} `));
}, 60_000);

test("help that nobody reads is no failure", () => {
  const script = '"$0" "$1" --help | true; echo "$PIPESTATUS"';
  const { stderr, stdout } = spawnSync("bash", ["-c", script, process.execPath, main], { encoding: "utf8" });
  expect({ stderr, stdout }).toEqual({ stderr: "", stdout: "0\n" });
});

test("pages are the same for the same source, on a day of one's choice", async () => {
  const [one, other] = [join(folder, "one"), join(folder, "other")];
  for (const directory of [one, other])
    spawnSync(process.execPath, [main, "manual", "--write", directory], {
      env: { ...env, SOURCE_DATE_EPOCH: "1700000000" },
    });
  for (const page of readdirSync(one))
    expect(readFileSync(join(one, page), "utf8")).toBe(readFileSync(join(other, page), "utf8"));
  expect(readFileSync(join(one, "slashcloud.1"), "utf8")).toContain('"2023-11-14"');
});
