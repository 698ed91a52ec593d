/** Node, and the programs that the daemon runs. */
import { type Found, fail, ok, warn } from "./finding.js";
import { findProgram } from "./programs.js";
import type { Subject } from "./subject.js";

/** Without these nothing is mounted. */
const NEEDED = { mount: "mount", umount: "mount", stat: "coreutils", setpriv: "util-linux" };

export function checkNode({ images }: Subject): Found[] {
  const found: Found[] = [ok(`Node ${process.versions.node} (${process.execPath})`)];
  for (const [program, debian] of Object.entries(NEEDED)) {
    if (findProgram(program) === undefined)
      found.push(fail(`${program} is not installed`, `install it (Debian: ${debian})`));
  }
  const converted = images.find(({ format }) => format !== "raw");
  if (findProgram("qemu-nbd") === undefined)
    found.push(
      converted === undefined
        ? warn("qemu-nbd is not installed: only raw images can be shown", "install it (Debian: qemu-utils)")
        : fail(`${converted.path} needs qemu-nbd, which is not installed`, "install it (Debian: qemu-utils)"),
    );
  return found;
}
