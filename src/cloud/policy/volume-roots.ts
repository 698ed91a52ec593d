/** What a policy makes of a guest's volumes: the state of each one's root, by where the guest mounts it. */
import { Glob } from "../../events/glob.js";
import { Grant } from "./grant.js";
import { HIDDEN, PathRules, type PathState } from "./path-state.js";
import type { PolicyRule } from "./settings.js";

/**
 * The states of the roots of a guest's volumes, of those in which rules hide anything. `mounts`: by volume (`sda1`), where
 * the guest has it ("/", "/srv"); of a volume that it has nowhere, nothing.
 *
 * A volume that is mounted more than once, or nowhere, has several paths, of which the strictest counts: in the second case
 * that in `.volumes`, and the one that it would have as the guest's root.
 */
export function volumeRoots(
  rules: readonly PolicyRule[],
  guest: string,
  mounts: ReadonlyMap<string, readonly string[]>,
): Map<string, PathState> {
  const own = rules.filter((rule) => new Glob(rule.guest).matches(guest));
  const byVolume = new Map<string, PathRules>();
  for (const volume of mounts.keys()) {
    byVolume.set(volume, new PathRules(own.filter((rule) => new Glob(rule.volume).matches(volume))));
  }
  const roots = new Map<string, PathState>();
  for (const [volume, points] of mounts) {
    const volumeRules = byVolume.get(volume) as PathRules;
    const paths = points.length > 0 ? points : ["/", `/.volumes/${volume}`];
    const states = paths.map((path) =>
      isBelowHidden(path, mounts, byVolume) ? HIDDEN : stateAt(volumeRules, path),
    );
    const state = volumeRules.merged(states);
    if (!state.isFinal || state.grant !== Grant.SHOW) roots.set(volume, state);
  }
  return roots;
}

/** Whether rules hide anything of a guest. */
export function isRestricted(rules: readonly PolicyRule[], guest: string): boolean {
  return rules.some((rule) => rule.access !== "show" && new Glob(rule.guest).matches(guest));
}

function stateAt(rules: PathRules, path: string): PathState {
  return namesOf(path).reduce((state, name) => state.next(name), rules.root);
}

/** Whether a directory above a mount point is hidden on the volume that it is on. */
function isBelowHidden(
  path: string,
  mounts: ReadonlyMap<string, readonly string[]>,
  rules: ReadonlyMap<string, PathRules>,
): boolean {
  const names = namesOf(path);
  for (let length = 1; length < names.length; length++) {
    const above = `/${names.slice(0, length).join("/")}`;
    const volume = volumeAt(above, mounts);
    const state = volume === undefined ? undefined : stateAt(rules.get(volume) as PathRules, above);
    if (state?.grant === Grant.HIDE) return true;
  }
  return false;
}

/** The volume whose mount point is the longest of those that a path begins with. */
function volumeAt(path: string, mounts: ReadonlyMap<string, readonly string[]>): string | undefined {
  let found: string | undefined;
  let longest = -1;
  for (const [volume, points] of mounts) {
    for (const point of points) {
      const isAbove = point === "/" || path === point || path.startsWith(`${point}/`);
      if (!isAbove || point.length <= longest) continue;
      found = volume;
      longest = point.length;
    }
  }
  return found;
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}
