// One run: a guest that works on a file system, the tree of it, and a reader that looks at the tree all the time.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const here = import.meta.dirname;
const slashcloud = process.env.SLASHCLOUD_MAIN ?? join(here, "../../dist/main.js");
const undo = [];

function onEnd(action) {
  undo.push(action);
  return () => {
    const at = undo.indexOf(action);
    if (at >= 0) undo.splice(at, 1);
    action();
  };
}

/** Takes away what is still mounted or running. */
export function cleanUp() {
  for (let action = undo.pop(); action; action = undo.pop()) {
    try {
      action();
    } catch (error) {
      process.stderr.write(`clean-up: ${error.message}\n`);
    }
  }
}
process.on("exit", cleanUp);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

function run(program, ...args) {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function unmount(folder) {
  try {
    run("umount", folder);
  } catch {
    run("umount", "-l", folder);
  }
}

/** Starts `slashcloud up`; returns when the tree answers. */
async function serve(mountPoint, image, options, log) {
  const child = spawn(
    process.execPath,
    [slashcloud, "up", "--mount", mountPoint, "--host", "host", ...options, `g=${image}`],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const closed = new Promise((resolve) => child.once("close", resolve));
  const forget = onEnd(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    try {
      unmount(mountPoint);
    } catch {
      // Not mounted (any more).
    }
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    log.text = (log.text + text).slice(-100_000);
  });
  await new Promise((resolve, reject) => {
    child.stdout.on("data", resolve);
    child.once("close", (code) => reject(new Error(`slashcloud ended with ${code}: ${log.text}`)));
  });
  return {
    pid: child.pid,
    end: async (signal) => {
      child.kill(signal);
      await closed;
      forget();
    },
  };
}

/** The process that serves: a child of the one that was started. */
function serverOf(pid) {
  return Number(run("pgrep", "-P", `${pid}`, "-f", "/server.js$").split("\n")[0]);
}

/** Makes NTFS and has ntfs-3g show it at `folder`, which writes straight to `disk`; returns what unmounts it. */
async function mountNtfs(recipe, disk, folder) {
  const driver = recipe.driver ?? "ntfs-3g";
  const before = statSync(folder).dev;
  const options = ["no_detach", "noatime", "streams_interface=xattr", recipe.mount].filter(Boolean);
  const child = spawn(driver, ["-o", options.join(","), disk, folder], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    errors += text;
  });
  for (const limit = Date.now() + 20_000; statSync(folder).dev === before; await sleep(20))
    if (child.exitCode !== null || Date.now() > limit) throw new Error(`${driver} does not mount: ${errors}`);
  return onEnd(() => unmount(folder));
}

/** The disk that a tap offers at a socket, as a file at `path`. */
async function throughTap(path, socket) {
  writeFileSync(path, "");
  const child = spawn("nbdfuse", [path, `nbd+unix:///g?socket=${socket}`], { stdio: "ignore" });
  const end = onEnd(() => {
    try {
      run("fusermount3", "-u", path);
    } catch {
      // Not mounted (any more).
    }
    child.kill();
  });
  for (const limit = Date.now() + 10_000; statSync(path).size === 0; await sleep(20))
    if (Date.now() > limit) throw new Error("nbdfuse does not show the disk");
  return { path, end };
}

/** A program of ours that takes commands and answers each with a line of JSON. */
function program(name, ...options) {
  const child = spawn("python3", [join(here, name), ...options], { stdio: ["pipe", "pipe", "inherit"] });
  const forget = onEnd(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  });
  const waiting = [];
  const fail = () => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`${name} ended early`));
  };
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.resolve(JSON.parse(line)));
  let hasEnded = false;
  const closed = new Promise((resolve) => {
    child.once("close", (code) => {
      hasEnded = true;
      fail();
      forget();
      resolve(code);
    });
  });
  return {
    ask: (command) =>
      new Promise((resolve, reject) => {
        // Nobody would ever answer.
        if (hasEnded) throw new Error(`${name} ended early`);
        waiting.push({ resolve, reject });
        child.stdin.write(`${command}\n`);
      }),
    end: () => {
      child.stdin.end();
      return closed;
    },
  };
}

/** Changes something in the guest until its event has a path: then there is a map of its names. */
async function warmUp(inside, events) {
  const limit = Date.now() + 30_000;
  const come = async (text, again) => {
    for (let n = 0; Date.now() < limit; n++) {
      again(n);
      run("sync", "-f", inside);
      await sleep(200);
      try {
        if (text.test(readFileSync(events, "utf8"))) return;
      } catch {
        // There are none yet.
      }
    }
    throw new Error("no event of the guest has come within 30 s");
  };
  await come(/"path":"\/warm"/, (n) => writeFileSync(join(inside, "warm"), `${n}`));
  await come(/"deleted".*"path":"\/warm"/, () => rmSync(join(inside, "warm"), { force: true }));
}

/**
 * Runs a recipe for some seconds. `timer`: the guest's kernel commits when it likes, every second at least, and not only
 * when it is told to. `events`: what .events tells is to make the guest's tree of what it was at the start, which is when the
 * map of its names is there, or, with `attach`, at once. `restart`: in
 * the middle, "server" kills the server, which is to be replaced, and "all" stops slashcloud and starts it again, while
 * the guest goes on. `tap`: the guest reaches its disk by the tap. Returns what was found.
 */
