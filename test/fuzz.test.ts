/** The fuzzer, for a short run, and whether it finds what it is there to find. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";

vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });

let folder: string;
/** The built library. */
const library = resolve("dist");

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "slashcloud-fuzz-"));
  if (!existsSync(library)) throw new Error(`${library} is not there: run \`npm run build\` first`);
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n');
  symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fuzz(...options: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["test/fuzz/main.mjs", ...options], {
    encoding: "utf8",
  });
  return { status, output: stdout + stderr };
}

/** A copy of the library with a fault: `sound` in the file is replaced by `faulty`. */
function plant(name: string, file: string, sound: string, faulty: string): string {
  const planted = join(folder, name);
  cpSync(library, planted, { recursive: true });
  const path = join(planted, file);
  const code = readFileSync(path, "utf8");
  expect(code.split(sound).length).toBe(2);
  writeFileSync(path, code.replace(sound, faulty));
  return planted;
}

it("3,000 damaged images are read to the end, each within 2 s and 256 MB, without a crash", () => {
  const { status, output } = fuzz("--library", library, "--count", "3000", "--seed", "7000000");
  expect(output).toContain("3000 mutants, 0 failures");
  expect(status).toBe(0);
});

it("a bound that is missing is found as an exception, and told with the seed that shows it again", () => {
  const planted = plant(
    "exception",
    "filesystems/ext/extents.js",
    "entries > max || HEADER + max * ENTRY > room",
    "false",
  );
  const { status, output } = fuzz("--library", planted, "--count", "600", "--image", "ext4");
  expect(status).toBe(1);
  const replay = /FAILED {2}(--image ext4 --seed \d+ --count 1)\n *RangeError/.exec(output)?.[1];
  expect(replay).toBeDefined();
  const again = fuzz("--library", planted, ...(replay as string).split(" "));
  expect(again.output).toContain("1 mutants, 1 failures");
  expect(fuzz("--library", library, ...(replay as string).split(" ")).status).toBe(0);
});

it("an endless loop is ended and found, and the rest of the mutants are read", () => {
  const planted = plant(
    "loop",
    "filesystems/ext/dirblock.js",
    "length < SHORTEST || (length & 3) !== 0 || length > left || HEADER + nameLength > length",
    "length > left",
  );
  // Such a loop is there for ever: to wait for each as long as for what is only slow would show no more.
  const soon = ["--milliseconds", "700"];
  const { status, output } = fuzz("--library", planted, "--count", "140", "--image", "ext2", ...soon);
  expect(output).toMatch(/FAILED {2}--image ext2 --seed \d+ --count 1\n *no answer after \d+ ms/);
  expect(output).toMatch(/^140 mutants, [1-9]/m);
  expect(status).toBe(1);
});

it("memory that a number on disk asks for is found", () => {
  const planted = plant(
    "memory",
    "filesystems/ext/symlink.js",
    "Buffer.alloc(size)",
    "((globalThis.held ??= Buffer.alloc(300 * 2 ** 20, 1)), Buffer.alloc(size))",
  );
  // To be given so much memory may take a machine longer than any answer may take.
  const patient = ["--milliseconds", "30000"];
  const { status, output } = fuzz(
    "--library",
    planted,
    "--count",
    "2",
    "--jobs",
    "1",
    "--image",
    "ext2",
    ...patient,
  );
  expect(output).toMatch(/it took \d+ MB of memory/);
  expect(status).toBe(1);
});
