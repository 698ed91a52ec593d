/**
 * The patterns of a policy's rules as an automaton over the names of a path: a directory has a state, and its state and a
 * name make that of what is below it. States are made when they are come to, and shared by all directories that are alike
 * for the rules: there are few, and most are such that nothing below them can match any more.
 */
import { Glob } from "../../events/glob.js";
import { Grant, grantOf, stricter } from "./grant.js";
import type { PolicyRule } from "./settings.js";

/** A component of a pattern. */
interface Component {
  /** The number of its rule. */
  readonly rule: number;
  /** Undefined: any number of names. */
  readonly glob: Glob | undefined;
  readonly isLast: boolean;
}

/** How far patterns have come along one path. */
interface Track {
  /** The first rule that has matched; the number of rules if none has. */
  readonly matched: number;
  /** The components that a next name may match, by index, in order. */
  readonly open: readonly number[];
}

/** What rules make of a path. */
export interface PathState {
  readonly grant: Grant;
  /** Whether all that is below is granted the same. */
  readonly isFinal: boolean;
  /** The state of a name in the directory that has this state. */
  next(name: string): PathState;
}

/** Of what is hidden, and all below it. */
export const HIDDEN: PathState = {
  grant: Grant.HIDE,
  isFinal: true,
  next: () => HIDDEN,
};

/** Rules for the files of one volume of one guest, in their order. */
export class PathRules {
  readonly #grants: readonly Grant[];
  readonly #components: Component[] = [];
  readonly #starts: number[] = [];
  readonly #states = new Map<string, PathState>();
  /** The first rule for the root itself. */
  #rootRule: number;

  constructor(rules: readonly PolicyRule[]) {
    this.#grants = rules.map(({ access }) => grantOf(access));
    this.#rootRule = rules.length;
    for (const [rule, { path: patterns }] of rules.entries()) {
      for (const pattern of patterns) this.#add(rule, pattern);
    }
  }

  /** The state of a guest's root. It is there itself, whatever rules say. */
  get root(): PathState {
    const track = this.#track(this.#rootRule, this.#starts);
    const grant = this.grantOf([track]);
    return new RuleState([track], grant === Grant.HIDE ? Grant.SHOW : grant, this);
  }

  /** The state of what has all these at once, under several paths: the strictest counts. */
  merged(states: readonly PathState[]): PathState {
    if (states.some((state) => state === HIDDEN)) return HIDDEN;
    const ruled = states.filter((state): state is RuleState => state instanceof RuleState);
    const [first] = ruled;
    if (ruled.length <= 1) return first ?? HIDDEN;
    const grant = ruled.map((state) => state.grant).reduce(stricter);
    return new RuleState(
      ruled.flatMap(({ tracks }) => tracks),
      grant,
      this,
    );
  }

  /** What is granted under all paths at once. */
  grantOf(tracks: readonly Track[]): Grant {
    let grant: Grant = Grant.SHOW;
    for (const { matched } of tracks) grant = stricter(grant, this.#grants[matched] ?? Grant.SHOW);
    return grant;
  }

  component(index: number): Component {
    return this.#components[index] as Component;
  }

  /** The state after a name. */
  step(tracks: readonly Track[], name: string): PathState {
    const stepped = tracks.map((track) => this.#step(track, name));
    const grant = this.grantOf(stepped);
    if (grant === Grant.HIDE) return HIDDEN;
    const keys = new Map(stepped.map((track) => [`${track.matched}:${track.open.join(",")}`, track]));
    const key = [...keys.keys()].sort().join("|");
    let state = this.#states.get(key);
    if (state === undefined) {
      state = new RuleState([...keys.values()], grant, this);
      this.#states.set(key, state);
    }
    return state;
  }

  #add(rule: number, pattern: string): void {
    if (pattern === "/") {
      this.#rootRule = Math.min(this.#rootRule, rule);
      return;
    }
    const names = pattern.startsWith("/") ? pattern.slice(1).split("/") : ["**", pattern];
    const first = this.#components.length;
    for (const [index, name] of names.entries()) {
      const glob = name === "**" ? undefined : new Glob(name);
      this.#components.push({ rule, glob, isLast: index === names.length - 1 });
    }
    this.#open(first, this.#starts);
  }

  /** Adds a component, and those that it may be passed over for. */
  #open(index: number, open: number[]): void {
    for (let at = index; ; at++) {
      if (!open.includes(at)) open.push(at);
      const { glob, isLast } = this.component(at);
      if (glob !== undefined || isLast) return;
    }
  }

  #step({ matched, open }: Track, name: string): Track {
    let first = matched;
    const next: number[] = [];
    for (const index of open) {
      const { rule, glob, isLast } = this.component(index);
      if (glob !== undefined && !glob.matches(name)) continue;
      if (isLast) first = Math.min(first, rule);
      else this.#open(glob === undefined ? index : index + 1, next);
    }
    return this.#track(first, next);
  }

  /** What comes after the first rule that has matched can change nothing any more. */
  #track(matched: number, open: readonly number[]): Track {
    const left = open.filter((index) => this.component(index).rule < matched);
    return { matched, open: left.sort((a, b) => a - b) };
  }
}

class RuleState implements PathState {
  readonly tracks: readonly Track[];
  readonly grant: Grant;
  readonly isFinal: boolean;
  readonly #rules: PathRules;
  /** Names that patterns have as they are, and what they lead to. */
  readonly #named = new Map<string, PathState | undefined>();
  /** What other names are looked at by, and what they lead to, by which of these they match. */
  readonly #globs: readonly Glob[];
  readonly #others = new Map<string, PathState>();

  constructor(tracks: readonly Track[], grant: Grant, rules: PathRules) {
    this.tracks = tracks;
    this.grant = grant;
    this.#rules = rules;
    const globs: Glob[] = [];
    for (const { open } of tracks) {
      for (const index of open) {
        const { glob } = rules.component(index);
        if (glob?.literal !== undefined) this.#named.set(glob.literal, undefined);
        else if (glob !== undefined) globs.push(glob);
      }
    }
    this.#globs = globs;
    // The root of a guest can be there itself while all that is in it is hidden.
    this.isFinal = tracks.every(({ open }) => open.length === 0) && rules.grantOf(tracks) === grant;
  }

  next(name: string): PathState {
    if (this.isFinal) return this;
    if (this.#named.has(name)) {
      let state = this.#named.get(name);
      if (state === undefined) {
        state = this.#rules.step(this.tracks, name);
        this.#named.set(name, state);
      }
      return state;
    }
    let key = "";
    for (const glob of this.#globs) key += glob.matches(name) ? "1" : "0";
    let state = this.#others.get(key);
    if (state === undefined) {
      state = this.#rules.step(this.tracks, name);
      this.#others.set(key, state);
    }
    return state;
  }
}
