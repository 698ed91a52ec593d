/** What `slashcloud export` does: settings, the tree as it is, and from both another server's configuration. */

import { existsSync, readdirSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { AUTOFS_MAP, autofsMap, autofsMaster } from "../exports/autofs.js";
import { installAutofs, installExports, installGanesha, installSamba } from "../exports/install.js";
import { exportsText, ganeshaText } from "../exports/nfs.js";
import { sambaText } from "../exports/samba.js";
import { type ExportsInput, type ExportsSettings, exportsSettings } from "../exports/settings.js";
import type { ExportedTree } from "../exports/tree.js";
import { type Configuration, readConfiguration } from "./config/configuration.js";
import { UserError } from "./user-error.js";

export type { ExportsInput } from "../exports/settings.js";

/** Whose configuration it is. */
export type ExportKind = "samba" | "nfs" | "ganesha" | "autofs";

/** Where the daemon's configuration is, unless another file is named. */
const CONFIGURATION = "/etc/slashcloud/slashcloud.yaml";
const MOUNT = "/cloud";

export interface ExportRequest {
  readonly kind: ExportKind;
  /** The daemon's configuration; undefined: the usual one, if it is there. */
  readonly config?: string;
  /** Where the tree is mounted, if the configuration is not to say. */
  readonly mount?: string;
  /** This host's name in it, likewise. */
  readonly host?: string;
  /** As under `exports:` in the configuration, before which they go. */
  readonly settings: ExportsInput;
  /** Whether files are put in place, below `prefix`. */
  readonly install: boolean;
  readonly prefix: string;
}

/** Returns the configuration, or what was done. Throws UserError, ExportError. */
export async function exportTree(request: ExportRequest): Promise<string> {
  const { kind, install } = request;
  const configuration = configurationOf(request.config);
  const settings = checked(merged(configuration?.settings.exports, request.settings));
  const mount = resolve(request.mount ?? configuration?.settings.mount ?? MOUNT);
  const host = request.host ?? configuration?.settings.host ?? hostname();
  const named = configuration?.guests.map(({ name }) => name) ?? [];
  const guests = [...new Set([...named, ...shownGuests(mount, host)])].sort();
  const tree: ExportedTree = { mount, host, guests };
  const prefix = request.prefix === "" ? "" : resolve(request.prefix).replace(/\/$/, "");
  const told = async (lines: Promise<string[]>): Promise<string> => `${(await lines).join("\n")}\n`;
  switch (kind) {
    case "samba":
      return install ? told(installSamba(settings.samba, tree, prefix)) : sambaText(settings.samba, tree);
    case "nfs":
      return install ? told(installExports(settings.nfs, tree, prefix)) : exportsText(settings.nfs, tree);
    case "ganesha":
      return install ? told(installGanesha(settings.nfs, tree, prefix)) : ganeshaText(settings.nfs, tree);
    case "autofs":
      return install ? told(installAutofs(settings.autofs, tree, prefix)) : autofsText(settings, tree);
  }
}

/** Both files of the automounter, one after the other. */
function autofsText({ autofs }: ExportsSettings, tree: ExportedTree): string {
  return `# /etc/auto.master.d/slashcloud.autofs\n${autofsMaster(autofs)}\n# ${AUTOFS_MAP}\n${autofsMap(autofs, tree)}`;
}

function configurationOf(file: string | undefined): Configuration | undefined {
  if (file !== undefined) return readConfiguration(file);
  return existsSync(CONFIGURATION) ? readConfiguration(CONFIGURATION) : undefined;
}

/** The second goes before the first, value by value. */
function merged(configured: ExportsInput | undefined, given: ExportsInput): ExportsInput {
  return {
    samba: { ...configured?.samba, ...given.samba },
    nfs: { ...configured?.nfs, ...given.nfs },
    autofs: { ...configured?.autofs, ...given.autofs },
  };
}

function checked(settings: ExportsInput): ExportsSettings {
  const { data, error } = exportsSettings.safeParse(settings);
  if (data !== undefined) return data;
  const [issue] = error.issues;
  throw new UserError(`exports.${issue!.path.join(".")}: ${issue!.message}`, 2);
}

/** Guests that are in the tree now; none if it is not mounted. */
function shownGuests(mount: string, host: string): string[] {
  try {
    return readdirSync(`${mount}/${host}`).sort();
  } catch {
    return [];
  }
}
