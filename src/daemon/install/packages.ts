/** The npm packages that a program needs to run, found where Node finds them: from package.json to package.json. */
import { readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { UserError } from "../user-error.js";

/** A package, and where it goes. */
export interface Package {
  /** Its folder. */
  readonly from: string;
  /** Its folder in the program's: `node_modules/NAME`, or deeper. */
  readonly to: string;
  /** As its package.json has it. */
  readonly version: string;
}

interface Description {
  readonly version?: string;
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
}

/** Packages for other systems, which some packages name as needed all the same. */
const ELSEWHERE = /-(darwin|linux-arm)$/;

/**
 * All packages that the program in `root` needs, by where they go; optional ones if they are there. Throws UserError if
 * one is missing, or there are two that have the same place.
 */
export function packagesOf(root: string): Package[] {
  const found = new Map<string, Package>();
  const visit = (folder: string): void => {
    const { dependencies = {}, optionalDependencies = {} } = describe(folder);
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (ELSEWHERE.test(name)) continue;
      const from = find(name, folder);
      if (from === undefined) {
        if (name in optionalDependencies) continue;
        throw new UserError(`the npm package ${name} is not there: run npm install in ${root} first`);
      }
      const own = relative(join(root, "node_modules"), from);
      // Some are in a folder above, if npm has put the program beside them.
      const to = join("node_modules", own.startsWith("..") ? name : own);
      const { version = "" } = describe(from);
      const other = found.get(to);
      if (other === undefined) {
        found.set(to, { from, to, version });
        visit(from);
      } else if (other.from !== from) {
        throw new UserError(
          `two versions of the npm package ${name} (${other.version}, ${version}) have one place: run npm install in ${root} first`,
        );
      }
    }
  };
  visit(root);
  return [...found.values()].sort((a, b) => (a.to < b.to ? -1 : 1));
}

function describe(folder: string): Description {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Description;
}

/** Where Node looks: in the node_modules of the folder and of those above it. */
function find(name: string, folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    const candidate = join(at, "node_modules", name);
    if (statSync(join(candidate, "package.json"), { throwIfNoEntry: false })?.isFile()) return candidate;
    if (at === dirname(at)) return undefined;
  }
}
