/** Node, and the programs that the daemon runs. */
import { compressionOf } from "../../images/formats.js";
import { isNbdkitName, isWebUrl } from "../../images/named-elsewhere.js";
import { type Found, fail, ok, warn } from "./finding.js";
import { findProgram } from "./programs.js";
import type { Subject, SubjectImage } from "./subject.js";

/** Without these nothing is mounted. */
const NEEDED = { mount: "mount", umount: "mount", stat: "coreutils", setpriv: "util-linux" };

export function checkNode({ images }: Subject): Found[] {
  const found: Found[] = [ok(`Node ${process.versions.node} (${process.execPath})`)];
  for (const [program, debian] of Object.entries(NEEDED)) {
    if (findProgram(program) === undefined)
      found.push(fail(`${program} is not installed`, `install it (Debian: ${debian})`));
  }
  const isOfNbdkit = ({ path, format }: SubjectImage): boolean =>
    isNbdkitName(path) || isWebUrl(path) || compressionOf(format) !== undefined;
  const offered = images.find(isOfNbdkit);
  if (offered !== undefined && findProgram("nbdkit") === undefined)
    found.push(fail(`${offered.path} needs nbdkit, which is not installed`, "install it (Debian: nbdkit)"));
  const converted = images.find((image) => image.format !== "raw" && !isOfNbdkit(image));
  if (findProgram("qemu-nbd") === undefined)
    found.push(
      converted === undefined
        ? warn(
            "qemu-nbd is not installed: images of other formats than raw cannot be shown",
            "install it (Debian: qemu-utils)",
          )
        : fail(`${converted.path} needs qemu-nbd, which is not installed`, "install it (Debian: qemu-utils)"),
    );
  return found;
}
