/** How a daemon that runs follows its guests. */
import { type Found, fail, ok, warn } from "./finding.js";
import type { Subject } from "./subject.js";

export function checkFollowing({ daemon, mount }: Subject): Found[] {
  if (daemon === undefined) return [ok(`no daemon serves ${mount} now`)];
  const { status, supervisor } = daemon;
  const found: Found[] = [];
  for (const { guest, volume, state, reopened, reason } of status.volumes) {
    if (state === "unreadable")
      found.push(
        fail(
          `${guest}'s ${volume} cannot be read: what was read before is shown`,
          "look after its image's storage",
        ),
      );
    else if (reopened > 0 && reason === "overrun")
      found.push(
        warn(
          `${guest}'s ${volume} was read afresh ${reopened} times, as its journal was used again too soon`,
          "a larger journal in the guest (tune2fs -J size=), or follow its writes: slashcloud attach, or --tap",
        ),
      );
  }
  const { guests, volumes } = status;
  return found.length > 0
    ? found
    : [ok(`process ${supervisor} serves ${guests.length} guests, and follows ${volumes.length} volumes`)];
}
