/** Putting the configuration of each server in place. All paths begin with `prefix`, which is "" on a machine itself. */

import { AUTOFS_MAP, autofsMap, autofsMaster } from "./autofs.js";
import { type Complaint, checkExports, checkGanesha, checkSamba, sambaShares } from "./check.js";
import { exportsText, GANESHA_UNIT, ganeshaText, NFS_SYSCTL, NFS_SYSCTL_TEXT } from "./nfs.js";
import { place, textOf } from "./place.js";
import { sambaText, shareNames } from "./samba.js";
import type { AutofsSettings, NfsSettings, SambaSettings } from "./settings.js";
import { ExportError, type ExportedTree, MARK } from "./tree.js";

const SMB_CONF = "/etc/samba/smb.conf";
const SAMBA = "/etc/samba/slashcloud.conf";
const EXPORTS = "/etc/exports.d/slashcloud.exports";
const GANESHA = "/etc/ganesha/ganesha.conf";
const GANESHA_DROP_IN = "/etc/systemd/system/nfs-ganesha.service.d/slashcloud.conf";
const AUTOFS_MASTER = "/etc/auto.master.d/slashcloud.autofs";

/** The line that smb.conf needs. A section's name is given, as what comes before may be any section. */
const INCLUDE = `# Begin slashcloud: what "slashcloud export samba --install" has added.
[global]
   include = ${SAMBA}
# End slashcloud
`;
/** An include of ours, also one that somebody wrote in by hand. */
const INCLUDED = /^[ \t]*include[ \t]*=[ \t]*.*\/slashcloud\.conf[ \t]*$/im;

/** Writes what Samba is to include, and has smb.conf include it. Returns lines for the user. Throws ExportError. */
export async function installSamba(
  settings: SambaSettings,
  tree: ExportedTree,
  prefix: string,
): Promise<string[]> {
  const text = sambaText(settings, tree);
  const main = prefix + SMB_CONF;
  const former = textOf(main);
  refuseTaken(shareNames(settings, tree), former ?? "", main);
  let unchecked = false;
  await place(prefix + SAMBA, text, async (path) => {
    unchecked = complain(await checkSamba(path), SAMBA, "testparm");
  });
  const said = [`${prefix}${SAMBA} is written${unchecked ? ", and not checked: there is no testparm" : ""}`];
  if (former === undefined)
    return [...said, `Samba reads it if ${SMB_CONF} has the line: include = ${SAMBA}`];
  if (!INCLUDED.test(former)) {
    const before = await checkSamba(main);
    await place(main, `${former}${former.endsWith("\n") ? "" : "\n"}\n${INCLUDE}`, async (path) => {
      // What was wrong before is not ours to refuse.
      const complaint = await checkSamba(path);
      if (complaint !== before) complain(complaint, SMB_CONF, "testparm");
    });
    said.push(`${main} includes it now`);
  }
  const shares = prefix === "" ? await sambaShares(main) : undefined;
  if (shares !== undefined && !shareNames(settings, tree).every((name) => shares.includes(name)))
    throw new ExportError(`Samba does not find the shares: look at the include lines of ${main}`, 1);
  return [...said, "Samba takes it in with: smbcontrol all reload-config"];
}

/** A share of the same name in smb.conf would be one with ours, with parameters of both. */
function refuseTaken(names: readonly string[], conf: string, path: string): void {
  const sections = [...conf.matchAll(/^[ \t]*\[[ \t]*(.*?)[ \t]*\]/gm)].map(([, name]) =>
    name!.toLowerCase(),
  );
  const taken = names.find((name) => sections.includes(name.toLowerCase()));
  if (taken !== undefined)
    throw new ExportError(`${path} has a share [${taken}] already: give this one another name (--name)`, 1);
}

/** Writes a file for the kernel's NFS server. Returns lines for the user. Throws ExportError. */
export async function installExports(
  settings: NfsSettings,
  tree: ExportedTree,
  prefix: string,
): Promise<string[]> {
  const text = exportsText(settings, tree);
  const unchecked = complain(await checkExports(text), EXPORTS, "exportfs");
  await place(prefix + NFS_SYSCTL, NFS_SYSCTL_TEXT);
  await place(prefix + EXPORTS, text);
  return [
    `${prefix}${NFS_SYSCTL} is written`,
    `${prefix}${EXPORTS} is written${unchecked ? ", and not checked: exportfs (nfs-kernel-server) is not there" : ""}`,
    `The server takes them in with: sysctl -p ${NFS_SYSCTL} && exportfs -r`,
  ];
}

/** Writes NFS-Ganesha's configuration; one that is not ours is kept beside it. Returns lines for the user. */
export async function installGanesha(
  settings: NfsSettings,
  tree: ExportedTree,
  prefix: string,
): Promise<string[]> {
  const text = ganeshaText(settings, tree);
  const unchecked = complain(await checkGanesha(ganeshaText(settings, tree, "any")), GANESHA, "NFS-Ganesha");
  const path = prefix + GANESHA;
  const former = textOf(path);
  const said: string[] = [];
  if (former !== undefined && !former.startsWith(MARK)) {
    const kept = `${path}.before-slashcloud`;
    if (textOf(kept) !== undefined)
      throw new ExportError(`${path} is somebody else's, and so is ${kept}: move one of them away`, 1);
    await place(kept, former);
    said.push(`what was there is kept as ${kept}`);
  }
  await place(path, text);
  await place(prefix + GANESHA_DROP_IN, GANESHA_UNIT);
  return [
    `${path} is written${unchecked ? ", and not checked: NFS-Ganesha (nfs-ganesha-vfs) is not there" : ""}`,
    ...said,
    "The server takes it in with: systemctl daemon-reload && systemctl restart nfs-ganesha",
  ];
}

/** Writes the automounter's maps, on a machine that mounts the tree. Returns lines for the user. */
export async function installAutofs(
  settings: AutofsSettings,
  tree: ExportedTree,
  prefix: string,
): Promise<string[]> {
  const map = autofsMap(settings, tree);
  await place(prefix + AUTOFS_MAP, map);
  await place(prefix + AUTOFS_MASTER, autofsMaster(settings));
  return [
    `${prefix}${AUTOFS_MAP} and ${prefix}${AUTOFS_MASTER} are written`,
    "The automounter takes them in with: systemctl reload autofs",
  ];
}

/** Throws if the server's own program has found something. Returns whether there was none to ask. */
function complain(complaint: Complaint, file: string, program: string): boolean {
  if (complaint)
    throw new ExportError(`${program} refuses what ${file} was to be (${complaint}); the former stays`, 1);
  return complaint === undefined;
}
