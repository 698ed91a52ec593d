/** The kernel's side of FUSE. */
import { statSync } from "node:fs";
import { release } from "node:os";
import { type Found, fail, ok, warn } from "./finding.js";
import { readText } from "./processes.js";

/** The first Linux that hands requests out again after a server has died (FUSE_NOTIFY_RESEND). */
const RESENDS = [6, 9] as const;
/** Pages of the largest read that the daemon asks for: 1 MiB. */
const READ_PAGES = 256;

export function checkFuse(): Found[] {
  const found: Found[] = [];
  const device = statSync("/dev/fuse", { throwIfNoEntry: false });
  const isKnown = /^nodev\tfuse$/m.test(readText("/proc/filesystems") ?? "");
  if (!device?.isCharacterDevice())
    found.push(
      fail(
        "/dev/fuse is not there",
        "modprobe fuse; in a container, give it the device (--device /dev/fuse)",
      ),
    );
  else if (!isKnown)
    found.push(warn("the kernel's module fuse is not loaded yet", "modprobe fuse, if mounting says so"));
  else found.push(ok("/dev/fuse and the kernel's FUSE are there"));
  const [major = 0, minor = 0] = release().split(/[.-]/).map(Number);
  const isResent = major > RESENDS[0] || (major === RESENDS[0] && minor >= RESENDS[1]);
  found.push(
    isResent
      ? ok(`Linux ${release()}: readers only notice a pause if the server dies`)
      : ok(
          `Linux ${release()}: readers only notice a pause if the server dies; at worst one gets ESTALE (never from ${RESENDS.join(".")} on)`,
        ),
  );
  // Since Linux 6.13; without it the limit is just that.
  const pages = Number(readText("/proc/sys/fs/fuse/max_pages_limit") ?? READ_PAGES);
  if (pages < READ_PAGES)
    found.push(
      warn(
        `/proc/sys/fs/fuse/max_pages_limit is ${pages}: reads are slower than they need be`,
        `sysctl fs.fuse.max_pages_limit=${READ_PAGES}`,
      ),
    );
  return found;
}
