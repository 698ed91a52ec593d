/** What a domain is called in the tree. */
import type { Domain } from "./libvirt-domain.js";

/** Bytes that a directory's name can have. */
const LONGEST = 255;

/**
 * The domains' names as directories can have them, by UUID. "/", control characters and a dot at the beginning become "_",
 * and what is longer than 255 bytes is cut. A name that this makes the same as another gets the beginning of its UUID.
 */
export function namesOf(domains: readonly Domain[]): Map<string, string> {
  const own = new Set(domains.map(({ name }) => name));
  const names = new Map<string, string>();
  for (const { name, uuid } of domains) {
    const fit = fitName(name);
    const isTaken = fit !== name && (own.has(fit) || [...names.values()].includes(fit));
    const ending = `-${uuid.slice(0, 8)}`;
    names.set(uuid, isTaken ? cut(fit, LONGEST - ending.length) + ending : fit);
  }
  return names;
}

function fitName(name: string): string {
  return cut(name.replace(/[/\p{Cc}]|^\./gu, "_") || "_", LONGEST);
}

/** No character is left half. */
function cut(name: string, bytes: number): string {
  let kept = name;
  while (Buffer.byteLength(kept) > bytes) kept = [...kept].slice(0, -1).join("");
  return kept;
}
