/** The images themselves: whether they can be read, and what they lie on. */
import { isNamedElsewhere } from "../../images/named-elsewhere.js";
import { isRemote } from "../../images/remote.js";
import { formatOf, parseImage } from "../image-name.js";
import { type Found, fail, ok, warn } from "./finding.js";
import { mountOf } from "./mounts.js";
import { ask } from "./programs.js";
import type { Subject, SubjectImage } from "./subject.js";

export function checkImages({ images }: Subject): Found[] {
  if (images.length === 0)
    return [ok("none to look at: name some (slashcloud doctor IMAGE...), or start the daemon")];
  return images.flatMap(checkImage);
}

function checkImage({ path, format }: SubjectImage): Found[] {
  if (isNamedElsewhere(path)) return [ok(`${path} is another program's`)];
  const found: Found[] = [];
  const remote = isRemote(path);
  if (remote) {
    const mount = mountOf(path);
    const isFuse = mount?.type.startsWith("fuse") === true;
    const where = mount === undefined ? "" : ` (${mount.type} at ${mount.point})`;
    found.push(
      warn(
        `${path} lies on storage that can stall${where}: its guest has threads of its own, and I/O errors after 10 s`,
        isFuse
          ? "what others write there is seen as late as that file system lets it be seen: name the image by a path below it, or attach to its QEMU"
          : "if another host runs the guest, its writes are seen late: run slashcloud there, or have its QEMU export the disk by NBD",
      ),
    );
  }
  // By a program that can be given up, as such storage may not answer.
  const read = ask("head", ["-c", "512", "--", path]);
  if (read === undefined) found.push(fail(`${path} does not answer`, "look after its storage"));
  else if (read.code !== 0)
    found.push(
      fail(`${path} cannot be read: ${reasonOf(read.stderr)}`, "check the path, and run it as root"),
    );
  else if (!remote) found.push(ok(`${path} (${format}) can be read`));
  if (!remote && read?.code === 0 && format === "raw")
    formatOf(parseImage(path), (line) =>
      found.push(warn(line, "name its format, if it is one: FORMAT:IMAGE")),
    );
  return found;
}

function reasonOf(said: string): string {
  return said.trim().split(": ").at(-1) || "no reason is given";
}
