/** What is exported: the tree as it is mounted on this machine, and what its names are to be for other servers' files. */

/** A tree that `slashcloud up` serves here. */
export interface ExportedTree {
  /** Where it is mounted: an absolute path. */
  readonly mount: string;
  /** This host's name in it. */
  readonly host: string;
  /** Names of guests, for which there can be a share each. */
  readonly guests: readonly string[];
}

/** The settings ask for what no configuration can say, or a server's own program refuses it. One line. */
export class ExportError extends Error {
  /** What the process is to exit with: 1, or 2 for settings that are wrong. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 2) {
    super(message);
    this.name = "ExportError";
    this.exitCode = exitCode;
  }
}

/**
 * The path of a directory of the tree. Throws ExportError if it has characters that mean something else in some server's
 * file, and can be quoted in none: Samba replaces what follows a %, for one.
 */
export function pathIn(tree: ExportedTree, ...names: readonly string[]): string {
  const path = [tree.mount === "/" ? "" : tree.mount, ...names].join("/");
  if (/[\p{Cc}"\\%\ufffd]/u.test(path) || path.trim() !== path)
    throw new ExportError(
      `${JSON.stringify(path)} cannot be written in a server's configuration, because of its characters; export the directory above it`,
    );
  return path;
}

/** The last part of the mount point: what the tree is called elsewhere. */
export function treeName(tree: ExportedTree): string {
  return tree.mount.split("/").pop() || "cloud";
}

/** The first line of each file that is written, by which it is known again. */
export const MARK = "# Written by `slashcloud export`";

/** The head of a file: what wrote it, and a line of what it is. */
export function head(what: string): string {
  return `${MARK}, which replaces it. ${what}\n`;
}
