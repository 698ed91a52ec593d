/** All checks, in the order in which they are told. */
import { checkConfigured } from "./configuration.js";
import { checkCrawlers } from "./crawlers.js";
import type { Finding, Found } from "./finding.js";
import { checkFollowing } from "./following.js";
import { checkFuse } from "./fuse.js";
import { checkImageUsers } from "./image-users.js";
import { checkImages } from "./images.js";
import { checkLimits } from "./limits.js";
import { checkMountPoint } from "./mount-point.js";
import { checkNfs } from "./nfs.js";
import { checkNode } from "./node.js";
import { checkRedis } from "./redis.js";
import { checkRights } from "./rights.js";
import { checkSamba } from "./samba.js";
import { checkSecurityModules } from "./security-modules.js";
import { checkService } from "./service.js";
import { checkState } from "./state.js";
import type { Subject } from "./subject.js";

type Check = (subject: Subject) => Found[] | Promise<Found[]>;

const CHECKS: Readonly<Record<string, Check>> = {
  node: checkNode,
  configuration: checkConfigured,
  fuse: checkFuse,
  rights: checkRights,
  limits: checkLimits,
  mount: checkMountPoint,
  service: checkService,
  daemon: checkFollowing,
  state: checkState,
  images: checkImages,
  use: checkImageUsers,
  samba: checkSamba,
  nfs: checkNfs,
  modules: checkSecurityModules,
  crawlers: checkCrawlers,
  redis: checkRedis,
};

/** Does them all. One that fails itself says so, and keeps no other from being done. */
export async function examine(subject: Subject): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [check, find] of Object.entries(CHECKS)) {
    try {
      for (const found of await find(subject)) findings.push({ check, ...found });
    } catch (error) {
      const { message } = error as Error;
      findings.push({
        check,
        level: "warn",
        message: `could not be looked at: ${message}`,
        advice: "run slashcloud doctor as root",
      });
    }
  }
  return findings;
}
