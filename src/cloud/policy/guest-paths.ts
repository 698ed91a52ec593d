/** What a policy makes of paths in guests that are known by their text alone, as events have them. */
import { Glob } from "../../events/glob.js";
import { Grant, stricter } from "./grant.js";
import { PathRules, type PathState } from "./path-state.js";
import type { PolicyRule } from "./settings.js";

export class GuestPaths {
  readonly #rules: readonly PolicyRule[];
  readonly #roots = new Map<string, PathState>();

  constructor(rules: readonly PolicyRule[]) {
    this.#rules = rules;
  }

  /** Whether anything of a guest's volume may be hidden. */
  isRestricted(guest: string, volume: string): boolean {
    const root = this.#root(guest, volume);
    return !root.isFinal || root.grant !== Grant.SHOW;
  }

  /** What is granted of a path from the guest's root. */
  grant(guest: string, volume: string, path: string): Grant {
    const root = this.#root(guest, volume);
    const grant = grantOf(root, path);
    const own = `/.volumes/${volume}/`;
    // Of a volume that is mounted nowhere: as if it were the guest's root, too.
    return path.startsWith(own) ? stricter(grant, grantOf(root, path.slice(own.length - 1))) : grant;
  }

  #root(guest: string, volume: string): PathState {
    const key = `${guest}/${volume}`;
    let root = this.#roots.get(key);
    if (root === undefined) {
      root = new PathRules(
        this.#rules.filter(
          (rule) => new Glob(rule.guest).matches(guest) && new Glob(rule.volume).matches(volume),
        ),
      ).root;
      this.#roots.set(key, root);
    }
    return root;
  }
}

function grantOf(root: PathState, path: string): Grant {
  let state = root;
  for (const name of path.split("/")) {
    if (name !== "") state = state.next(name);
  }
  return state.grant;
}
