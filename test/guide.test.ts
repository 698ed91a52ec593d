/** What the user's guide has one type, typed: each command, on a host as the guide's, of two real guests' disks. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DaemonStatus } from "../src/daemon/read-status.js";
import { cleanUp, onEnd, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

const GUIDE = join(import.meta.dirname, "../docs/guide.md");
const folder = workFolder("guide");
let guideHost: ChildProcess;

/** Above a block of commands that cannot be run here. */
const NOT_RUN = /^<!-- not run: .+ -->$/;

/** Commands that go on until they are ended. */
const ENDLESS = /tail -F|--follow/;

/** Commands that say nothing if all is well. */
const QUIET = /> \/srv\/|--quiet|\| diff /;

/** The commands of the guide, in their order. */
function commands(): { text: string; isRun: boolean }[] {
  const found = [];
  let mark = "";
  let isInBlock = false;
  for (const line of readFileSync(GUIDE, "utf8").split("\n")) {
    const isBlock = line.startsWith("    ");
    if (isBlock && line.startsWith("    # ")) found.push({ text: line.slice(6), isRun: !NOT_RUN.test(mark) });
    // A mark is for the next block only.
    if (isInBlock && !isBlock) mark = "";
    if (line.startsWith("<!--")) mark = line;
    isInBlock = isBlock;
  }
  return found;
}

/** A directory that is there for the length of the tests: the host's namespace mounts there, and nobody else sees it. */
function placeAt(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw error;
  }
  onEnd(() => rmdirSync(path));
}

/** Runs a command on the guide's host. */
function onHost(command: string): { stdout: string; stderr: string; status: number | null } {
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
  return spawnSync("nsenter", [`--mount=/proc/${guideHost.pid}/ns/mnt`, "bash", "-c", command], {
    encoding: "utf8",
    env,
  });
}

beforeAll(async () => {
  symlinkSync(main, join(folder, "slashcloud"));
  for (const path of ["/srv", "/cloud", "/var/lib/slashcloud"]) placeAt(path);
  guideHost = spawn(
    "unshare",
    [
      ...["--mount", "--propagation", "private", join(import.meta.dirname, "support/own-mounts.sh"), "/"],
      ...[join(import.meta.dirname, "support/guide-host.sh"), main],
    ],
    { detached: true, stdio: ["ignore", "pipe", "pipe"] },
  );
  onEnd(() => process.kill(-guideHost.pid!, "SIGKILL"));
  let output = "";
  await new Promise<void>((resolve, reject) => {
    for (const stream of [guideHost.stdout!, guideHost.stderr!])
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (output.includes("slashcloud: serving /cloud (2 guests)\n")) resolve();
      });
    guideHost.once("close", (code) => reject(new Error(`the host ended with ${code}\n${output}`)));
  });
  // Before the names were read, there would be a gap instead of what happened.
  const arePathsKnown = () => {
    const { volumes } = JSON.parse(onHost("slashcloud status --json").stdout) as DaemonStatus;
    return volumes.every(({ hasPaths }) => hasPaths);
  };
  while (!arePathsKnown()) await sleep(100);
  // What an intruder does.
  const inside = "/srv/inside/guest";
  const { stderr, status } = onHost(`
    echo eve:x:0:0::/root:/bin/sh | cat ${inside}/etc/passwd - > ${inside}/etc/passwd.new
    mv ${inside}/etc/passwd.new ${inside}/etc/passwd
    cp ${inside}/usr/bin/passwd ${inside}/usr/bin/backdoor && chmod 4755 ${inside}/usr/bin/backdoor
    touch ${inside}/home/ann/stray && chown 4242 ${inside}/home/ann/stray
    touch ${inside}/etc/open && chmod 666 ${inside}/etc/open
    sync -f ${inside}/etc`);
  expect(status, stderr).toBe(0);
  await sleep(500);
}, 120_000);

afterAll(async () => {
  const ended = new Promise((resolve) => guideHost.once("close", resolve));
  process.kill(-guideHost.pid!, "SIGTERM");
  await Promise.race([ended, sleep(10_000)]);
  cleanUp();
}, 120_000);

test("there are commands to run, and what is not run says why", () => {
  const all = commands();
  expect(all.filter(({ isRun }) => isRun).length).toBeGreaterThan(25);
  expect(all.filter(({ isRun }) => !isRun).length).toBeLessThan(12);
});

test.each(commands().filter(({ isRun }) => isRun))("$text", async ({ text }) => {
  // Something happens while somebody looks, and the first line of it is enough.
  const busy =
    "while sleep 0.3; do echo x >> /srv/inside/guest/etc/motd; sync -f /srv/inside/guest/etc; done &";
  const { stdout, stderr, status } = ENDLESS.test(text)
    ? onHost(`${busy} timeout 20 ${text} | head -n 1; kill $!; wait`)
    : onHost(`set -o pipefail; ${text}`);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  if (QUIET.test(text)) expect(stdout).toBe("");
  else expect(stdout).not.toBe("");
});

test("what the guide is for is found: the intruder's account, program and files", () => {
  const outputOf = (part: string): string => {
    const command = commands().find(({ text }) => text.includes(part));
    return onHost(command?.text ?? "false").stdout;
  };
  expect(outputOf("jq -r '[.time, .guest, .event]")).toMatch(/^\S+ web (?:created|renamed)$/m);
  expect(outputOf('test("^[4-7]...$")')).toBe("web /usr/bin/backdoor 4755\n");
  expect(outputOf("-perm -4000")).toContain("/cloud/host1/web/usr/bin/backdoor\n");
  expect(outputOf("-perm -0002")).toBe("/cloud/host1/web/etc/open\n");
  expect(outputOf("known[$1]")).toBe("4242 /cloud/host1/web/home/ann/stray\n");
  expect(outputOf("diff -rq")).toContain("/cloud/host1/web/etc/ssh/sshd_config and ");
});

test("a change since the baseline is found", () => {
  onHost("echo changed >> /srv/inside/guest/etc/ssh/sshd_config; sync -f /srv/inside/guest/etc; sleep 0.5");
  const checks = commands().filter(({ text }) => /--check|\| diff \/srv/.test(text));
  expect(checks).toHaveLength(2);
  const [sums] = checks.map(({ text }) => onHost(`set -o pipefail; ${text}`));
  expect(sums!.stdout).toContain("etc/ssh/sshd_config: FAILED");
  expect(sums!.status).toBe(1);
});
