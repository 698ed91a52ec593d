/** An installed package, whichever manager keeps it. */
export interface Package {
  readonly name: string;
  /** Whole, as the manager compares it: with an epoch (`1:`) if there is one, and the release. */
  readonly version: string;
  /** "" if it is not told. */
  readonly architecture: string;
  /** Only of Windows' programs; "" if it is not told. */
  readonly publisher?: string;
  /** A date, `2026-01-31`; only of Windows' programs; "" if it is not told. */
  readonly installed?: string;
}

/** A package manager's database in a guest. */
export interface Database {
  readonly manager: "dpkg" | "apk" | "pacman" | "rpm" | "windows";
  /** Its file or directory; a key of the registry. */
  readonly path: string;
  /** Undefined: it was not read; `problem` tells why. */
  readonly packages: readonly Package[] | undefined;
  /** "" if nothing is wrong. */
  readonly problem: string;
}

/** Packages of a guest that are listed: real ones have some thousands. */
export const MOST_PACKAGES = 200_000;
