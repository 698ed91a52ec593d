/** Copies of the built program, which can be given faults. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { main } from "./images-serve.js";

/** Copies the program to a folder of that name below `folder`; returns its `dist`. */
export function copyOfProgram(folder: string, name: string): string {
  const copy = join(folder, name, "dist");
  mkdirSync(dirname(copy));
  cpSync(dirname(main), copy, { recursive: true });
  cpSync(join(dirname(main), "../package.json"), join(folder, name, "package.json"));
  execFileSync("ln", [
    "-s",
    join(import.meta.dirname, "../../node_modules"),
    join(folder, name, "node_modules"),
  ]);
  return copy;
}

/** Replaces `sound` in a file of a copy, where it is once or is the first of `many`, by `faulty`. */
export function plant(copy: string, file: string, sound: string, faulty: string, many = false): void {
  const path = join(copy, file);
  const code = readFileSync(path, "utf8");
  const count = code.split(sound).length - 1;
  if (many ? count === 0 : count !== 1) throw new Error(`${file} has ${count} times: ${sound}`);
  writeFileSync(path, code.replace(sound, faulty));
}

/** A copy for which the kernel is one that cannot hand out requests again (before Linux 6.9); returns its `dist`. */
export function copyForOldKernel(folder: string, name: string): string {
  const copy = copyOfProgram(folder, name);
  plant(copy, "fuse/kernel/protocol.js", "RESEND: 7,", "RESEND: 77,");
  return copy;
}
