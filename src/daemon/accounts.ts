/** The accounts of this host that guests' files are shown as. */
import { execFileSync } from "node:child_process";
import type { Ownership } from "../cloud/policy/ownership.js";
import type { OwnershipRule } from "../cloud/policy/settings.js";
import { UserError } from "./user-error.js";

/** The settings' rules with their accounts found. `where`: what names them. Throws UserError. */
export function findOwners(rules: readonly OwnershipRule[], where: string): Ownership[] {
  return rules.map(({ guest, user, group, umask }) => ({
    guest,
    uid: user === undefined ? undefined : accountId("passwd", user, where),
    gid: group === undefined ? undefined : accountId("group", group, where),
    umask,
  }));
}

/** getent(1) knows of accounts that are in no file of the host's, too. */
function accountId(database: "passwd" | "group", account: string | number, where: string): number {
  if (typeof account === "number") return account;
  let line = "";
  try {
    line = execFileSync("getent", ["--", database, account], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    // It knows of none.
  }
  const id = Number(line.split(":")[2]);
  if (line === "" || !Number.isInteger(id)) {
    const what = database === "passwd" ? "user" : "group";
    throw new UserError(
      `${where}: ownership: this host has no ${what} ${account}; name another one, or give its number`,
    );
  }
  return id;
}
