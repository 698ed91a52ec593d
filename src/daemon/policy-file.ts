/** A policy in a file of its own: YAML or JSON, with `policy:` and `ownership:` as in the configuration file. */
import { readFileSync } from "node:fs";
import { isMap, isNode, isPair, LineCounter, type Node, type ParsedNode, parseDocument } from "yaml";
import { z } from "zod";
import type { Policy } from "../cloud/policy/policy.js";
import { ownershipSettings, policySettings } from "../cloud/policy/settings.js";
import { findOwners } from "./accounts.js";
import { UserError } from "./user-error.js";

const policyFile = z.strictObject({
  policy: policySettings.default([]),
  ownership: ownershipSettings.default([]),
});

/** Throws UserError, which names the line and the key. */
export function readPolicyFile(path: string): Policy {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${path}: the policy cannot be read: ${(error as Error).message}`);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [wrong] = document.errors;
  if (wrong !== undefined)
    throw new UserError(`${path}:${lines.linePos(wrong.pos[0]).line}: ${wrong.message.split("\n", 1)[0]}`);
  const { success, data, error } = policyFile.safeParse(document.toJS() ?? {});
  if (!success) {
    const [issue] = error.issues;
    const at = issue?.path ?? [];
    const unknown = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
    const where = unknown === undefined ? at : [...at, unknown];
    const { line } = lines.linePos(offsetOf(document.contents, where));
    throw new UserError(`${path}:${line}: ${keyText(where)}: ${issue?.message ?? "wrong"}`);
  }
  return { rules: data.policy, ownership: findOwners(data.ownership, path) };
}

/** Where a key's value begins, or what is nearest above it. */
function offsetOf(contents: ParsedNode | null, path: readonly PropertyKey[]): number {
  let node: Node | null = contents;
  let offset = node?.range?.[0] ?? 0;
  for (const key of path) {
    if (node === null || !("get" in node)) break;
    let next: unknown = (node as { get(key: unknown, keepScalar: true): unknown }).get(key, true);
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isNode(item.key) && item.key.toJSON() === key);
      if (isNode(pair?.key)) offset = pair.key.range?.[0] ?? offset;
      next ??= pair?.value;
    }
    if (!isNode(next)) break;
    node = next;
    if (typeof key === "number") offset = node.range?.[0] ?? offset;
  }
  return offset;
}

/** `policy[1].path` */
function keyText(path: readonly PropertyKey[]): string {
  const text = path.reduce<string>(
    (before, key) =>
      typeof key === "number" ? `${before}[${key}]` : `${before}${before && "."}${String(key)}`,
    "",
  );
  return text === "" ? "the file" : text;
}
