/** Whether this user may mount, and for whom. */
import { statSync } from "node:fs";
import { type Found, fail, ok, warn } from "./finding.js";
import { readText } from "./processes.js";
import { findProgram } from "./programs.js";

/** Bit of CAP_SYS_ADMIN in the masks of /proc/<pid>/status (capabilities(7)). */
const SYS_ADMIN = 21n;

export function checkRights(): Found[] {
  if (process.geteuid?.() === 0) {
    const mask = /^CapEff:\t([0-9a-f]+)$/m.exec(readText("/proc/self/status") ?? "")?.[1] ?? "0";
    return [
      ((BigInt(`0x${mask}`) >> SYS_ADMIN) & 1n) === 1n
        ? ok("root, with the right to mount (CAP_SYS_ADMIN)")
        : fail(
            "root without the right to mount (CAP_SYS_ADMIN)",
            "run it outside this container, or give it that capability (--cap-add SYS_ADMIN)",
          ),
    ];
  }
  const found: Found[] = [
    warn(
      "not root: the tree is for this user alone, and not told of changes (--driver libfuse)",
      "run slashcloud as root for all of it",
    ),
  ];
  const fusermount = findProgram("fusermount");
  if (fusermount === undefined)
    found.push(fail("fusermount is not installed", "install it (Debian: fuse3 or fuse)"));
  else if ((statSync(fusermount).mode & 0o4000) === 0)
    found.push(fail(`${fusermount} is not set-uid root, so it may not mount`, `chmod u+s ${fusermount}`));
  else found.push(ok(`${fusermount} mounts for users`));
  const isAllowed = /^\s*user_allow_other\s*$/m.test(readText("/etc/fuse.conf") ?? "");
  found.push(ok(`user_allow_other is ${isAllowed ? "" : "not "}in /etc/fuse.conf; this driver does without`));
  return found;
}
