/** What a reader is granted of a file, as numbers: the greater, the less. */
import type { Access } from "./settings.js";

export const Grant = { SHOW: 0, METADATA: 1, HIDE: 2 } as const;
export type Grant = (typeof Grant)[keyof typeof Grant];

const GRANTS: Readonly<Record<Access, Grant>> = {
  show: Grant.SHOW,
  metadata: Grant.METADATA,
  hide: Grant.HIDE,
};

export function grantOf(access: Access): Grant {
  return GRANTS[access];
}

/** The one that grants less. */
export function stricter(a: Grant, b: Grant): Grant {
  return a > b ? a : b;
}
