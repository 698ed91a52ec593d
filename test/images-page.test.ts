/** What docs/images.md has one type, typed: each command, on a host as the page's. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cleanUp, onEnd, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

const PAGE = join(import.meta.dirname, "../docs/images.md");
const folder = workFolder("images-page");
let host: ChildProcess;

/** The commands that can be run, in their order. */
function commands(): string[] {
  const found: string[] = [];
  let isRun = true;
  for (const line of readFileSync(PAGE, "utf8").split("\n")) {
    if (line.startsWith("    # ")) {
      if (isRun) found.push(line.slice(6));
    } else if (line !== "") isRun = !/^<!-- not run: .+ -->$/.test(line);
  }
  return found;
}

beforeAll(async () => {
  symlinkSync(main, join(folder, "slashcloud"));
  host = spawn(
    "unshare",
    [
      ...["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"],
      ...[join(import.meta.dirname, "support/own-mounts.sh"), "/"],
      join(import.meta.dirname, "support/images-host.sh"),
    ],
    { detached: true, stdio: ["ignore", "pipe", "pipe"] },
  );
  onEnd(() => process.kill(-host.pid!, "SIGKILL"));
  let output = "";
  await new Promise<void>((resolve, reject) => {
    for (const stream of [host.stdout!, host.stderr!])
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (output.includes("ready\n")) resolve();
      });
    host.once("close", (code) => reject(new Error(`the host ended with ${code}\n${output}`)));
  });
}, 120_000);

afterAll(cleanUp);

test("there are commands to run", () => {
  expect(commands().length).toBeGreaterThan(9);
});

test.each(commands())("%s", { timeout: 60_000 }, (text) => {
  const [inner] = readFileSync(`/proc/${host.pid}/task/${host.pid}/children`, "utf8").trim().split(" ");
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
  const { stdout, stderr, status } = spawnSync(
    "nsenter",
    [`--target=${inner}`, "--mount", "--net", "--pid", "bash", "-c", text],
    { encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] },
  );
  expect(stderr).toBe("");
  expect(status).toBe(0);
  if (!text.startsWith("nbdkit ")) expect(stdout).not.toBe("");
  if (/:\/etc\b|:\/etc'/.test(text) && text.includes(" ls ")) expect(stdout).toContain("hostname");
});
