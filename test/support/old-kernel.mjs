/**
 * What readers notice of servers that are killed and replaced: run where there is a kernel that cannot hand out requests
 * again. Arguments: the program, an image, the folder that it was made of, a folder to work in, how often to kill, and how often
 * to replace. Prints one line of JSON.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [main, image, source, folder, wanted, replacements] = process.argv.slice(2);
/** ms that what is expected may take: on a machine that has other things to do, long. */
const LIMIT = 120_000;

/** Runs a program to its end; what it printed, and how it ended. */
function output(command, args, cwd) {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (more) => {
      text += more;
    });
  return new Promise((resolve) => child.on("close", (code) => resolve(`${text}exit ${code}\n`)));
}

async function eventually(what, read) {
  const until = performance.now() + LIMIT;
  for (;;) {
    const value = read();
    if (value !== undefined) return value;
    if (performance.now() > until) throw new Error(`never: ${what}`);
    await sleep(5);
  }
}

const point = join(folder, "cloud");
const state = join(folder, "state");
mkdirSync(point);
const up = ["up", "--mount", point, "--host", "oracle", "--state", state, `g=${image}`];
const child = spawn(process.execPath, [main, ...up], { stdio: ["ignore", "pipe", "pipe"] });
let said = "";
let log = "";
child.stdout.setEncoding("utf8").on("data", (text) => {
  said += text;
});
child.stderr.setEncoding("utf8").on("data", (text) => {
  log += text;
});
const ended = new Promise((resolve) => child.on("exit", resolve));
await eventually("it serves", () => (/^slashcloud: serving /m.test(said) ? true : undefined));
const tree = join(point, "oracle", "g");
const device = statSync(tree).dev;
let daemon = child.pid;

function serverOf(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return children.map(Number).find((each) => {
    try {
      return readFileSync(`/proc/${each}/cmdline`, "utf8").includes("server.js");
    } catch {
      return false;
    }
  });
}

let asked = 0;
/** Waits for an answer that only the server can give. */
async function answered() {
  const { code } = await stat(join(tree, `not there ${asked++}`)).catch((error) => error);
  // ESTALE: of a server that was killed.
  if (code !== "ENOENT" && code !== "ESTALE") throw new Error(`the tree answers ${code}`);
}

const lines = (text) => text.split("\n").sort().join("\n");
const expected = lines(await output("grep", ["-r", "needle", "."], source));
const search = () => output("grep", ["-r", "needle", "."], tree);
const lost = () => log.split("a request was lost").length - 1;
const held = openSync(join(tree, "directory 3/deep/file 5"), "r");
const reads = () => {
  const buffer = Buffer.alloc(100);
  return buffer.toString("utf8", 0, readSync(held, buffer, 0, 100, 0));
};

const result = {
  kills: 0,
  lost: 0,
  searches: 0,
  stale: 0,
  errors: [],
  wrong: [],
  planned: 0,
  held: [reads()],
  exit: 0,
};

// What is right in spite of kills: whatever is printed beside it is the error of a request that was lost.
while (result.kills < Number(wanted)) {
  let isRunning = true;
  const found = search().finally(() => {
    isRunning = false;
  });
  for (let inThis = 0; isRunning && inThis < 5 && result.kills < Number(wanted); inThis++) {
    await sleep(Math.random() * 200);
    const pid = await eventually("there is a server", () => serverOf(daemon));
    process.kill(pid, "SIGKILL");
    result.kills++;
    await eventually("it is dead", () => (existsSync(`/proc/${pid}/fd/3`) ? undefined : true));
    await answered();
  }
  const text = lines(await found);
  result.searches++;
  if (text === expected) continue;
  const errors = text.split("\n").filter((line) => line.includes("Stale file handle"));
  result.stale += errors.length;
  result.errors.push(...errors);
  if (errors.length === 0) result.wrong.push(differences(text));
}
result.lost = lost();
result.held.push(reads());

/** Does something while a search runs, which is to notice nothing at all. */
async function during(action) {
  const found = search();
  await sleep(Math.random() * 100);
  await action();
  const text = lines(await found);
  if (text !== expected) result.wrong.push(differences(text));
  result.held.push(reads());
  result.planned++;
}

function differences(text) {
  const right = new Set(expected.split("\n"));
  const own = text.split("\n");
  const all = new Set(own);
  const missing = [...right].filter((line) => !all.has(line));
  return [...own.filter((line) => !right.has(line)), `${missing.length} missing`].slice(0, 5).join("; ");
}

for (let round = 1; round <= Number(replacements); round++) {
  await during(async () => {
    process.kill(daemon, "SIGUSR2");
    await eventually("taken over", () => (log.split("taken over").length > round ? true : undefined));
  });
}
for (let round = 1; round <= Number(replacements); round++) {
  await during(async () => {
    const told = await output(process.execPath, [main, "renew", "--state", state], folder);
    const pid = Number(/process (\d+) is the daemon now/.exec(told)?.[1]);
    if (!(pid > 1) || pid === daemon) throw new Error(told);
    daemon = pid;
  });
}
result.lostWhenPlanned = lost() - result.lost;
result.isSameMount = statSync(tree).dev === device;
closeSync(held);
child.kill("SIGTERM");
result.exit = await ended;
result.log = log;
process.stdout.write(`${JSON.stringify(result)}\n`);
