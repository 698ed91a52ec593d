/** The mount point, and who sees what is mounted there. */
import { readdirSync } from "node:fs";
import { TYPE } from "../../fuse/mountpoint.js";
import { type Found, fail, ok, warn } from "./finding.js";
import { mountOf, mounts } from "./mounts.js";
import { ask } from "./programs.js";
import type { Subject } from "./subject.js";

const AGAIN = "start it again: systemctl restart slashcloud";

export function checkMountPoint({ mount, daemon }: Subject): Found[] {
  const all = mounts();
  const at = all.findLast(({ point }) => point === mount);
  const found: Found[] = [];
  if (daemon !== undefined && at?.type !== TYPE && isMountedIn(daemon.supervisor, mount))
    found.push(
      fail(
        `the daemon (process ${daemon.supervisor}) has mounts of its own: ${mount} is mounted for it alone`,
        "take options like PrivateTmp, ProtectSystem, ProtectHome and ReadOnlyPaths out of its service (systemctl cat slashcloud)",
      ),
    );
  else if (at === undefined) {
    found.push(
      daemon !== undefined
        ? fail(`a daemon runs, and ${mount} is not mounted`, AGAIN)
        : emptyDirectory(mount),
    );
  } else if (at.type !== TYPE)
    found.push(fail(`${mount} is a mount of type ${at.type}`, "unmount it, or choose another mount point"));
  else {
    const state = stateOf(mount);
    if (state === "answers") found.push(ok(`${mount} is mounted, and answers`));
    else if (state === "silent") found.push(fail(`${mount} does not answer`, AGAIN));
    else if (daemon === undefined)
      found.push(warn(`${mount} is a dead mount`, "start slashcloud, which replaces it"));
    else found.push(fail(`${mount} is a dead mount, though a daemon runs`, AGAIN));
  }
  const parent = at ?? mountOf(mount, all);
  if (parent !== undefined && !parent.isShared)
    found.push(
      warn(
        `${parent.point} is not a shared mount: services with mounts of their own do not see trees that are mounted later`,
        `mount --make-rshared ${parent.point === mount ? "/" : parent.point}, before slashcloud starts`,
      ),
    );
  return found;
}

function emptyDirectory(path: string): Found {
  try {
    if (readdirSync(path).length === 0) return ok(`${path} is there, and empty`);
    return fail(`${path} is not empty`, "choose an empty directory as the mount point");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return fail(`${path} does not exist`, `make it (mkdir -p ${path})`);
    return fail(`${path} cannot be used (${code})`, "choose a directory as the mount point");
  }
}

/** Asked by a program that can be given up: the tree may not answer. */
function stateOf(path: string): "answers" | "dead" | "silent" {
  const said = ask("stat", ["--", path]);
  if (said === undefined) return "silent";
  return said.code === 0 ? "answers" : "dead";
}

const isMountedIn = (pid: number, path: string): boolean =>
  mounts(pid).some(({ point, type }) => point === path && type === TYPE);