export async function proof({
  recipe,
  seed,
  seconds,
  timer,
  guest = [],
  reader = [],
  keep,
  events,
  attach,
  restart,
  tap,
}) {
  const folder = mkdtempSync(join(process.env.SLASHCLOUD_TEST_FOLDER ?? tmpdir(), "slashcloud-proof-"));
  let isWrong = false;
  const forget = onEnd(
    () => (keep && isWrong) || rmSync(folder, { recursive: true, force: true, maxRetries: 3 }),
  );
  const at = (name) => join(folder, name);
  const image = at("image");
  run("truncate", "-s", recipe.size ?? "96M", image);
  if (recipe.mkntfs) process.env.SLASHCLOUD_LIVE_NTFS = "1";
  else delete process.env.SLASHCLOUD_LIVE_NTFS;
  if (recipe.mkntfs) run("mkntfs", "-q", "-Q", "-F", ...recipe.mkntfs, image);
  else run("mke2fs", "-q", "-F", ...recipe.mke2fs, image);
  const log = { text: "" };
  const listen = tap ? ["--tap", `unix:${at("tap.sock")}`] : [];
  const start = () =>
    serve(at("cloud"), image, ["--state", at("state"), "--events-size", "512K", ...listen], log);
  mkdirSync(at("cloud"));
  // The tap must be there before a guest can be.
  let daemon = tap ? await start() : undefined;
  const disk = tap ? await throughTap(at("nbd"), at("tap.sock")) : { path: image, end: () => {} };
  mkdirSync(at("inside"));
  const isRead = recipe.check !== false;
  const hasJournal = isRead && !recipe.mkntfs;
  let device = "";
  let free = () => {};
  let unmountInside;
  if (recipe.mkntfs) unmountInside = await mountNtfs(recipe, disk.path, at("inside"));
  else {
    device = run("losetup", "--find", "--show", ...(tap ? ["--direct-io=on"] : []), disk.path).trim();
    free = onEnd(() => run("losetup", "-d", device));
    const options = ["noatime", recipe.mount, hasJournal ? `commit=${timer ? 1 : 300}` : undefined];
    run("mount", "-o", options.filter(Boolean).join(","), device, at("inside"));
    unmountInside = onEnd(() => unmount(at("inside")));
  }
  daemon ??= await start();
  const tree = join(at("cloud"), "host/g");
  const snapshot = (name) => {
    run("sync", "-f", at("inside"));
    writeFileSync(at(name), run("python3", join(here, "snapshot.py"), at("inside")));
  };
  if (events && !attach) await warmUp(at("inside"), join(tree, ".events"));
  snapshot("start");
  const follower = events
    ? program(
        "follow.py",
        "--file",
        join(tree, ".events"),
        "--out",
        at("events"),
        ...(attach ? ["--all"] : []),
      )
    : undefined;
  await follower?.ask("begin");
  const writer = program(
    "guest.py",
    ...["--inside", at("inside"), "--tree", tree, "--history", at("history"), "--seed", `${seed}`],
    ...["--jbd2", `/proc/fs/jbd2/${basename(device)}-8/info`, ...(hasJournal ? ["--compare-fsync"] : [])],
    ...["--fast-commits", `/proc/fs/ext4/${basename(device)}/fc_info`],
    ...recipe.guest,
    ...guest,
  );
  const watcher =
    isRead && !process.env.NOREADER
      ? program("reader.py", "--tree", tree, "--out", at("observed"), "--seed", `${seed}`, ...reader)
      : undefined;
  const half = restart ? seconds / 2 : seconds;
  let report = await writer.ask(`work ${half}`);
  if (restart) {
    const blind = writer.ask("blind 150");
    if (restart === "all") {
      await daemon.end("SIGTERM");
      await blind;
      daemon = await start();
    } else {
      process.kill(serverOf(daemon.pid), "SIGKILL");
      await blind;
    }
    report = await writer.ask(`work ${half}`);
  }
  if (watcher) report.observations = (await watcher.ask("end")).observations;
  await watcher?.end();
  await writer.end();
  if (follower) {
    snapshot("end");
    report.followed = await follower.ask("end");
    await follower.end();
    const states = ["--start", at("start"), "--end", at("end"), "--events", at("events")];
    const { failures, ...counts } = JSON.parse(run("python3", join(here, "replay.py"), ...states));
    report.events = counts;
    report.failures.push(...failures.map((line) => `events: ${line}`));
  }
  if (watcher) {
    const checker = [
      "--history",
      at("history"),
      "--observed",
      at("observed"),
      ...(timer || recipe.mkntfs ? ["--any"] : []),
    ];
    report.checked = JSON.parse(run("python3", join(here, "check.py"), ...checker));
    report.failures.push(...report.checked.failures);
    delete report.checked.failures;
  }
  unmountInside();
  free();
  disk.end();
  await daemon.end("SIGTERM");
  isWrong = report.failures.length > 0;
  if (keep && isWrong) report.folder = folder;
  forget();
  if (log.text) report.log = log.text;
  return report;
}
