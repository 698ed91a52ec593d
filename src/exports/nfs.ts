/** NFS: a line for the kernel's server, or all of NFS-Ganesha's configuration. */

import { createHash } from "node:crypto";
import type { NfsSettings } from "./settings.js";
import { ExportError, type ExportedTree, head, pathIn } from "./tree.js";

/** Whose requests are done as whom. */
interface Identity {
  readonly squash: NfsSettings["squash"];
  readonly uid: number;
  readonly gid: number;
}

function identityOf({ squash, anonymousUid, anonymousGid, asRoot }: NfsSettings): Identity {
  return asRoot === undefined
    ? { squash, uid: anonymousUid, gid: anonymousGid }
    : { squash: "all", uid: 0, gid: 0 };
}

/**
 * What tells the file system from others in clients' handles. A FUSE mount has no device or UUID that stays, so it is made
 * of the mount point: the same after a restart.
 */
function fsidOf({ fsid }: NfsSettings, { mount }: ExportedTree): number {
  // 0 is what NFS version 4 calls its root.
  return fsid ?? (createHash("sha256").update(mount).digest().readUInt32BE(0) & 0x7fff_ffff || 1);
}

function checkClients({ clients }: NfsSettings): void {
  if (clients.length === 0)
    throw new ExportError(
      "who may mount the tree? Name machines: --client 192.0.2.0/24, or exports.nfs.clients",
    );
}

const because = ({ asRoot }: NfsSettings, indent = ""): string =>
  asRoot === undefined ? "" : `${indent}# As root: ${asRoot}\n`;

/** Where the setting is that the kernel's server needs. */
export const NFS_SYSCTL = "/etc/sysctl.d/60-slashcloud-nfs.conf";

/**
 * The kernel's NFS server gives clients of version 4 delegations, which are leases: a client with one asks nothing until it
 * is recalled, and nobody recalls it for what a guest writes. There is no setting of an export for that.
 */
export const NFS_SYSCTL_TEXT = `${head("NFS clients are given no delegations: they would not see what guests write.")}fs.leases-enable = 0\n`;

/** /etc/exports.d/slashcloud.exports. Throws ExportError without a client. */
export function exportsText(settings: NfsSettings, tree: ExportedTree): string {
  checkClients(settings);
  const { squash, uid, gid } = identityOf(settings);
  const options = [
    "ro",
    `fsid=${fsidOf(settings, tree)}`,
    "no_subtree_check",
    "crossmnt",
    settings.anyPort ? "insecure" : "secure",
    { all: "all_squash", root: "root_squash", none: "no_root_squash" }[squash],
    `anonuid=${uid}`,
    `anongid=${gid}`,
  ].join(",");
  const clients = settings.clients.map((client) => `${client}(${options})`).join(" ");
  return `${head(`For the kernel's NFS server, with fs.leases-enable = 0 (${NFS_SYSCTL}).`)}${because(settings)}${escaped(pathIn(tree))} ${clients}\n`;
}

/** A path as exports(5) has it: what ends a word or begins a comment, in octal. */
function escaped(path: string): string {
  return path.replace(/[\s#()]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

/**
 * A complete ganesha.conf. Throws ExportError without a client. `address`: where it listens, or "any".
 */
export function ganeshaText(
  settings: NfsSettings,
  tree: ExportedTree,
  address: string = settings.address,
): string {
  checkClients(settings);
  const { squash, uid, gid } = identityOf(settings);
  const path = pathIn(tree);
  const fsid = fsidOf(settings, tree);
  const squashed = { all: "All_Squash", root: "Root_Squash", none: "No_Root_Squash" }[squash];
  return `${head("All of NFS-Ganesha's configuration.")}
NFS_CORE_PARAM {
${address === "any" ? "" : `  Bind_addr = ${address};\n`}  NFS_Port = ${settings.port};
  Protocols = 4;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  fsid_device = true;
}

MDCACHE {
  Dir_Chunk = 0;
}

NFSV4 {
  Graceless = true;
  Only_Numeric_Owners = true;
  Delegations = false;
}

EXPORT {
  Export_Id = 1;
  Path = "${path}";
  Pseudo = "${path}";
  Filesystem_id = ${fsid}.0;
  Protocols = 4;
  SecType = sys;
  Disable_ACL = true;
  Attr_Expiration_Time = 0;
  PrivilegedPort = ${settings.anyPort ? "false" : "true"};
  Access_Type = None;
${because(settings, "  ")}  Squash = ${squashed};
  Anonymous_Uid = ${uid};
  Anonymous_Gid = ${gid};
  CLIENT {
    Clients = ${settings.clients.join(", ")};
    Protocols = 4;
    SecType = sys;
    Access_Type = RO;
    Squash = ${squashed};
    Anonymous_Uid = ${uid};
    Anonymous_Gid = ${gid};
    PrivilegedPort = ${settings.anyPort ? "false" : "true"};
  }
  FSAL {
    Name = VFS;
  }
}
`;
}

/**
 * NFS-Ganesha's unit: it starts after the tree and with it, as it holds the mount that it found; and has its mounts to
 * itself, so that the mount which it holds does not keep the tree from being unmounted.
 */
export const GANESHA_UNIT = `${head("NFS-Ganesha and the tree.")}[Unit]
After=slashcloud.service
PartOf=slashcloud.service

[Service]
PrivateMounts=yes
`;
