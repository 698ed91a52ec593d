/** Completion as somebody at a terminal has it: bash, zsh and fish, with the Tab key. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cleanUp, endWithTests, onEnd, run, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";

const folder = workFolder("completion");
const bin = join(folder, "bin");
const image = join(folder, "disk.img");
const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, HOME: folder };
let served: Served;

beforeAll(async () => {
  mkdirSync(bin);
  symlinkSync(main, join(bin, "slashcloud"));
  mkdirSync(join(folder, "place"));
  writeFileSync(join(folder, "with a space"), "");
  await run(join(import.meta.dirname, "make-sample.sh"), [image]);
  served = await serve(join(folder, "cloud"), { alpha: image, beta: image });
}, 120_000);

afterAll(async () => {
  await served?.stop();
  cleanUp();
}, 120_000);

/** The words that each line has become once Tab was pressed at its end. */
async function typed(shell: readonly string[], begin: string, lines: readonly string[]): Promise<string[][]> {
  const child = spawn("python3", [join(import.meta.dirname, "support/typing.py"), ...shell], { env });
  const forget = endWithTests(child);
  let [output, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  child.stdin.end([begin, ...lines, ""].join("\n"));
  const code = await new Promise((resolve) => child.on("close", resolve));
  forget();
  expect(code, errors).toBe(0);
  return output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as string[]);
}

const SHELLS: readonly (readonly [string, readonly string[], string])[] = [
  [
    "bash",
    ["bash", "--norc", "--noprofile"],
    ". /usr/share/bash-completion/bash_completion; . <(slashcloud completion bash)",
  ],
  [
    "zsh",
    ["zsh", "-f", "-o", "emacs"],
    "autoload -Uz compinit && compinit -u -D; source <(slashcloud completion zsh)",
  ],
  ["fish", ["fish", "--no-config"], "slashcloud completion fish | source"],
];

test.each(SHELLS)(
  "%s completes commands, options and their values, guests, paths, and paths in images",
  async (name, shell, begin) => {
    const state = `${served.mountPoint}-state`;
    const cases: readonly (readonly [line: string, last: string])[] = [
      ["slashcloud compl", "completion"],
      ["slashcloud help repl", "replay"],
      ["slashcloud completion fi", "fish"],
      ["slashcloud up --under", "--under-pressure"],
      ["slashcloud up --driver li", "libfuse"],
      ["slashcloud up --driver=ker", "--driver=kernel"],
      [`slashcloud detach --state ${state} al`, "alpha"],
      [`slashcloud events --state=${state} ${host}:be`, `${host}:beta:/`],
      [`slashcloud map ${folder}/dis`, image],
      [`slashcloud up web=${folder}/dis`, `web=${image}`],
      [`slashcloud up web=${image},${folder}/dis`, `web=${image},${image}`],
      [`slashcloud up web=${folder}/with`, `web=${folder}/with a space`],
      ["slashcloud crawl ~/dis", image],
      [`slashcloud up --mount ${folder}/pla`, `${folder}/place/`],
      ["slashcloud tap disk --listen un", "unix:"],
      [`slashcloud tap disk --listen unix:${folder}/dis`, `unix:${image}`],
      [`slashcloud cat ${image}:/etc/pas`, `${image}:/etc/passwd`],
      [`slashcloud ls ${image}:/var/log/ng`, `${image}:/var/log/nginx/`],
    ];
    const became = await typed(
      shell,
      begin,
      cases.map(([line]) => line),
    );
    // zsh takes the slash of a directory's name back when the cursor goes elsewhere.
    const slash = name === "zsh" ? /\/(?=$)/ : /$^/;
    const lasts = (texts: readonly (string | undefined)[]) => texts.map((text) => text?.replace(slash, ""));
    expect(lasts(became.map((words) => words.at(-1)))).toEqual(lasts(cases.map(([, last]) => last)));
  },
  60_000,
);

test("zsh has it as a file among its functions, too", async () => {
  const functions = join(folder, "functions");
  mkdirSync(functions);
  writeFileSync(join(functions, "_slashcloud"), await run(process.execPath, [main, "completion", "zsh"]));
  const begin = `fpath=(${functions} $fpath); autoload -Uz compinit && compinit -u -D`;
  expect(await typed(["zsh", "-f", "-o", "emacs"], begin, ["slashcloud stat", "slashcloud compl"])).toEqual([
    // status, too, begins like this.
    ["slashcloud", "stat"],
    ["slashcloud", "completion"],
  ]);
}, 120_000);

const words = (...given: string[]) =>
  spawnSync(process.execPath, [main, "completion", "words", "--", ...given], { encoding: "utf8" });

test("where there is no daemon, or one that hangs, no guests are offered, and nothing is said", async () => {
  const hanging = join(folder, "hanging");
  mkdirSync(hanging);
  const server = createServer().listen(join(hanging, "control.sock"));
  onEnd(() => server.close());
  for (const state of [join(folder, "nowhere"), hanging]) {
    const { stdout, stderr, status } = words("detach", "--state", state, "");
    expect({ stdout, stderr, status }).toEqual({ stdout: "", stderr: "", status: 0 });
  }
});

test("each option of each command is offered, with what it is", async () => {
  const commands = words("")
    .stdout.trim()
    .split("\n")
    .map((line) => line.split("\t")[0] as string);
  expect(commands).toContain("up");
  expect(commands).not.toContain("manual");
  for (const command of commands.filter((name) => name !== "help")) {
    const help = await run(process.execPath, [main, command, "--help"]);
    const [, shown = ""] = /\nOptions:\n(.*?)(?:\n\n|\n*$)/s.exec(help) ?? [];
    const options = [...shown.matchAll(/^ +(?:-\w, )?(--[\w-]+)/gm)].map(([, option]) => option);
    expect(options).not.toEqual([]);
    const offered = words(command, "--").stdout.trim().split("\n");
    expect(offered.map((line) => line.split("\t")[0])).toEqual(options);
    expect(
      offered.every((line) => /\t./.test(line)),
      offered.join("\n"),
    ).toBe(true);
  }
}, 120_000);

test("a shell that is not known is refused", () => {
  const { stderr, status } = spawnSync(process.execPath, [main, "completion", "tcsh"], { encoding: "utf8" });
  expect(stderr).toBe("slashcloud: completion tcsh: say bash, zsh or fish\n");
  expect(status).toBe(2);
});
