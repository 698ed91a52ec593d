/**
 * Settings under `policy:` and `ownership:` in the configuration file: who may see what, and as whose it is shown. What
 * comes out is plain objects, which those who serve the tree compile without this module.
 */
import { z } from "zod";
import { Glob } from "../../events/glob.js";

/** What a reader of the tree has of a file, from the most to the least. */
export const ACCESSES = ["show", "metadata", "hide"] as const;

/**
 * `show`: all of it. `metadata`: its name and attributes; opening or reading it gives EACCES, and events have no bytes of
 * it. `hide`: nothing: it is in no listing, no lookup and no event, and so is all that is below it.
 */
export type Access = (typeof ACCESSES)[number];

/**
 * A rule of the policy. Of a guest's rules, the first one that matches a path, or a directory above it, holds, as in a
 * firewall; where none does, the path is shown. What is in a hidden directory is hidden whatever other rules say.
 */
export interface PolicyRule {
  /** The guests that it is for; a pattern. */
  readonly guest: string;
  /** The volumes that it is for (`sda1`); a pattern. */
  readonly volume: string;
  /**
   * Patterns of paths in the guest's tree: in a component, `*`, `?` and `[a-z]` as in the shell, with names that begin
   * with a dot; `**` for a component is any number of them. One without "/" is for names in all directories.
   */
  readonly path: readonly string[];
  readonly access: Access;
}

/** As whose a guest's files are shown. Of all, the first one that matches the guest holds. */
export interface OwnershipRule {
  /** The guests that it is for; a pattern. */
  readonly guest: string;
  /** Name or number of a user and a group of this host; undefined: the guest's own numbers. */
  readonly user?: string | number | undefined;
  readonly group?: string | number | undefined;
  /** Permission bits that are taken away. */
  readonly umask: number;
}

/** The guests, or volumes, of a rule: `*`, `?` and `[a-z]` as in the shell. */
const pattern = z
  .string()
  .min(1, "a pattern, as in db*")
  .superRefine((text, context) => refuse(problemOf(text), context));

const path = z.string().superRefine((text, context) => refuse(pathProblem(text), context));

const policyRule = z.strictObject({
  guest: pattern.default("*"),
  volume: pattern.default("*"),
  path: oneOrMore(path).refine((paths) => paths.length > 0, "a path, or a list of paths"),
  access: z.enum(ACCESSES, `one of ${ACCESSES.join(", ")}`),
});

/** `policy:`, a list of rules. */
export const policySettings: z.ZodType<readonly PolicyRule[]> = z.array(policyRule);

/** A name, or a number from 0 on: the last of 32 bits stands for none. */
const account = z.union([z.string(), z.number()], "a name, or a number").transform((id, context) => {
  const text = String(id);
  if (/^[0-9]+$/.test(text) && Number(text) < 2 ** 32 - 1) return Number(text);
  if (typeof id === "string" && /^[^\s:,/\p{Cc}0-9-][^\s:,/\p{Cc}]*$/u.test(text)) return text;
  context.addIssue({ code: "custom", message: `${text}: neither a name nor a number of an account` });
  return z.NEVER;
});

/** Octal digits, as text: a number's would have been read as decimal ones. */
const umask = z
  .string('octal digits in quotes, as in "0077"')
  .regex(/^0?[0-7]{1,3}$/, 'octal digits in quotes, as in "0077"')
  .transform((digits) => Number.parseInt(digits, 8));

const ownershipRule = z.strictObject({
  guest: pattern.default("*"),
  user: account.optional(),
  group: account.optional(),
  umask: umask.default(0),
});

/** `ownership:`, one rule for all guests, or a list of rules. */
export const ownershipSettings: z.ZodType<readonly OwnershipRule[]> = oneOrMore(ownershipRule);

/** One of them by itself, or a list; what is wrong with one is told of where it stands. */
function oneOrMore<Item>(item: z.ZodType<Item>): z.ZodType<Item[]> {
  return z.unknown().transform((value, context) => {
    const items: Item[] = [];
    for (const [index, one] of (Array.isArray(value) ? value : [value]).entries()) {
      const { success, data, error } = item.safeParse(one);
      if (success) items.push(data);
      for (const { message, path: at } of error?.issues ?? []) {
        const where = Array.isArray(value) ? [index, ...at] : at;
        context.addIssue({ code: "custom", message, path: where });
      }
    }
    return items;
  });
}

function refuse(problem: string | undefined, context: z.RefinementCtx): void {
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
}

/** What is wrong with a pattern; undefined: nothing. */
function problemOf(text: string): string | undefined {
  try {
    new Glob(text);
    return undefined;
  } catch (error) {
    return `${text}: no pattern: ${(error as Error).message}`;
  }
}

/** What is wrong with a path's pattern; undefined: nothing. */
function pathProblem(text: string): string | undefined {
  const [first, ...components] = text.split("/");
  if (text === "" || (first !== "" && components.length > 0))
    return `${text}: a path begins with "/", and a name in all directories has none`;
  for (const component of first === "" ? components : [text]) {
    if (component === "" && text !== "/" && text !== component)
      return `${text}: there is no name between "//", or after the last "/"`;
    if (component === "." || component === "..") return `${text}: no "." or ".." in a path`;
    if (component !== "**" && component.includes("**"))
      return `${text}: "**" stands for whole names, as in /srv/**/private`;
    const problem = problemOf(component);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
