/** What a check of the host comes to. */

/** `fail`: it does not work; `warn`: it works, and less well, or shows what is no longer so. */
export type Level = "ok" | "warn" | "fail";

/** One line for people. */
export interface Finding {
  /** The check's name. */
  readonly check: string;
  readonly level: Level;
  /** What was found, and where. */
  readonly message: string;
  /** What to do about it; not for `ok`. */
  readonly advice?: string;
}

/** A finding before it is known which check has made it. */
export type Found = Omit<Finding, "check">;

export const ok = (message: string): Found => ({ level: "ok", message });
export const warn = (message: string, advice: string): Found => ({ level: "warn", message, advice });
export const fail = (message: string, advice: string): Found => ({ level: "fail", message, advice });
