/** The automounter of a machine that mounts the tree: each server's host as a directory of one. */

import type { AutofsSettings } from "./settings.js";
import { type ExportedTree, head, pathIn, treeName } from "./tree.js";

/** Where the map is on the client. */
export const AUTOFS_MAP = "/etc/auto.slashcloud";

/** Effect on the client: none of a device, a set-uid bit or a program of a guest's. */
const HARMLESS = "ro,nosuid,nodev,noexec";

/** The entry in auto.master.d. */
export function autofsMaster({ directory, timeout }: AutofsSettings): string {
  return `${head("A directory of hosts, each of which is mounted when it is used.")}${escaped(directory)} ${AUTOFS_MAP} --timeout=${timeout}\n`;
}

/** The map: a line for each server. */
export function autofsMap(settings: AutofsSettings, tree: ExportedTree): string {
  const servers = settings.servers.length > 0 ? settings.servers : [{ host: tree.host }];
  const lines = servers.map(({ host, address = host, mount = tree.mount }) => {
    const there = { mount, host, guests: [] };
    return settings.protocol === "nfs4"
      ? `${host} -fstype=nfs4,${nfsOptions(settings)} ${inUrl(address)}:${escaped(pathIn(there, host))}`
      : `${host} -fstype=cifs,${cifsOptions(settings)} ://${inUrl(address)}/${escaped(`${settings.share ?? treeName(there)}/${host}`)}`;
  });
  return `${head(`HOST OPTIONS SERVER, for ${AUTOFS_MAP}.`)}${lines.join("\n")}\n`;
}

function nfsOptions({ keep, port }: AutofsSettings): string {
  const caches = keep === 0 ? "actimeo=0,lookupcache=none" : `actimeo=${keep}`;
  return `${HARMLESS},hard,${caches}${port === undefined ? "" : `,port=${port}`}`;
}

function cifsOptions({ keep, port, credentials }: AutofsSettings): string {
  const caches = keep === 0 ? "cache=none,actimeo=0" : `actimeo=${keep}`;
  const who = credentials === undefined ? "guest" : `credentials=${escaped(credentials)}`;
  return `${HARMLESS},vers=3.0,mapposix,iocharset=utf8,${caches},${who}${port === undefined ? "" : `,port=${port}`}`;
}

/** An address before a colon. */
function inUrl(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** What autofs(5) reads as one word, and as itself: "&" would be the key. */
function escaped(text: string): string {
  return text.replace(/[\s#&$,]/g, (character) => `\\${character}`);
}
