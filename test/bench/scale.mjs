// Many small guests on one host: from the start to the first listing, memory, idling, and two questions about all of them,
// beside the kernel with each image mounted.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder } from "./images.mjs";
import { atRest, processorShare, residentMegabytes, serving } from "./mounts.mjs";

const run = (program, ...args) => execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
const of = join(folder, "scale");

const QUESTIONS = {
  'grep "Failed password" */var/log/auth.log': `grep "Failed password" */var/log/auth.log | wc -l`,
  "find */lib -maxdepth 0 -not -perm 755": "find */lib -maxdepth 0 -not -perm 755 | wc -l",
};

/** A guest with some 2,000 files, a log of 400 kB among them, and `count` copies of it, each a little different. */
function makeImages(count) {
  rmSync(of, { recursive: true, force: true });
  mkdirSync(of, { recursive: true });
  const root = join(of, "root");
  for (const name of ["etc", "var/log", "lib", "usr/share"])
    mkdirSync(join(root, name), { recursive: true, mode: 0o755 });
  for (let n = 0; n < 2000; n++) {
    const directory = join(root, "usr/share", `${n % 40}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `file-${n}`), "some text\n".repeat(1 + (n % 100)));
  }
  const line = (n) =>
    `Jan 31 12:10:01 web sshd[${n}]: ${n % 100 === 0 ? "Failed" : "Accepted"} password for root\n`;
  writeFileSync(join(root, "var/log/auth.log"), Array.from({ length: 6000 }, (_, n) => line(n)).join(""));
  const first = join(of, "first.img");
  run("truncate", "-s", "64M", first);
  run("mkfs.ext4", "-q", "-F", "-d", root, first);
  const images = Array.from({ length: count }, (_, n) => {
    const image = join(of, `guest-${n}.img`);
    run("cp", "--sparse=always", first, image);
    if (n % 50 === 7) run("debugfs", "-w", "-R", "set_inode_field /lib mode 040777", image);
    return `guest-${n}=${image}`;
  });
  rmSync(root, { recursive: true });
  rmSync(first);
  return images;
}

function dropCaches() {
  run("sync");
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

function ask(question, cwd) {
  const start = performance.now();
  const { stdout, status } = spawnSync("bash", ["-c", question], { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${question}: exit code ${status}`);
  return { ms: performance.now() - start, answer: stdout.trim() };
}

/** Cold and warm ms of each question, and the answers. */
function askAll(cwd) {
  return Object.values(QUESTIONS).map((question) => {
    dropCaches();
    const cold = ask(question, cwd);
    const warm = ask(question, cwd);
    return { cold: cold.ms, warm: warm.ms, answer: cold.answer };
  });
}

/** Each image mounted by the kernel. */
function byKernel(images) {
  const top = join(of, "kernel");
  const points = images.map((guest) => join(top, guest.slice(0, guest.indexOf("="))));
  const start = performance.now();
  try {
    for (const [n, guest] of images.entries()) {
      mkdirSync(points[n], { recursive: true });
      run("mount", "-o", "ro,loop,noatime", guest.slice(guest.indexOf("=") + 1), points[n]);
    }
    return { start: performance.now() - start, answers: askAll(top) };
  } finally {
    for (const point of points) spawnSync("umount", [point], { stdio: "ignore" });
  }
}

/** Figures of `count` guests; idling over `seconds`. */
export async function scale(count, seconds) {
  const images = makeImages(count);
  try {
    const kernel = byKernel(images);
    dropCaches();
    const begun = performance.now();
    const served = await serving(images);
    try {
      const listed = images.every((guest) => {
        const name = guest.slice(0, guest.indexOf("="));
        return readdirSync(join(served.path, name)).length > 0;
      });
      if (!listed) throw new Error("a guest is not there");
      const start = performance.now() - begun;
      await atRest(served.pid, 2);
      const memory = residentMegabytes(served.pid);
      const idle = await processorShare(served.pid, seconds);
      const answers = askAll(served.path);
      return { count, kernel, start, memory, idle, answers, read: residentMegabytes(served.pid) };
    } finally {
      await served.end();
    }
  } finally {
    rmSync(of, { recursive: true, force: true });
  }
}

/** The figures as Markdown. */
export function report({ count, kernel, start, memory, idle, answers, read }) {
  const s = (ms) => (ms / 1000).toFixed(2);
  const rows = Object.keys(QUESTIONS).map((question, n) => {
    const [theirs, ours] = [kernel.answers[n], answers[n]];
    if (theirs.answer !== ours.answer) throw new Error(`${question}: ${ours.answer}, not ${theirs.answer}`);
    const ratio = (kind) => (ours[kind] / theirs[kind]).toFixed(1);
    return `| ${question} | ${s(theirs.cold)} / ${s(theirs.warm)} | ${s(ours.cold)} / ${s(ours.warm)} | ${ratio("cold")} / ${ratio("warm")} |`;
  });
  return [
    `| ${count} guests of 2,000 files | kernel, each mounted, cold / warm, s | slashcloud cold / warm, s | ratio |`,
    "|---|---|---|---|",
    `| from the start until each is listed | ${s(kernel.start)} | ${s(start)} | ${(start / kernel.start).toFixed(1)} |`,
    ...rows,
    "",
    `Resident memory ${memory.toFixed(0)} MB at rest, ${read.toFixed(0)} MB after that; at rest ${idle.toFixed(2)} % of one core.`,
  ].join("\n");
}

if (process.argv[1] === import.meta.filename)
  console.log(report(await scale(Number(process.argv[2] ?? 200), 20)));
