/** `slashcloud export`: the configuration of the servers that show the tree to other machines. */

import { type ExportKind, type ExportsInput, exportTree } from "../daemon/exporting.js";
import { UserError } from "../daemon/user-error.js";
import { write } from "./output.js";

/** Of all kinds. */
export interface ExportOptions {
  /** The daemon's configuration. */
  readonly config?: string;
  readonly mount?: string;
  readonly host?: string;
  readonly install?: boolean;
  /** Below which directory files are put in place. */
  readonly prefix?: string;
}

export interface SambaOptions extends ExportOptions {
  readonly of?: "tree" | "host" | "guests";
  readonly name?: string;
  readonly guest?: string[];
  readonly user?: string[];
  readonly guestOk?: boolean;
  readonly hostsAllow?: string[];
  readonly links: boolean;
  readonly exactCase?: boolean;
  readonly global: boolean;
  readonly asRoot?: string;
}

export interface NfsOptions extends ExportOptions {
  readonly ganesha?: boolean;
  readonly client?: string[];
  readonly squash?: "all" | "root" | "none";
  readonly asRoot?: string;
  readonly fsid?: number;
  readonly address?: string;
  readonly port?: number;
}

export interface AutofsOptions extends ExportOptions {
  readonly protocol?: "nfs4" | "cifs";
  readonly directory?: string;
  readonly server?: string[];
  readonly port?: number;
  readonly share?: string;
  readonly credentials?: string;
  readonly keep?: number;
}

/** Each prints, or puts in place and says what it did. Returns the exit code. Throws UserError, ExportError. */
export function exportSamba(options: SambaOptions): Promise<number> {
  const { of, name, guest, user, guestOk, hostsAllow, links, exactCase, global, asRoot } = options;
  const isShare = of !== undefined || name !== undefined || guest !== undefined;
  const share = given({ of: of ?? (guest && "guests"), name, guests: guest });
  const samba = given({
    shares: isShare ? [share] : undefined,
    users: user,
    guestOk,
    hostsAllow,
    followLinks: links ? undefined : false,
    exactCase,
    global: global ? undefined : false,
    asRoot,
  });
  return run("samba", options, { samba });
}

export function exportNfs(options: NfsOptions): Promise<number> {
  const { ganesha, client, squash, asRoot, fsid, address, port } = options;
  if (!ganesha && (address !== undefined || port !== undefined))
    throw new UserError("--address and --port are NFS-Ganesha's: add --ganesha, or leave them out", 2);
  const nfs = given({ clients: client, squash, asRoot, fsid, address, port });
  return run(ganesha ? "ganesha" : "nfs", options, { nfs });
}

export function exportAutofs(options: AutofsOptions): Promise<number> {
  const { protocol, directory, server, port, share, credentials, keep } = options;
  const servers = server?.map((text) => {
    const [host = "", address] = text.split("=", 2);
    return given({ host, address });
  });
  const autofs = given({ protocol, directory, servers, port, share, credentials, keep });
  return run("autofs", options, { autofs });
}

async function run(kind: ExportKind, options: ExportOptions, settings: ExportsInput): Promise<number> {
  const { config, mount, host, install = false, prefix = "" } = options;
  if (prefix !== "" && !install)
    throw new UserError("--prefix says where files are put in place: add --install, or leave it out", 2);
  write(await exportTree({ kind, ...given({ config, mount, host }), settings, install, prefix }));
  return 0;
}

/** Without what was not given, so that it has its default. */
function given<T extends object>(values: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
