/** Pages of the manual: made of what --help says, and read by man and mandoc without a complaint. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { configurationPage } from "../src/cli/configuration-page.js";
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
/** What --help prints, of the program itself under "". */
const helps = new Map<string, string>();

/** What `slashcloud ... --help` prints. */
function help(command = ""): string {
  const text = helps.get(command);
  if (text === undefined) throw new Error(`there is no command ${command}`);
  return text;
}

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
  helps.set("", await run(process.execPath, [main, "--help"]));
  // A command is indented by two spaces below its group's heading; below "Examples" are others.
  const [listed = ""] = help().split("\nFiles:\n");
  commands = [...listed.matchAll(/^ {2}([a-z]+)(?: |$)/gm)].map(([, name]) => name as string);
  commands = commands.filter((name) => name !== "help");
  for (const command of commands) helps.set(command, await run(process.execPath, [main, command, "--help"]));
}, 120_000);

afterAll(cleanUp);

test("the program and each of its commands have a page, and those below them", () => {
  expect(commands).toContain("up");
  const below = commands.flatMap((command) => {
    const [, listed = ""] = /\nCommands:\n((?: .*\n)*)/.exec(help(command)) ?? [];
    const names = [...listed.matchAll(/^ {2}([a-z]+)(?: |$)/gm)].map(([, name]) => name);
    return names.filter((name) => name !== "help").map((name) => `${command}-${name}`);
  });
  const named = [...commands, ...below].map((name) => `slashcloud-${name}.1`);
  expect(pages.sort()).toEqual(["slashcloud.1", ...named].sort());
});

test("man and mandoc find nothing wrong with a page", async () => {
  for (const page of readdirSync(folder)) {
    expect(
      await run("mandoc", ["-T", "lint", "-W", "warning", join(folder, page)], { accept: [1, 2, 3] }),
    ).toBe("");
    expect(shown(page)).toContain("NAME");
  }
}, 120_000);

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

test("a page says what --help says: options with their texts, examples, all that is explained", () => {
  for (const command of commands) {
    const [, below = ""] = /\nOptions:\n(.*)/s.exec(help(command)) ?? [];
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
}, 120_000);

test("every command is in a group of --help, and has an example", () => {
  const text = help();
  const headings = [...text.matchAll(/^(\w+):$/gm)].map(([, name]) => name);
  expect(headings).toEqual(["Options", "Serve", "Look", "Streams", "Administration", "Files", "Examples"]);
  for (const command of commands)
    expect(help(command)).toMatch(new RegExp(`\nExamples?:\n(?:.*\n)*.*slashcloud ${command}(?: |\n)`));
}, 120_000);

test("the page of the configuration has its example as it is meant: what explains, settings, comments", async () => {
  const example = `## The configuration of slashcloud: what is shown.
##
## Take away the #. Then:
##
##     slashcloud check      says what is wrong

## Where the tree is mounted.
#mount: /cloud

## What happens.
#events:
##  Whether any are told.
#  enabled: true
#  list: 'no'
`;
  const file = join(folder, "slashcloud.yaml.5");
  writeFileSync(file, configurationPage(example, "slashcloud 1"));
  expect(await run("mandoc", ["-T", "lint", "-W", "warning", file])).toBe("");
  const page = shown("slashcloud.yaml.5").replaceAll("\n\n", "\n");
  expect(page).toContain("       slashcloud.yaml - configuration of slashcloud\n");
  expect(page).toContain(`       Take away the #. Then:
           slashcloud check      says what is wrong
       Where the tree is mounted.
           mount: /cloud
       What happens.
           events:
             # Whether any are told.
             enabled: true
             list: 'no'
`);
});

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
