/** AppArmor and SELinux, which can keep servers from the tree whatever the modes say. */
import { type Found, ok, warn } from "./finding.js";
import { readText } from "./processes.js";
import { findProgram } from "./programs.js";
import type { Subject } from "./subject.js";

/** Where Debian's profile of smbd takes local rules. */
const SMBD_LOCAL = "/etc/apparmor.d/local/usr.sbin.smbd";

export function checkSecurityModules({ mount, images }: Subject): Found[] {
  const found: Found[] = [];
  const profiles = readText("/sys/kernel/security/apparmor/profiles") ?? "";
  const enforced = profiles.split("\n").flatMap((line) => /^(.*) \(enforce\)$/.exec(line)?.[1] ?? []);
  const isSmbdConfined = enforced.some((name) => /(^|\/)smbd$/.test(name));
  const local = `${readText(SMBD_LOCAL) ?? ""}${readText(`${SMBD_LOCAL}-shares`) ?? ""}`;
  if (isSmbdConfined && !local.includes(`${mount}/`))
    found.push(
      warn(
        `AppArmor confines smbd, and ${SMBD_LOCAL} does not have ${mount}`,
        `add "${mount}/ r," and "${mount}/** r," there, and apparmor_parser -r /etc/apparmor.d/usr.sbin.smbd`,
      ),
    );
  if (enforced.some((name) => name.startsWith("libvirt-")))
    found.push(
      ok(
        "AppArmor confines libvirt's guests: a socket for --tap or --pipe needs a rule in abstractions/libvirt-qemu",
      ),
    );
  const isSelinuxOn = readText("/sys/fs/selinux/enforce")?.trim() === "1";
  if (isSelinuxOn && findProgram("smbd") !== undefined)
    found.push(warn("SELinux keeps smbd from FUSE", "setsebool -P samba_share_fusefs on"));
  if (isSelinuxOn && images.length > 0)
    found.push(
      ok("SELinux is on: images are read as the service's domain may; ausearch -m avc tells what is denied"),
    );
  return found.length > 0 ? found : [ok("neither AppArmor nor SELinux is in the way")];
}
