/** Samba's configuration: a file for an `include` in smb.conf. */

import { type SambaSettings, type ShareSettings, shareName } from "./settings.js";
import { ExportError, type ExportedTree, head, pathIn, treeName } from "./tree.js";

/** Holds for all shares of the server, so it is left out on request. docs/exports.md says what each is for. */
const GLOBAL = [
  "smb2 leases = no",
  "kernel change notify = no",
  "getwd cache = no",
  "server min protocol = SMB2_10",
];

/** The same for each share. What is Samba's default is said too: the [global] section of smb.conf may have it otherwise. */
const SHARE = [
  "read only = yes",
  "write list =",
  "printable = no",
  // Reads ask the tree each time: nobody tells Samba's clients when a guest writes.
  "oplocks = no",
  "level2 oplocks = no",
  "kernel oplocks = no",
  "kernel share modes = no",
  "posix locking = no",
  "strict locking = no",
  "csc policy = disable",
  // Names as the guest has them; those that no Windows can have get short ones.
  "preserve case = yes",
  "mangled names = illegal",
  "vfs objects =",
  "hide dot files = no",
  "hide special files = yes",
  "wide links = no",
  // Attributes are asked for one by one, and there are none.
  "store dos attributes = no",
  "map archive = no",
  "map hidden = no",
  "map system = no",
  "map readonly = no",
  "ea support = no",
  "nt acl support = no",
];

/** A share with all that is left out filled in. */
interface Share {
  readonly name: string;
  readonly path: string;
  readonly guestOk: boolean;
  readonly users: readonly string[];
  readonly hostsAllow: readonly string[];
  readonly browseable: boolean;
}

/** The file's text. Throws ExportError where the settings let nobody read, or anyone from anywhere. */
export function sambaText(settings: SambaSettings, tree: ExportedTree): string {
  const shares = sharesOf(settings, tree);
  const lines = [
    head("For smb.conf: include = THIS FILE. docs/exports.md says what each line is for."),
    "[global]",
    ...(settings.global ? GLOBAL.map(indented) : []),
    ...(settings.global && shares.some(({ guestOk }) => guestOk)
      ? [indented("map to guest = Bad User")]
      : []),
    "",
    ...shares.flatMap((share) => [...shareLines(share, settings), ""]),
    "# What follows the include is smb.conf's own again.",
    "[global]",
  ];
  return `${lines.join("\n")}\n`;
}

/** The names of the shares that the text has. Throws ExportError. */
export function shareNames(settings: SambaSettings, tree: ExportedTree): string[] {
  return sharesOf(settings, tree).map(({ name }) => name);
}

const indented = (line: string): string => `   ${line}`;

function shareLines(share: Share, { followLinks, exactCase, asRoot }: SambaSettings): string[] {
  return [
    `[${share.name}]`,
    ...[
      `path = ${share.path}`,
      `browseable = ${share.browseable ? "yes" : "no"}`,
      `guest ok = ${share.guestOk ? "yes" : "no"}`,
      `valid users = ${share.users.join(" ")}`.trimEnd(),
      `hosts allow = ${share.hostsAllow.join(" ")}`.trimEnd(),
      ...(asRoot === undefined ? [] : [`# ${asRoot}`, "force user = root"]),
      `follow symlinks = ${followLinks ? "yes" : "no"}`,
      `case sensitive = ${exactCase ? "yes" : "auto"}`,
      ...SHARE,
    ].map(indented),
  ];
}

function sharesOf(settings: SambaSettings, tree: ExportedTree): Share[] {
  const shares = settings.shares.flatMap((share) =>
    directoriesOf(share, tree).map(({ name, path }) => ({ name, path, ...accessOf(name, share, settings) })),
  );
  const names = new Map<string, Share>();
  for (const share of shares) {
    // Samba's names of shares know no case.
    const key = share.name.toLowerCase();
    const other = names.get(key);
    if (other !== undefined)
      throw new ExportError(
        `two shares are named "${share.name}" (${other.path} and ${share.path}): name one`,
      );
    names.set(key, share);
  }
  return shares;
}

/** The directories that are shared, with the names of their shares. */
function directoriesOf(share: ShareSettings, tree: ExportedTree): { name: string; path: string }[] {
  const named = (name: string, ...parts: string[]): { name: string; path: string } => {
    if (!shareName.safeParse(name).success)
      throw new ExportError(
        `"${name}" cannot be a share's name: give another, or share the directory above it`,
      );
    return { name, path: pathIn(tree, ...parts) };
  };
  switch (share.of) {
    case "tree":
      return [named(share.name ?? treeName(tree))];
    case "host":
      return [named(share.name ?? tree.host, tree.host)];
    case "guests": {
      if (share.name !== undefined)
        throw new ExportError(`a share for each guest has the guest's name: leave out "${share.name}"`);
      const guests = share.guests ?? tree.guests;
      if (guests.length === 0)
        throw new ExportError(
          `there is no guest to share: name some, or start slashcloud up, which shows them at ${tree.mount}`,
        );
      return guests.map((guest) => named(guest, tree.host, guest));
    }
  }
}

/** Who may connect. What a share says of users or guests stands for what all say of both. */
function accessOf(
  name: string,
  share: ShareSettings,
  all: SambaSettings,
): Pick<Share, "guestOk" | "users" | "hostsAllow" | "browseable"> {
  const guestOk = share.guestOk ?? (share.users === undefined && all.guestOk);
  const users = share.users ?? (share.guestOk === true ? [] : all.users);
  const hostsAllow = share.hostsAllow ?? all.hostsAllow;
  if (guestOk && users.length > 0)
    throw new ExportError(`share "${name}": either users (${users.join(", ")}) or guest access, not both`);
  if (!guestOk && users.length === 0)
    throw new ExportError(
      `share "${name}": who may read it? Name users (--user NAME or @GROUP), or allow guests`,
    );
  if (guestOk && hostsAllow.length === 0)
    throw new ExportError(
      `share "${name}": guest access needs no password, so name the machines that have it (--hosts-allow NETWORK)`,
    );
  return { guestOk, users, hostsAllow, browseable: share.browseable ?? all.browseable };
}
