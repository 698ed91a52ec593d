/** Whether the configuration can be used. */
import { type Found, fail, ok, warn } from "./finding.js";
import type { Subject } from "./subject.js";

export async function checkConfigured({ configuration }: Subject): Promise<Found[]> {
  if (configuration === undefined) return [];
  const { checkConfiguration } = await import("../config/check.js");
  const { problems, warnings } = await checkConfiguration(configuration);
  const advice = `slashcloud check ${configuration} says all of it`;
  if (problems.length > 0) return problems.map((problem) => fail(problem, `mend it; ${advice}`));
  if (warnings.length > 0) return warnings.map((warning) => warn(warning, advice));
  return [ok(`${configuration} can be used`)];
}
